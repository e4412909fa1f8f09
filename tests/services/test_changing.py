"""A change of a long version: an upload that makes the next one in the importing child. Whole or not at all, seen once it is whole."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import reading
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.lineage import Drop, Move, Relabel
from app.domain.upload import Upload
from app.errors import Conflict, FettleError, Invalid, NotFound, Sealed
from app.services import annotating, appending, changing, datasets, health, imports, label_books, reserve, uploads
from app.services.datasets import DatasetView
from app.services.upload_files import place
from tests.services.uploading import die_at_work, now
from tests.unhealthy import sick


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of 71 rows is a long one."""
    monkeypatch.setattr(appending, "AT_ONCE_ROWS", 50)


def later(made: DatasetView | Upload) -> Upload:
    assert isinstance(made, Upload)
    return made


def standing() -> tuple[int, int]:
    """How many versions and rows there are, sealed or not."""
    with reading() as session:
        return session.scalar(select(func.count()).select_from(DatasetVersion)) or 0, session.scalar(select(func.count()).select_from(Example)) or 0


def row(position: int, version: str = "1") -> int:
    with reading() as session:
        found = datasets.find(Who(1, 1, "", "admin"), version).version
        return session.scalars(select(Example.id).where(Example.version_id == found.id, Example.position == position)).one()


def label(person: Who, dataset: int) -> Any:
    annotating.give(person, dataset, row(0, str(dataset)), "b")
    return annotating.save(person, dataset).view


CHANGES: dict[str, Callable[[Who, int], DatasetView | Upload]] = {
    "Drop 1 row": lambda person, key: health.mend(person, key, "leakage"),
    "Change labels": lambda person, key: health.mend(person, key, "look_alike_labels"),
    "Drop 2 rows": lambda person, key: changing.change(person, key, Drop(frozenset([row(0, str(key)), row(1, str(key))])), "twice"),
    "Move 1 row to validation": lambda person, key: changing.change(person, key, Move(frozenset([row(0, str(key))]), "validation")),
    "Rewrite the label book": lambda person, key: label_books.rewrite(person, key, [{"key": "a", "description": "first"}]),
    "Set 6 rows aside as a reserve": reserve.set_aside,
    "Change the output of 1 row": label,
}
"""By what is said of it: what a person can do to a version."""


@pytest.mark.parametrize("words", CHANGES)
def test_a_long_version_is_changed_by_an_upload_and_the_next_one_is_what_it_would_be_at_once(person: Who, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sick(person)
    sick(person)
    assert health.report(person, 1).findings and health.report(person, 2).findings
    at_once = now(CHANGES[words](person, 2)).version
    monkeypatch.setattr(appending, "AT_ONCE_ROWS", 50)
    before = standing()
    upload = later(CHANGES[words](person, 1))
    assert (upload.state, upload.filename, upload.name) == ("waiting", words, "sick") and standing() == before
    imports.run(upload.id)
    done, version = uploads.find(person, upload.id), datasets.find(person, 1).version
    assert (done.state, done.dataset_id, done.cut["made"], done.share, version.number) == ("done", 1, 2, 1.0, 2)
    assert (version.content_hash, version.splits, version.change, version.labels) == (
        at_once.content_hash,
        at_once.splits,
        at_once.change,
        at_once.labels,
    )
    assert not place(upload.file).exists()


def test_labels_that_are_saved_in_the_background_wait_until_the_version_is_there(person: Who, long: None) -> None:
    sick(person)
    upload = later(label(person, 1))
    annotating.give(person, 1, row(2), "b")
    assert annotating.queue(person, 1, 1).progress.changed == 2, "nothing is forgotten before it is saved"
    imports.run(upload.id)
    assert annotating.queue(person, 1, 1).progress.changed == 1, "what was given since is kept"


def test_a_label_that_is_corrected_while_it_is_saved_clashes_with_nobody(person: Who, long: None) -> None:
    sick(person)
    upload = later(label(person, 1))
    annotating.give(person, 1, row(0), "a")
    imports.run(upload.id)
    saved = annotating.save(person, 1)
    assert (saved.rows, saved.clashing) == (1, 0)


def test_what_may_not_be_done_is_said_at_once(person: Who, long: None) -> None:
    sick(person)
    wanted: dict[type[FettleError], Any] = {Invalid: Move(frozenset([row(0)]), "test"), Sealed: Move(frozenset([row(8)]), "train")}
    for error, change in wanted.items():
        with pytest.raises(error):
            changing.change(person, 1, change)
    with pytest.raises(NotFound):
        health.mend(person, 1, "nonsense")
    assert not uploads.unfinished(person)
    imports.run(later(changing.change(person, 1, Relabel({"A": "a"}))).id)
    with pytest.raises(Conflict):
        changing.change(person, "1@1", Relabel({"N/A": None}))


def test_what_is_found_out_while_it_is_made_is_told_by_its_upload(person: Who, long: None) -> None:
    sick(person)
    before = standing()
    nothing = later(changing.change(person, 1, Drop(frozenset([10**9]))))
    imports.run(nothing.id)
    told = uploads.find(person, nothing.id)
    assert told.state == "failed" and (told.error or {})["code"] == "nothing_changes" and standing() == before
    first, second = (later(changing.change(person, 1, Relabel({one: "a"}))) for one in ("A", "N/A"))
    for upload in (first, second):
        imports.run(upload.id)
    assert (uploads.find(person, second.id).error or {})["code"] == "newer_version" and datasets.find(person, 1).version.number == 2


def test_one_that_was_cut_off_or_cancelled_leaves_the_version_as_it_was(person: Who, long: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sick(person)
    before = standing()

    upload = later(changing.change(person, 1, Relabel({"A": "a"})))
    die_at_work(upload, monkeypatch)
    assert standing()[1] == 2 * before[1] and datasets.find(person, 1).version.number == 1, "its rows are there and nobody sees them"
    imports.lost(upload.id)
    assert standing() == before and (uploads.find(person, upload.id).error or {})["code"] == "change_lost"
    again = later(changing.change(person, 1, Relabel({"A": "a"})))
    uploads.cancel(person, again.id)
    with pytest.raises(NotFound):
        uploads.find(person, again.id)
    assert not place(again.file).exists() and standing() == before


def test_a_change_is_no_file_that_could_be_read_otherwise(person: Who, long: None) -> None:
    sick(person)
    upload = later(changing.change(person, 1, Relabel({"A": "a"})))
    with pytest.raises(Conflict):
        uploads.keep_cut(person, upload.id, "another", upload.cut)
    with pytest.raises(Conflict):
        uploads.freeze(person, upload.id)
