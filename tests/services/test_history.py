"""What differs between two versions, and what a file that comes later adds: sealed rows are counted, never shown."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.db import reading, transaction
from app.domain import chore as chores
from app.domain import lineage
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.dataset import rows as rows_of
from app.domain.evaluation import Evaluation, Prediction
from app.domain.job import Job
from app.domain.lineage import Drop, Edit, Keep, Move, Relabel
from app.errors import Conflict, Invalid, NotFound, Sealed
from app.services import chores as background
from app.services import datasets, evaluations, experiments, grid, history, imports, removal, reserve, uploads, versions
from app.services.appending import append_file
from app.services.versions import New, derive
from app.settings import settings
from tests.queries import queries
from tests.rows import add_dataset, add_model, answer_evaluation, claim
from tests.services.uploading import now, sent, table


def ids(version: DatasetVersion, split: str) -> list[int]:
    return [row["id"] for row in versions.values(version) if row["split"] == split]


def default_prompt(person: Who) -> str:
    with transaction() as session:
        return prompts.default(session, person).reference


def write(folder: Path, text: str) -> Path:
    path = folder / "more.csv"
    path.write_text(text)
    return path


def test_the_list_says_what_was_done_by_whom_and_how_test_rows_came(person: Who) -> None:
    first = add_dataset(person)
    second = derive(person, "1", Drop(set(ids(first, "train")[:2])), "duplicates").version
    derive(person, "1", Keep("append"), added=[[New(f"{number} new words in a row", "billing", "test") for number in range(4)]])
    dataset, lines = history.versions(person, "1")
    assert dataset.name == "tickets" and [(line.version.number, line.parent, line.author) for line in lines] == [(3, 2, "Ada"), (2, 1, "Ada"), (1, None, "Ada")]
    assert [[(one.version, one.rows) for one in line.slices] for line in lines] == [[(1, 30), (3, 4)], [(1, 30)], [(1, 30)]]
    assert lines[0].slices[0].at == first.sealed_at and lines[1].version.change == second.change


def test_test_rows_that_waited_for_a_label_or_were_moved_count_from_the_version_that_tests_on_them(person: Who) -> None:
    add_dataset(person)
    waits = [New(f"{number} waits for a label until later", None, "test") for number in range(3)]
    second = derive(person, "1", Keep("append"), added=[[*waits, New("tested on from the second version on", "billing", "test")]]).version
    third = derive(person, "1", Edit(dict.fromkeys(ids(second, "unlabelled")[:2], "billing"))).version
    fourth = derive(person, "1", Drop({ids(third, "test")[0]})).version
    derive(person, "1", Edit({ids(fourth, "unlabelled")[0]: "delivery"}))
    slices = [[(one.version, one.rows) for one in line.slices] for line in history.versions(person, "1")[1]]
    assert slices == [[(1, 29), (2, 1), (3, 2), (5, 1)], [(1, 29), (2, 1), (3, 2)], [(1, 30), (2, 1), (3, 2)], [(1, 30), (2, 1)], [(1, 30)]]
    key = uploads.import_now(person, sent(table(60), cut={"splits": {"train": 0.8, "validation": 0.2}}))
    moved = derive(person, key, Move(set(ids(datasets.find(person, key).version, "validation")), "test")).version
    assert [[(one.version, one.rows) for one in line.slices] for line in history.versions(person, key)[1]] == [[(2, moved.splits["test"])], []]


def test_rows_that_wait_and_get_their_label_from_a_file_count_from_then_on(person: Who) -> None:
    waiting = "".join(f"who knows {number},,test\n" for number in range(5))
    rows = "".join(f"a row with number {number},a,{('train', 'validation', 'test')[number % 3]}\n" for number in range(30))
    key = uploads.import_now(person, sent(f"text,label,split\n{rows}{waiting}"))
    labels = "text,label,split\n" + "".join(f"who knows {number},a,test\n" for number in range(5))
    uploads.append(person, key, sent(labels, "labels.csv"), len(labels))
    assert [[(one.version, one.rows) for one in line.slices] for line in history.versions(person, key)[1]] == [[(1, 10), (2, 5)], [(1, 10)]]


def test_a_list_of_more_versions_takes_the_same_number_of_queries(person: Who) -> None:
    counts = []
    version = add_dataset(person)
    for _ in range(2):
        version = derive(person, "1", Drop({ids(version, "train")[0]})).version
        with queries() as sent:
            history.versions(person, "1")
        counts.append(len(sent))
    assert counts[0] == counts[1]


def test_a_difference_counts_all_and_shows_what_is_open(person: Who) -> None:
    first = add_dataset(person)
    train, validation, test = (ids(first, split) for split in ("train", "validation", "test"))
    second = derive(person, "1", Drop({*train[:2], *test[:3]})).version
    third = derive(person, "1", Move({ids(second, "validation")[0]}, "train")).version
    fourth = derive(person, "1", Edit({ids(third, "train")[4]: "delivery"})).version
    derive(person, "1", Keep("append"), added=[[New("a new one to train on", "billing", "train"), New("to test on, quite different", "billing", "test")]])
    found = history.diff(person, "1", 1)
    assert found.counts == {"added": 2, "removed": 5, "changed": 1, "moved": 1} and found.sealed == {"added": 1, "removed": 3, "changed": 0, "moved": 0}
    assert found.splits["moved"] == {"validation → train": 1} and found.splits["removed"] == {"train": 2, "test": 3}
    assert found.kind == "added" and [pair.after.input for pair in found.rows if pair.after] == ["a new one to train on"] and found.total == 1
    removed = history.diff(person, "1@4", 1, "removed")
    assert [pair.before.id for pair in removed.rows if pair.before] == train[:2] and removed.newer.id == fourth.id
    [pair] = history.diff(person, "1", 1, "changed").rows
    assert pair.before and pair.after and (pair.before.output, pair.after.output) == ("billing", "delivery")
    datasets.reveal(person, "1@1", "labels look wrong")
    assert len(history.diff(person, "1", 1, "removed").rows) == 5, "the older version's test rows are open now"
    assert (datasets.find(person, "1@1").version.viewed, datasets.find(person, "1").version.viewed) == (1, 0)
    assert history.opened_before(datasets.find(person, "1").version) == {1: 27} and history.opened_before(first) == {}
    assert len(history.diff(person, "1", 1, "added").rows) == 1, "the newer one's are not"
    assert len(validation) == 10
    with pytest.raises(Invalid, match="not older"):
        history.diff(person, "1@1", 1)
    with pytest.raises(Invalid, match="not older"):
        history.diff(person, "1", 1, "nonsense")


def test_a_difference_pages(person: Who) -> None:
    first = add_dataset(person, train=70)
    derive(person, "1", Drop(set(ids(first, "train")[:60])))
    assert [len(history.diff(person, "1", 1, "removed", offset, 25).rows) for offset in (0, 25, 50, 75)] == [25, 25, 10, 0]


def test_an_appended_file_adds_what_is_new(person: Who, tmp_path: Path) -> None:
    add_dataset(person)
    old = "train message 0 about my bill,billing,train\nTEST message 1 about my parcel,delivery,train\n"
    new = "".join(f"a late message number {number} about something,billing,\n" for number in range(30))
    with pytest.raises(Invalid, match="30 problems"):
        append_file(person, "1", write(tmp_path, "input,output,split\n" + old + new.replace(",\n", ",nowhere\n")), "more.csv")
    view = append_file(person, "1", write(tmp_path, "input,output\n" + (old + new).replace(",train\n", "\n").replace(",\n", "\n")), "more.csv", reason="week 2")
    change = view.version.change or {}
    assert (change["kind"], change["filename"], change["added"], change["repeated"], change["labelled"]) == ("append", "more.csv", 31, 1, 0)
    assert view.version.rows == 91
    again = write(tmp_path, "input,output\n" + new.replace(",\n", "\n"))
    with pytest.raises(Invalid, match="All 30 rows"):
        append_file(person, "1", again, "more.csv")
    assert append_file(person, "1", again, "more.csv", repeats=True).version.rows == 121


def test_a_label_that_comes_later_fills_the_row_that_waits(person: Who, tmp_path: Path) -> None:
    add_dataset(person)
    waiting = "".join(f"a waiting message number {number} about a thing\n" for number in range(10))
    second = append_file(person, "1", write(tmp_path, "input\n" + waiting), "waiting.csv").version
    assert second.splits["unlabelled"] == 10
    labelled = "input,output\n" + waiting.replace("thing\n", "thing,billing\n")
    third = append_file(person, "1", write(tmp_path, labelled), "labelled.csv").version
    assert third.rows == 70 and "unlabelled" not in third.splits and (third.change or {})["labelled"] == 10
    assert history.diff(person, "1", 2).counts == {"added": 0, "removed": 0, "changed": 10, "moved": 0}


def test_a_later_file_is_read_by_the_first_ones_columns_and_may_lack_its_splits(person: Who, tmp_path: Path) -> None:
    rows = "".join(f"the first message number {number},{'yes' if number % 2 else 'no'},{('train', 'test')[number // 2 % 2]}\n" for number in range(40))
    mapping = {"input": "body", "output": "kind", "split": "part"}
    uploads.import_file(person, write(tmp_path, "body,kind,part\n" + rows), name="odd", filename="odd.csv", mapping=mapping)
    second = append_file(person, "1", write(tmp_path, "body,kind\nsomething else entirely,yes\n"), "labelled.csv").version
    third = append_file(person, "1", write(tmp_path, "body\nwho knows what this is\n"), "unlabelled.csv").version
    assert second.rows == 41 and third.splits["unlabelled"] == 1
    with pytest.raises(Invalid, match="1 problem"):
        append_file(person, "1", write(tmp_path, "text\nwho knows what this is\n"), "unlabelled.csv")


def test_a_later_file_has_the_same_several_columns_as_one_input(person: Who, tmp_path: Path) -> None:
    first = "question,context,verdict\n" + "".join(f"why {number},because {number},{'yes' if number % 2 else 'no'}\n" for number in range(40))
    mapping = {"input": ["question", "context"], "output": "verdict"}
    uploads.import_file(person, write(tmp_path, first), name="two", filename="two.csv", mapping=mapping)
    later = "question,context,verdict\nwhy 3,because 3,yes\nwho,somebody,yes\n"
    second = append_file(person, "1", write(tmp_path, later), "later.csv").version
    assert (second.rows, (second.change or {})["repeated"]) == (41, 1) and "repeats" not in second.origin
    row = next(row for row in versions.values(second) if row["added_in"] == 2)
    assert row["input"] == "question: who\ncontext: somebody" and row["cells"] == {"question": "who", "context": "somebody"}


def test_what_belongs_to_a_version_in_the_background_is_there_for_a_derived_one_and_goes_with_it(person: Who) -> None:
    first = add_dataset(person)
    second = derive(person, "1", Drop({ids(first, "train")[0]})).version
    with reading() as session:
        found = chores.of(session, second.id)
        marks = session.get_one(DatasetVersion, second.id).marks
        rows = {split: [row.position for row in rows_of(session, second, split)] for split in second.splits}
    assert set(found) == set(chores.OF_EACH) and {chore.total for chore in found.values()} == {second.rows}
    assert marks == {"": [1], **{split: positions[:1] for split, positions in rows.items()}}
    for chore in found.values():
        if chore.kind != "lengths":
            background.run(chore.id)
    assert grid.find(person, second.reference, "validation", "validation").total == second.splits["validation"]
    removal.remove(person, second.dataset_id)
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(chores.Chore)) == 0
    assert not list((settings().folder / "search").glob("*"))


def test_a_broken_file_appends_nothing_and_says_where(person: Who, tmp_path: Path) -> None:
    add_dataset(person)
    with pytest.raises(Invalid, match="1 problem") as caught:
        append_file(person, "1", write(tmp_path, "input,output\nfine,yes\nthree,cells,here\n"), "more.csv")
    assert caught.value.detail["problems"][0]["line"] == 3 and datasets.find(person, "1").version.number == 1
    with pytest.raises(Invalid, match="The file was not taken"):
        append_file(person, "1", write(tmp_path, "nothing,known\na,b\n"), "more.csv")


def test_rows_of_a_sealed_split_are_not_changed_by_hand(person: Who) -> None:
    first = add_dataset(person)
    test = ids(first, "test")[0]
    for change in (Move({test}, "train"), Edit({test: "billing"})):
        with pytest.raises(Sealed):
            derive(person, "1", change)
    with pytest.raises(Invalid, match="has a test split already"):
        derive(person, "1", Move({ids(first, "train")[0]}, "test"))
    datasets.reveal(person, "1", "labels look wrong")
    assert derive(person, "1", Edit({test: "delivery"})).version.number == 2


def test_a_label_taken_away_opens_no_sealed_row(person: Who) -> None:
    add_dataset(person)
    second = derive(person, "1", Relabel({"delivery": None})).version
    assert second.splits == {"train": 10, "validation": 5, "test": 15, "unlabelled": 15}
    assert not [row for row in grid.examples(person, "1", "unlabelled") if row.input.startswith("test")]


def test_rows_that_two_versions_share(person: Who) -> None:
    first = add_dataset(person)
    datasets.reveal(person, "1", "labels look wrong")
    test = ids(first, "test")
    second = derive(person, "1", Edit({test[0]: "delivery", test[2]: "delivery"})).version
    third = derive(person, "1", Drop({ids(second, "test")[5]})).version
    with reading() as session:
        same = lineage.same_rows(session, first, third)
    assert [older for older, _ in same] == [key for at, key in enumerate(test) if at not in (0, 2, 5)]


def test_a_reserve_keeps_the_rows_of_a_group_together(person: Who) -> None:
    text = table(400, author=lambda number: f"author {number % 60}")
    uploads.import_now(person, sent(text, cut={"group": "author"}))
    second = now(reserve.set_aside(person, "1", 0.5)).version
    with reading() as session:
        rows = session.query(Example).where(Example.version_id == second.id, Example.split.in_(("test", "reserve"))).all()
    places: dict[str, set[str]] = {}
    for row in rows:
        places.setdefault((row.cells or {})["author"], set()).add(row.split)
    assert all(len(splits) == 1 for splits in places.values()) and set.union(*places.values()) == {"test", "reserve"}


def test_a_reserve_is_set_aside_before_anything_was_scored_and_opened_once(person: Who) -> None:
    first = add_dataset(person, test=60)
    second = now(reserve.set_aside(person, "1", 0.5)).version
    assert second.splits["test"] + second.splits["reserve"] == 60 and 25 <= second.splits["reserve"] <= 35
    assert {row["input"] for row in versions.values(second)} == {row["input"] for row in versions.values(first)}
    with pytest.raises(Sealed, match="reserve"):
        grid.examples(person, "1", "reserve")
    with pytest.raises(Sealed):
        grid.examples(person, "1")
    with pytest.raises(Invalid, match="Say why"):
        reserve.open_reserve(person, "1", " ")
    opened = reserve.open_reserve(person, "1", "the final figure").version.reserve_opened or {}
    assert (opened["by"], opened["reason"]) == ("Ada", "the final figure") and opened["at"] > 0
    assert len(grid.examples(person, "1", "reserve", limit=100)) == second.splits["reserve"]
    with pytest.raises(Conflict, match="opened already"):
        reserve.open_reserve(person, "1", "once more")
    datasets.reveal(person, "1", "a look")
    with pytest.raises(Conflict, match="scored or seen"):
        reserve.set_aside(person, "1")


def test_a_dataset_that_something_is_built_on_stays(person: Who) -> None:
    version = add_dataset(person)
    model = add_model(person)
    experiment = experiments.create(person, name="ladder", dataset="1", model=model, rungs=[{"technique": "zero_shot"}])
    with pytest.raises(Conflict, match=r"tickets is used by experiment 1 \(ladder\), job 1") as caught:
        removal.remove(person, version.dataset_id)
    assert [(user["noun"], user["id"]) for user in caught.value.detail["users"]] == [("experiment", experiment), ("job", 1), ("job", 2)], (
        "the rung's and the linear baseline's"
    )
    other = add_dataset(person, "mail")
    derive(person, other.dataset_id, Drop({ids(other, "train")[0]}))
    evaluations.create(person, model=model, prompt_version=default_prompt(person), dataset=f"{other.dataset_id}@1")
    with pytest.raises(Conflict, match="mail is used by job 3"):
        removal.remove(person, other.dataset_id)


def test_a_deleted_dataset_takes_its_evaluations_along(person: Who) -> None:
    model = add_model(person)
    keep = add_dataset(person)
    gone = add_dataset(person, "mail")
    derive(person, gone.dataset_id, Drop({ids(gone, "train")[0]}))
    evaluations.create(person, model=model, prompt_version=default_prompt(person), dataset=f"{gone.dataset_id}@1")
    with transaction() as session:
        job = claim(session)
    answer_evaluation(job, 20)
    removal.remove(person, gone.dataset_id)
    with reading() as session:
        for table in (Evaluation, Prediction, Job):
            assert session.scalar(select(func.count()).select_from(table)) == 0
        assert list(session.scalars(select(DatasetVersion.dataset_id))) == [keep.dataset_id]
    assert removal.sweep() == 0


def test_a_deletion_that_was_cut_off_is_invisible_and_swept(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add_dataset(person)
    derive(person, "1", Drop({ids(first, "train")[0]}))
    evaluations.create(person, model=add_model(person), prompt_version=default_prompt(person), dataset="1@1")
    with transaction() as session:
        job = claim(session)
    answer_evaluation(job, 20)
    with monkeypatch.context() as patch:
        patch.setattr(removal, "purge", lambda key: None)  # the process is gone before it could go on
        removal.remove(person, first.dataset_id)
    with pytest.raises(NotFound):
        datasets.find(person, "1")
    assert (imports.sweep(), versions.sweep(-1000)) == (0, 0), "others leave it alone"
    assert removal.sweep() == 1
    with reading() as session:
        for table in (DatasetVersion, Evaluation, Prediction, Job):
            assert session.scalar(select(func.count()).select_from(table)) == 0
