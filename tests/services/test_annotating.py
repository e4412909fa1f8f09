"""Labels given row by row: kept for the person who gave them, taken back one by one, and saved as one version."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from app.db import reading, transaction
from app.domain import chore as chores_
from app.domain import dataset as datasets
from app.domain import intake
from app.domain.access import Who, owned
from app.domain.annotation import Annotation
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.lineage import Drop, Edit
from app.errors import Conflict, Invalid, NotFound, Sealed
from app.readers.options import Options
from app.services import annotating, chores, exports, label_books, uploads
from app.services import datasets as dataset_service
from app.services.datasets import DatasetView
from app.services.versions import derive
from tests.rows import add_dataset
from tests.services.uploading import now, sent, table
from tests.unhealthy import text


def add_waiting(person: Who, unlabelled: int = 12) -> DatasetVersion:
    """The tickets of tests.rows, and rows without a label behind them."""
    with transaction() as session:
        dataset = Dataset(**owned(person), name="tickets")
        session.add(dataset)
        session.flush()
        version = datasets.draft(session, person, dataset, 0, {})
        rows = [("train", 20), ("validation", 8), ("test", 12), ("unlabelled", unlabelled)]
        place = 0
        for split, count in rows:
            for number in range(count):
                output = None if split == "unlabelled" else ("billing", "delivery")[number % 2]
                text = f"{split} {number}: {'a parcel from ' + 'abcdefghijkl'[number % 12] * 9 if number % 2 else 'an invoice for ' + 'mnopqrstuvwx'[number % 12] * 9}"
                session.add(Example(version_id=version.id, position=place, line=place + 2, split=split, input=text, output=output, cells=None))
                place += 1
        session.flush()
        intake.seal(session, version)
        return version


def row(version: DatasetVersion, position: int) -> Example:
    with reading() as session:
        return session.scalars(select(Example).where(Example.version_id == version.id, Example.position == position)).one()


def other(person: Who) -> Who:
    return Who(None, person.workspace_id, "Eve", "admin")


def test_what_is_given_waits_for_its_giver_and_becomes_one_version(person: Who) -> None:
    version = add_waiting(person)
    first, waiting = row(version, 0), row(version, 40)
    assert annotating.give(person, 1, first.id, "delivery").changed == 1
    assert annotating.give(person, 1, waiting.id, "billing").labelled == 1
    shown = annotating.grid(person, 1)
    assert [(one.output, one.changed) for one in shown.rows[:2]] == [("delivery", True), ("delivery", False)]
    assert annotating.grid(other(person), 1).rows[0].output == "billing" and annotating.grid(other(person), 1).progress.changed == 0
    saved = annotating.save(person, 1, "looked over")
    after = now(saved.view).version
    assert (after.number, saved.rows, saved.clashing) == (2, 2, 0) and after.change["reason"] == "looked over" and after.change["kind"] == "edit"  # type: ignore[index]
    assert row(after, 0).output == "delivery" and row(after, 0).split == "train"
    assert row(after, 40).output == "billing" and row(after, 40).split in ("train", "validation", "test")
    assert row(version, 0).output == "billing", "the older version is as it was"
    with reading() as session:
        assert session.scalars(select(Annotation)).all() == []
    assert annotating.grid(person, 1).progress == annotating.Progress(0, 11, 0, 0)


def test_undo_takes_back_one_at_a_time(person: Who) -> None:
    version = add_waiting(person)
    first = row(version, 0)
    for label in ("delivery", "fault", None):
        annotating.give(person, 1, first.id, label)
    seen = []
    for _ in range(4):
        found = annotating.undo(person, 1)
        seen.append((found.row.output if found.row else "nothing", found.progress.changed))
    assert seen == [("fault", 1), ("delivery", 1), ("billing", 0), ("nothing", 0)]
    with pytest.raises(Invalid, match="no label to save"):
        annotating.save(person, 1)


def test_a_label_set_back_is_no_change(person: Who) -> None:
    version = add_waiting(person)
    annotating.give(person, 1, row(version, 0).id, "delivery")
    assert annotating.give(person, 1, row(version, 0).id, "billing").changed == 0
    with pytest.raises(Invalid, match="no label to save"):
        annotating.save(person, 1)


def test_sealed_rows_are_neither_shown_nor_labelled(person: Who) -> None:
    version = add_waiting(person)
    assert list(annotating.grid(person, 1).splits) == ["train", "validation", "unlabelled"]
    assert annotating.grid(person, 1, split="test").split == "train"
    with pytest.raises(Sealed):
        annotating.give(person, 1, row(version, 30).id, "delivery")
    dataset_service.reveal(person, "1", "labels look wrong")
    assert annotating.grid(person, 1, split="test").total == 12
    assert dataset_service.find(person, 1).version.viewed == 1
    annotating.give(person, 1, row(version, 30).id, "delivery")
    assert now(annotating.save(person, 1).view).version.splits["test"] == 12


def test_the_grid_is_filtered_by_label_text_and_what_was_changed(person: Who) -> None:
    version = add_waiting(person)
    assert annotating.grid(person, 1, label="billing").total == 10
    assert annotating.grid(person, 1, text="PARCEL").total == 10 and annotating.grid(person, 1, text="100%").total == 0
    annotating.give(person, 1, row(version, 3).id, "billing")
    assert [one.example.position for one in annotating.grid(person, 1, changed=True).rows] == [3]
    assert [one.example.position for one in annotating.grid(person, 1, offset=18, limit=5).rows] == [18, 19]


def found(person: Who, **asked: Any) -> list[int]:
    grid = annotating.grid(person, 1, limit=1000, **asked)
    assert grid.total == len(grid.rows) and grid.indexing is None
    return [one.example.position for one in grid.rows]


def test_rows_are_found_by_their_words_with_an_index_and_without(person: Who) -> None:
    words = ["Über den Preis", "teuer ist es", "straße gesperrt", "preis über alles", "die Kosten über"]
    file = "text,label,split\n" + "".join(
        f"{words[number % 5]} {number},{'ab'[number % 2]},{'train' if number % 10 else 'validation'}\n" for number in range(100)
    )
    train = [number for number in range(100) if number % 10]
    uploads.import_now(person, sent(file))
    annotating.give(person, 1, row(dataset_service.find(person, 1).version, 3).id, "a")
    for indexed in (False, True):
        if indexed:
            with reading() as session:
                key = chores_.waiting(session, ["search"])
            assert key is not None
            chores.run(key)
        assert found(person, text="über") == [number for number in train if number % 5 in (0, 3, 4)] == found(person, text="ÜB")
        assert found(person, text="STRASSE") == list(range(2, 100, 5)) and found(person, text="ber") == found(person, text="!") == []
        assert found(person, text="preis über", label="a") == [number for number in train if number % 2 == 0 and number % 5 in (0, 3)]
        assert found(person, text="preis", changed=True) == [3] and found(person, text="kosten", changed=True) == []
        page = annotating.grid(person, 1, text="über", offset=45, limit=4)
        assert page.total == 50 and [one.example.position for one in page.rows] == [93, 94, 95, 98]


def test_a_long_version_says_how_far_its_index_is(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotating, "READ_THROUGH", 10)
    add_waiting(person)
    shown = annotating.grid(person, 1, text="parcel")
    assert (shown.rows, shown.total, shown.indexing) == ([], 0, 0.0)
    with reading() as session:
        assert chores_.waiting(session, ["search"]) is not None, "it had none, and gets one"


def test_pages_follow_each_other_far_inside_a_split(person: Who) -> None:
    uploads.import_now(person, sent(table(2_600, split=lambda number: "train" if number % 7 else "validation")))
    with reading() as session:
        version = dataset_service.find(person, 1).version
        wanted = [one.position for one in datasets.rows(session, version, "train")]
    seen: list[int] = []
    for offset in range(0, len(wanted), 300):
        page = annotating.grid(person, 1, split="train", offset=offset, limit=300)
        seen += [one.example.position for one in page.rows]
        assert page.total == len(wanted)
    assert seen == wanted


def test_the_queue_begins_behind_the_row_that_was_last_and_leaves_out_what_is_labelled(person: Who) -> None:
    version = add_waiting(person, 12)
    labelled, skipped, taken_away = {41, 44, 50}, {42, 47, 51}, {45}
    for position in sorted(labelled | skipped | taken_away):
        annotating.give(person, 1, row(version, position).id, "billing" if position in labelled else None, skipped=position in skipped)
    for after in (-1, 40, 46, 51, 99):
        wanted = sorted(set(range(40, 52)) - labelled, key=lambda position: (position in skipped, position <= after, position))
        for limit in (1, 3, 8, 50):
            assert [one.example.position for one in annotating.queue(person, 1, limit, after).rows] == wanted[:limit], (after, limit)


def test_the_queue_gives_skipped_rows_last_and_counts(person: Who) -> None:
    version = add_waiting(person, 4)
    positions = [one.example.position for one in annotating.queue(person, 1).rows]
    assert positions == [40, 41, 42, 43]
    annotating.give(person, 1, row(version, 40).id, None, skipped=True)
    annotating.give(person, 1, row(version, 41).id, "billing")
    found = annotating.queue(person, 1)
    assert [one.example.position for one in found.rows] == [42, 43, 40] and found.progress == annotating.Progress(1, 4, 1, 1) and found.progress.left == 2
    assert [one.example.position for one in annotating.queue(person, 1, after=42).rows] == [43, 42, 40]
    annotating.give(person, 1, row(version, 40).id, "delivery")
    assert annotating.queue(person, 1).progress.skipped == 0


def test_rows_labelled_with_a_suggestion_in_sight_train_and_skipped_ones_wait_on(person: Who) -> None:
    version = add_waiting(person)
    for position in range(40, 50):
        annotating.give(person, 1, row(version, position).id, "billing", assisted=True)
    annotating.give(person, 1, row(version, 50).id, None, skipped=True)
    after = now(annotating.save(person, 1).view).version
    assert {row(after, position).split for position in range(40, 50)} == {"train"} and after.change["assisted"] == 10  # type: ignore[index]
    assert after.splits["unlabelled"] == 2 and after.splits["test"] == version.splits["test"]
    assert annotating.queue(person, 1).progress.skipped == 1


def test_work_survives_a_version_that_somebody_else_makes(person: Who) -> None:
    version = add_waiting(person)
    annotating.give(person, 1, row(version, 0).id, "delivery")
    annotating.give(person, 1, row(version, 1).id, "billing")
    annotating.give(person, 1, row(version, 2).id, "delivery")
    derive(person, "1", Edit({row(version, 1).id: "fault", row(version, 2).id: "delivery"}))
    derive(person, "1", Drop(frozenset({row(dataset_service.find(person, 1).version, 5).id})))
    clashing = [one.example.position for one in annotating.grid(person, 1).rows if one.clashes]
    assert clashing == [1]
    saved = annotating.save(person, 1)
    assert (now(saved.view).version.number, saved.rows, saved.clashing) == (4, 1, 1)
    assert [row(now(saved.view).version, position).output for position in (0, 1, 2)] == ["delivery", "fault", "delivery"]
    assert annotating.grid(person, 1).rows[1].output == "billing", "kept for the person to look at"
    annotating.give(person, 1, row(now(saved.view).version, 1).id, "billing")
    assert row(now(annotating.save(person, 1).view).version, 1).output == "billing"


def test_rows_of_an_older_version_are_refused_with_what_to_do(person: Who) -> None:
    version = add_waiting(person)
    derive(person, "1", Edit({row(version, 1).id: "fault"}))
    with pytest.raises(Conflict, match="Version 2 was made meanwhile"):
        annotating.give(person, 1, row(version, 0).id, "delivery")


def test_a_blank_label_a_foreign_dataset_and_another_datasets_row_are_refused(person: Who) -> None:
    version, second = add_waiting(person), add_dataset(person)
    with pytest.raises(Invalid, match="blank"):
        annotating.give(person, 1, row(version, 0).id, " ")
    with pytest.raises(NotFound):
        annotating.give(Who(None, person.workspace_id + 1, "Eve", "admin"), 1, row(version, 0).id, "billing")
    with pytest.raises(Conflict):
        annotating.give(person, 1, row(second, 0).id, "billing")


def test_discarding_forgets_only_ones_own(person: Who) -> None:
    version = add_waiting(person)
    annotating.give(person, 1, row(version, 0).id, "delivery")
    annotating.give(other(person), 1, row(version, 0).id, "fault")
    annotating.discard(person, 1)
    assert annotating.grid(person, 1).rows[0].output == "billing" and annotating.grid(other(person), 1).rows[0].output == "fault"


def test_a_file_without_a_label_waits_to_be_labelled_and_finds_all_its_splits(person: Who) -> None:
    file = "text\n" + "".join(f"{text(number)}\n" for number in range(40))
    uploads.import_now(person, sent(file, cut={"splits": {"train": 0.5, "validation": 0.25, "test": 0.25}}))
    first = dataset_service.find(person, "1").version
    assert first.splits == {"unlabelled": 40} and first.labels == [] and annotating.queue(person, 1).progress.left == 40
    label_books.rewrite(person, "1", [{"key": "a"}, {"key": "b"}])
    for at in range(20):  # one at a time: the shares hold all the same
        annotating.give(person, 1, annotating.queue(person, 1).rows[0].example.id, "ab"[at % 2])
        annotating.save(person, 1)
    version = dataset_service.find(person, "1").version
    assert version.splits == {"train": 10, "validation": 5, "test": 5, "unlabelled": 20}
    assert [(label["key"], label["count"]) for label in version.labels] == [("a", 10), ("b", 10)]


def test_rows_that_wait_go_to_the_splits_that_their_file_gave_them(person: Who) -> None:
    """The file says of its test rows that they are; nobody has labelled them yet."""
    labelled = "".join(f"{text(number)},{'ab'[number % 2]},{'validation' if number % 5 == 0 else 'train'}\n" for number in range(50))
    waiting = "".join(f"{text(number)},,{'test' if number % 2 else 'validation'}\n" for number in range(50, 70)) + f"{text(1)},,test\n{text(70)},,\n"
    key = uploads.import_now(person, sent(f"text,label,split\n{labelled}{waiting}"))
    version = dataset_service.find(person, key).version
    assert version.splits == {"train": 40, "validation": 10, "unlabelled": 22}
    for position in range(50, 60):
        annotating.give(person, key, row(version, position).id, "a", assisted=position == 59)
    annotating.give(person, key, row(version, 70).id, "b")
    after = now(annotating.save(person, key).view).version
    assert [row(after, position).split for position in range(50, 60)] == ["validation", "test"] * 4 + ["validation", "train"]
    assert row(after, 70).split == "train", "its text stands there"
    # The rest get their labels by a file that has no splits.
    rest = "text,label\n" + "".join(f"{text(number)},b\n" for number in range(60, 70))
    appended = uploads.append(person, key, sent(rest, "rest.csv", options=Options(mapping={"input": "text", "output": "label", "split": None})), len(rest))
    assert isinstance(appended, DatasetView)
    assert [row(appended.version, position).split for position in range(60, 70)] == ["validation", "test"] * 5


def test_a_row_that_is_appended_without_a_label_keeps_what_its_file_gave_it(person: Who) -> None:
    version = add_waiting(person)
    more = f"input,output,split\n{text(1)},,test\n{text(2)},,validation\n"
    made = uploads.append(person, "1", sent(more, "more.csv"), len(more))
    assert isinstance(made, DatasetView) and made.version.splits["unlabelled"] == version.splits["unlabelled"] + 2
    exported = b"".join(exports.export(person, "1", "jsonl").content).decode().splitlines()
    assert [json.loads(line)["split"] for line in exported[-2:]] == ["test", "validation"], "what goes out comes in as it was"
    for position in (52, 53):
        annotating.give(person, 1, row(made.version, position).id, "billing")
    after = now(annotating.save(person, 1).view).version
    assert [row(after, position).split for position in (52, 53)] == ["test", "validation"]
