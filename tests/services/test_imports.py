"""From a stored file to a sealed version: whole or not at all, in bounded memory, the same on both databases."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import intake
from app.domain import upload as uploads_
from app.domain.access import Who
from app.domain.chore import Chore
from app.domain.cutting import Cutter, content_key
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.upload import Upload
from app.errors import Conflict, Invalid, NotFound
from app.readers.near_duplicates import near_duplicate_groups
from app.readers.options import Options
from app.services import filling, imports, problem_lists, upload_files, uploads
from app.services.datasets import DatasetView, find
from app.services.upload_files import place
from tests.services.uploading import sent, table


def imported(person: Who, text: str, **values: Any) -> DatasetView:
    return find(person, uploads.import_now(person, sent(text, **values)))


def rows_of(view: DatasetView) -> list[Example]:
    with reading() as session:
        return list(datasets.rows(session, view.version))


def counted(view: DatasetView) -> dict[str, Any]:
    """What the stored rows say."""
    with reading() as session:
        return intake.counted(session, session.get_one(DatasetVersion, view.version.id))


def sealed(view: DatasetView) -> dict[str, Any]:
    """What was counted on the way in."""
    with reading() as session:
        version = session.get_one(DatasetVersion, view.version.id)
        return {name: getattr(version, name) for name in ("splits", "labels", "content_hash", "marks")}


def nothing_is_left() -> bool:
    with reading() as session:
        counts = [session.scalar(select(func.count()).select_from(noun)) for noun in (Example, DatasetVersion, Dataset, Chore)]
    return not any(counts) and not list(upload_files.folder().iterdir())


def test_a_file_becomes_a_version_with_its_rows_in_order(person: Who) -> None:
    view = imported(person, table(700))
    rows = rows_of(view)
    assert [row.position for row in rows] == list(range(700)) and rows[0].line == 2 and rows[699].input.endswith(" 699")
    assert view.version.splits == Counter(row.split for row in rows)
    assert [(label["key"], label["display"], label["count"]) for label in view.version.labels] == [
        (key, key, count) for key, count in sorted(Counter(row.output for row in rows).items())
    ]
    assert counted(view) == sealed(view) and {row.content_key for row in rows} == {content_key(row.input) for row in rows}
    assert {row.added_in for row in rows} == {1}
    assert list(upload_files.folder().iterdir()) == []


def test_the_same_file_and_seed_give_the_same_version(person: Who) -> None:
    first, second = (imported(person, table(300), cut={"seed": 3}) for _ in range(2))
    assert first.version.content_hash == second.version.content_hash
    assert imported(person, table(300), cut={"seed": 4}).version.content_hash != first.version.content_hash


def test_a_long_file_is_split_while_it_comes_in(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 500)
    view = imported(person, table(6_000, labels=3) + "a text twice,label 0\n" * 40)
    rows = rows_of(view)
    assert [row.position for row in rows] == list(range(6_040)) and counted(view) == sealed(view)
    for label in ("label 1", "label 2"):
        counts = Counter(row.split for row in rows if row.output == label)
        assert abs(counts["test"] / counts.total() - 0.2) < 0.01 and abs(counts["validation"] / counts.total() - 0.1) < 0.01
    assert len({row.split for row in rows if row.input == "a text twice"}) == 1
    assert view.version.origin["repeats"] == {"rows": 39, "conflicting": 0, "leaking": 0}


@pytest.mark.parametrize("held", [20_000_000, 1_000_000])
def test_wide_columns_are_written_in_portions_and_not_held(person: Who, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    written: list[int] = []
    put = intake.put

    def weighed(session: Session, version: int, added_in: int, lines: Sequence[intake.Line]) -> None:
        written.append(sum(len(text or "") for line in lines for text in (line[3], line[4], line[6])))
        put(session, version, added_in, lines)

    monkeypatch.setattr(intake, "put", weighed)
    monkeypatch.setattr(filling, "HELD_CHARACTERS", held)
    view = imported(person, table(400, page=lambda number: f"{number} " + "a page " * 3_000))
    assert counted(view) == sealed(view) and view.version.rows == 400
    assert sum(written) > 8_000_000 and max(written) < filling.HEAVY + 30_000
    assert bool(view.version.origin.get("streamed")) is (held < 20_000_000)


def test_a_long_file_keeps_its_groups_and_its_own_splits(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 200)
    grouped = imported(person, table(1_000, author=lambda number: f"author {number % 90}"), cut={"group": "author"})
    places: dict[str, set[str]] = {}
    for row in rows_of(grouped):
        places.setdefault((row.cells or {})["author"], set()).add(row.split)
    assert len(places) == 90 and all(len(splits) == 1 for splits in places.values()) and set.union(*places.values()) == {"train", "validation", "test"}
    # The validation rows come late: they are found before train is cut for want of them.
    given = imported(person, table(900, split=lambda number: "train" if number < 600 else "validation" if number < 700 else "test"))
    assert given.version.splits == {"train": 600, "validation": 100, "test": 200}
    cut = imported(person, table(900, split=lambda number: "train" if number < 700 else "test"))
    assert cut.version.splits["test"] == 200 and 50 <= cut.version.splits["validation"] < 140


@pytest.mark.parametrize("other", ["a test row,label 1,test", "a row to be labelled,,validation"])
def test_near_duplicates_stay_on_one_side_of_the_validation_that_is_cut_from_a_given_train(person: Who, other: str) -> None:
    lines = [f"{line},train" for line in table(200).splitlines()[1:]]
    twins = [line.replace(",label", "!,label") for line in lines]
    view = imported(person, "\n".join(["text,label,split", *lines, *twins, other]))
    split = {row.input: row.split for row in rows_of(view)}
    assert view.version.rows == 401 and view.version.splits["validation"] >= 40
    assert all(split[text] == split[f"{text}!"] for text in split if f"{text}!" in split)


@pytest.mark.parametrize("split", ["test", "reserve"])
def test_near_duplicates_are_not_looked_for_where_nothing_is_cut(person: Who, split: Literal["test", "reserve"], monkeypatch: pytest.MonkeyPatch) -> None:
    looked = list[int]()

    def groups(texts: Sequence[str]) -> list[list[int]]:
        looked.append(len(texts))
        return near_duplicate_groups(texts)

    monkeypatch.setattr(filling, "near_duplicate_groups", groups)
    view = imported(person, table(100), options=Options(split=split))
    assert view.version.splits == {split: 100} and not looked
    imported(person, table(100))
    assert looked == [100]


@pytest.mark.parametrize("held", [20_000, 100])
def test_rows_without_a_group_have_nothing_in_common(person: Who, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", held)
    text = table(400, author=lambda number: "" if number % 2 else f"author {number % 40}") + "a text twice,label 0, \n" * 6
    rows = rows_of(imported(person, text, cut={"group": "author"}))
    alone = {row.split for row in rows if not (row.cells or {})["author"].strip()}
    assert alone == {"train", "validation", "test"} and 0.65 < Counter(row.split for row in rows)["train"] / len(rows) < 0.75
    assert len({row.split for row in rows if row.input == "a text twice"}) == 1


def shared() -> str:
    """A file in which each of 600 texts is there of two authors, a letter apart for every third one; those two share no text with others."""
    heading, *lines = table(600).splitlines()
    found = [f"{heading},author"]
    for number, line in enumerate(lines):
        text, label = line.split(",")
        pair = number % 30
        found += [f"{text},{label},author {pair}", f"{text}{'' if number % 3 else '!'},{label},other {pair}"]
    return "\n".join(found) + "\n"


def sides(rows: list[Example], by: Callable[[Example], str]) -> list[set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(by(row), set()).add(row.split)
    return list(found.values())


@pytest.mark.parametrize("held", [20_000, 100])
def test_equal_texts_of_two_groups_stay_on_one_side(person: Who, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", held)
    view = imported(person, shared(), cut={"group": "author"})
    rows = rows_of(view)
    assert set(view.version.splits) == {"train", "validation", "test"}
    assert all(len(found) == 1 for found in sides(rows, lambda row: row.input)) and view.version.origin["repeats"]["leaking"] == 0
    if held > 1_200:
        assert all(len(found) == 1 for found in sides(rows, lambda row: row.input.rstrip("!"))), "near-duplicates, too"
        assert all(len(found) == 1 for found in sides(rows, lambda row: (row.cells or {})["author"]))


def test_free_texts_after_a_long_beginning_without_labels_are_one_stratum(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 200)
    cutters: list[Cutter] = []
    long = filling.Filling._long

    def kept(self: filling.Filling) -> Cutter:
        cutters.append(long(self))
        return cutters[0]

    monkeypatch.setattr(filling.Filling, "_long", kept)
    text = "text,answer\n" + "".join(f"question {number},{f'answer {number}' if number > 300 else ''}\n" for number in range(1_500))
    view = imported(person, text)
    assert len(cutters[0]._strata) == 1 and view.version.splits["unlabelled"] == 301 and 200 < view.version.splits["test"] < 280


@pytest.mark.parametrize("column", ["text", "label"])
def test_a_column_that_is_the_input_or_the_output_keeps_nothing_together(person: Who, column: str) -> None:
    with pytest.raises(Invalid, match="is read as the input, the output or the split") as refused:
        imported(person, table(40, author=lambda number: "x"), cut={"group": column})
    assert refused.value.code == "used_column" and "same text stay together anyway" in refused.value.advice


def test_rows_with_another_output_or_in_another_split_are_counted(person: Who) -> None:
    text = "text,label,split\nhello,a,train\nHello ,b,train\nhello,a,test\nother,a,validation\n" + "".join(f"row {n},a,train\n" for n in range(20))
    assert imported(person, text).version.origin["repeats"] == {"rows": 2, "conflicting": 1, "leaking": 1}


def test_several_input_columns_are_one_input_and_each_can_be_named(person: Who) -> None:
    text = "question,context,verdict\n" + "".join(f"why {n},because {n},{'yes' if n % 2 else 'no'}\n" for n in range(40))
    view = imported(person, text, options=Options(mapping={"input": ["question", "context"], "output": "verdict"}))
    row = rows_of(view)[0]
    assert row.input == "question: why 0\ncontext: because 0" and row.values() == {"question": "why 0", "context": "because 0", "input": row.input}
    assert view.version.variables == ["input", "question", "context", "labels"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('text,label\n"open,x\n', "broken_file"),
        (table(700) + "one,too,many\n", "broken_file"),
    ],
)
def test_a_refused_file_leaves_nothing(person: Who, text: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 100)  # rows are in the database by then
    with pytest.raises(Invalid) as refused:
        imported(person, text)
    assert refused.value.code == code and nothing_is_left()
    assert uploads.unfinished(person) == []


def test_bad_shares_are_refused_before_anything_is_stored(person: Who) -> None:
    for splits, code in [({"train": 0.5, "test": 0.1}, "bad_shares"), ({"training": 1}, "unknown_split"), ({"train": "x"}, "bad_shares")]:
        with pytest.raises(Invalid) as refused:
            imported(person, table(50), cut={"splits": splits})
        assert refused.value.code == code
    assert nothing_is_left()


def test_an_upload_is_looked_at_read_otherwise_and_frozen(person: Who) -> None:
    upload = uploads.accept(person, sent(table(60).replace(",", ";"), "mail.csv"), "report")
    assert upload.name == "mail" and uploads.first_look(person, upload.id)["detected"]["delimiter"] == ";"
    imports.run(upload.id)
    looked = uploads.find(person, upload.id)
    assert looked.state == "ready" and looked.report is not None and looked.report["rows"] == 60 and len(looked.report["head"]) == 20
    uploads.read_otherwise(person, upload.id, "mail", Options(delimiter="|"), {})
    with pytest.raises(Conflict):
        uploads.freeze(person, upload.id)
    imports.run(upload.id)
    assert uploads.find(person, upload.id).state == "refused"
    uploads.read_otherwise(person, upload.id, "Mail", Options(), {"seed": 5})
    imports.run(upload.id)
    uploads.freeze(person, upload.id)
    imports.run(upload.id)
    done = uploads.find(person, upload.id)
    assert done.state == "done" and done.dataset_id is not None
    view = find(person, done.dataset_id)
    assert view.dataset.name == "Mail" and view.version.seed == 5 and view.version.rows == 60
    with pytest.raises(Conflict):
        uploads.cancel(person, upload.id)


def test_every_problem_is_counted_and_can_be_had(person: Who) -> None:
    upload = uploads.accept(person, sent("text,label\n" + "a,b,c\n" * 1_204), "report")
    imports.run(upload.id)
    report = uploads.find(person, upload.id).report or {}
    assert report["problem_count"] == 1_204 and len(report["problems"]) == 20
    found = list(problem_lists.problems(person, upload.id))
    assert len(found) == 1_204 and found[-1].line == 1_205 and found[-1].code == "wrong_number_of_values"


def test_a_cancelled_upload_is_gone(person: Who) -> None:
    upload = uploads.accept(person, sent(table(60)), "report")
    imports.run(upload.id)
    uploads.cancel(person, upload.id)
    assert nothing_is_left()
    with pytest.raises(NotFound):
        uploads.find(person, upload.id)


def test_an_import_that_is_cancelled_while_rows_go_in_takes_them_out(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 100)
    upload = uploads.accept(person, sent(table(3_000)), "import")
    written = 0
    write = filling.Filling._write

    def cancelling(self: filling.Filling) -> None:
        nonlocal written
        write(self)
        written += 1
        if written == 2:
            uploads.cancel(person, upload.id)

    monkeypatch.setattr(filling.Filling, "_write", cancelling)
    imports.run(upload.id)
    assert written == 2 and nothing_is_left()
    with pytest.raises(NotFound):
        uploads.find(person, upload.id)


def test_a_refused_import_goes_back_to_its_report_with_its_file(person: Who) -> None:
    upload = uploads.accept(person, sent(table(60)), "report")
    imports.run(upload.id)
    whole = place(upload.file).read_text()
    place(upload.file).write_text(whole + "one,too,many\n")  # damaged after it was looked at
    uploads.freeze(person, upload.id)
    imports.run(upload.id)
    back = uploads.find(person, upload.id)
    assert (back.state, back.aim, (back.error or {})["code"]) == ("ready", "report", "broken_file") and back.report and back.decidable
    with reading() as session:
        assert not session.scalar(select(func.count()).select_from(Example))
    place(upload.file).write_text(whole)
    uploads.freeze(person, upload.id)
    imports.run(upload.id)
    done = uploads.find(person, upload.id)
    assert done.state == "done" and done.error is None and done.dataset_id is not None


def test_a_cancel_while_a_refused_import_is_cleared_is_heeded(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 100)
    upload = uploads.accept(person, sent(table(700)), "report")
    imports.run(upload.id)
    with place(upload.file).open("a") as file:
        file.write("one,too,many\n")  # damaged after it was looked at
    uploads.freeze(person, upload.id)
    purge = imports.purge

    def cancelled(dataset: int, key: int | None = None) -> None:
        uploads.cancel(person, upload.id)
        purge(dataset, key)

    monkeypatch.setattr(imports, "purge", cancelled)
    imports.run(upload.id)
    assert nothing_is_left() and uploads.unfinished(person) == []


def test_an_import_at_once_that_is_cancelled_says_so(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 100)
    write = filling.Filling._write

    def cancelling(self: filling.Filling) -> None:
        write(self)
        uploads.cancel(person, uploads.unfinished(person)[0].id)

    monkeypatch.setattr(filling.Filling, "_write", cancelling)
    with pytest.raises(Conflict, match=r"tickets\.csv was cancelled while it ran") as told:
        imported(person, table(700))
    assert told.value.code == "import_cancelled" and nothing_is_left()


def test_whoever_lost_an_upload_writes_nothing_more(person: Who) -> None:
    upload = uploads.accept(person, sent(table(60)), "report")
    with transaction() as session:
        claimed = uploads_.claim(session, upload.id)
        assert uploads_.claim(session, upload.id) is None
    assert claimed is not None
    uploads.read_otherwise(person, upload.id, "x", Options(), {})
    with pytest.raises(uploads_.Dropped), transaction() as session:
        uploads_.hold(session, upload.id, claimed[1])


def test_the_sweep_clears_what_a_killed_import_left(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 100)
    upload = uploads.accept(person, sent(table(2_000)), "import")
    with transaction() as session:
        claimed = uploads_.claim(session, upload.id)
    assert claimed is not None
    monkeypatch.setattr(filling.Filling, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(imports, "clear", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        imports._import(*claimed)
    monkeypatch.undo()
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Example)) and not uploads_.lost(session)
    assert imports.sweep() == 0, "its lease is not over"
    with transaction() as session:
        session.query(Upload).update({"lease_until": 1})
    assert imports.sweep() == 1 and nothing_is_left()
    ended = uploads.find(person, upload.id)
    assert ended.state == "failed" and (ended.error or {})["code"] == "import_lost"


def test_the_sweep_forgets_what_nobody_wants_and_strays(person: Who) -> None:
    upload = uploads.accept(person, sent(table(60)), "report")
    imports.run(upload.id)
    stray = upload_files.folder() / "upload-stray"
    stray.write_text("left by a killed process")
    assert imports.sweep() == 0 and stray.exists(), "a young file's row may be on its way"
    os.utime(stray, (1, 1))
    assert imports.sweep() == 1 and not stray.exists()
    with transaction() as session:
        session.query(Upload).update({"touched_at": 1})
    imports.sweep()
    assert nothing_is_left() and uploads.unfinished(person) == []
