"""Appending a long file: an upload that makes the next version in the importing child. Whole or not at all, seen once it is whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import reading
from app.domain import intake
from app.domain import upload as uploading
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.upload import Upload
from app.errors import Conflict, NotFound
from app.readers.options import Options
from app.services import appending, imports, uploads, versions
from app.services.datasets import DatasetView, find
from app.services.upload_files import place
from tests.services.uploading import die_at_work, sent, table


@pytest.fixture
def first(person: Who) -> DatasetView:
    return find(person, uploads.import_now(person, sent(table(300))))


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of 300 rows is a long one."""
    monkeypatch.setattr(appending, "AT_ONCE_ROWS", 100)


def begin(person: Who, text: str, **values: Any) -> Upload:
    made = uploads.append(person, "1", sent(text, "more.csv"), len(text), **values)
    assert isinstance(made, Upload)
    return made


def standing() -> tuple[int, int]:
    """How many versions and rows there are, sealed or not."""
    with reading() as session:
        return session.scalar(select(func.count()).select_from(DatasetVersion)) or 0, session.scalar(select(func.count()).select_from(Example)) or 0


def test_a_short_file_is_appended_at_once_and_a_long_one_by_its_upload_with_the_same_rows(
    person: Who, first: DatasetView, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = find(person, uploads.import_now(person, sent(table(300))))
    more = table(200, seed=9)
    here = uploads.append(person, other.version.reference, sent(more, "more.csv"), len(more), "week 2")
    assert isinstance(here, DatasetView) and here.version.number == 2
    monkeypatch.setattr(appending, "AT_ONCE_BYTES", 1_000)
    upload = begin(person, more, reason="week 2")
    assert (upload.name, upload.state, find(person, "1").version.number) == (first.dataset.name, "waiting", 1)
    imports.run(upload.id)
    done = uploads.find(person, upload.id)
    view = find(person, "1")
    assert (done.state, done.dataset_id, done.rows, done.share, view.version.number) == ("done", 1, 500, 1.0, 2)
    assert view.version.content_hash == here.version.content_hash and view.version.splits == here.version.splits
    assert view.version.change is not None and (view.version.change["reason"], view.version.change["filename"]) == ("week 2", "more.csv")
    assert not place(upload.file).exists()


def test_how_far_it_is_is_written_down(person: Who, first: DatasetView, long: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "TOLD_SECONDS", 0.0)
    seen = []
    hold = uploading.hold

    def watched(session: Any, key: int, token: str, **values: Any) -> None:
        hold(session, key, token, **values)
        seen.append((values.get("share"), values.get("rows")))

    monkeypatch.setattr(uploading, "hold", watched)
    imports.run(begin(person, table(2_000, seed=9)).id)
    shares = [share for share, _ in seen if share is not None]
    assert len(shares) > 4 and shares == sorted(shares) and shares[0] == 0.0 and 0.45 < shares[-2] < 1 and shares[-1] == 1.0
    assert seen[-1][1] == 2_300


def test_one_that_is_cancelled_while_rows_go_in_leaves_nothing(person: Who, first: DatasetView, long: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "TOLD_SECONDS", 0.0)
    before = standing()
    upload = begin(person, table(2_000, seed=9))
    put, written = intake.put, 0

    def cancelling(*given: Any) -> None:
        nonlocal written
        put(*given)
        written += 1

    told = imports._Told.told

    def cancel_then_tell(self: imports._Told, draft: DatasetVersion, rows: int) -> None:
        if written == 2:
            uploads.cancel(person, upload.id)
        told(self, draft, rows)

    monkeypatch.setattr(intake, "put", cancelling)
    monkeypatch.setattr(imports._Told, "told", cancel_then_tell)
    imports.run(upload.id)
    assert written == 2 and standing() == before and not place(upload.file).exists()
    with pytest.raises(NotFound):
        uploads.find(person, upload.id)


def test_what_a_killed_child_left_goes_at_once(person: Who, first: DatasetView, long: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = standing()

    upload = begin(person, table(2_000, seed=9))
    die_at_work(upload, monkeypatch)
    assert standing()[1] == before[1] + 2_300 and find(person, "1").version.number == 1, "its rows are there and nobody sees them"
    imports.lost(upload.id)
    assert standing() == before
    assert (uploads.find(person, upload.id).error or {})["code"] == "import_lost"


def test_a_broken_file_is_told_by_its_upload_and_an_older_version_before_anything_is_stored(person: Who, first: DatasetView, long: None) -> None:
    before = standing()
    upload = begin(person, "text,label\nfine,label 1\nthree,cells,here\n")
    imports.run(upload.id)
    failed = uploads.find(person, upload.id)
    assert failed.state == "failed" and (failed.error or {})["problems"][0]["line"] == 3 and standing() == before
    again = begin(person, table(300))
    imports.run(again.id)
    assert (uploads.find(person, again.id).error or {})["code"] == "nothing_new" and standing() == before
    imports.run(begin(person, table(10, seed=4)).id)
    with pytest.raises(Conflict):
        uploads.append(person, "1@1", sent(table(10, seed=5)), 100)


def test_a_long_file_is_read_as_its_sender_says_and_as_the_first_one_was(person: Who, long: None) -> None:
    text = "satz;urteil\n" + "".join(f"Grüße {number};{'ja' if number % 2 else 'nein'}\n" for number in range(200))
    mapping = {"input": "satz", "output": "urteil"}
    uploads.import_now(person, sent(text.encode("latin-1"), options=Options(encoding="latin-1", mapping=mapping)))
    later = text.replace("Grüße", "Mühe")
    for number, (data, said) in enumerate(
        ((later.encode("latin-1"), Options()), (later.replace("M", "L").encode("utf-16-le"), Options(encoding="utf-16-le"))), 2
    ):
        upload = uploads.append(person, "1", sent(data, "more.csv", options=said), len(data))
        assert isinstance(upload, Upload)
        imports.run(upload.id)
        assert uploads.find(person, upload.id).state == "done" and find(person, "1").version.number == number
    texts = {row["input"].split()[0] for row in versions.values(find(person, "1").version)}
    assert texts == {"Grüße", "Mühe", "Lühe"}


def test_a_file_that_was_looked_at_makes_the_same_version_as_one_that_was_not(person: Who, first: DatasetView) -> None:
    uploads.import_now(person, sent(table(300)))
    more = table(40, seed=9) + table(10)[len("text,label\n") :]
    at_once = uploads.append(person, "2", sent(more, "more.csv"), len(more), "week 2")
    upload = uploads.accept_rows(person, "1", sent(more, "more.csv"))
    imports.run(upload.id)
    looked = uploads.find(person, upload.id)
    assert (looked.state, looked.aim, find(person, "1").version.number) == ("ready", "report", 1)
    assert (looked.report or {})["meeting"] == {"version": "1@1", "new": 40, "repeated": 10, "labelled": 0}
    uploads.keep_cut(person, upload.id, looked.name, {**looked.cut, "reason": "week 2"})
    uploads.freeze(person, upload.id)
    imports.run(upload.id)
    done, version = uploads.find(person, upload.id), find(person, "1").version
    assert isinstance(at_once, DatasetView) and (done.state, done.cut["made"]) == ("done", 2)
    assert version.content_hash == at_once.version.content_hash and version.change == at_once.version.change


def test_rows_that_wait_are_counted_once_however_often_a_file_has_their_label(person: Who) -> None:
    waiting = "".join(f"who knows {number},\n" for number in range(600))
    key = uploads.import_now(person, sent(table(300) + waiting))
    labels = "text,label\n" + "".join(f"who knows {number % 600},label 1\n" for number in range(1_200))
    upload = uploads.accept_rows(person, key, sent(labels))
    imports.run(upload.id)
    told = (uploads.find(person, upload.id).report or {})["meeting"]
    assert told == {"version": f"{key}@1", "new": 0, "repeated": 600, "labelled": 600}
    made = uploads.append(person, key, sent(labels), len(labels))
    assert isinstance(made, DatasetView) and made.version.change is not None
    assert {name: made.version.change[name] for name in ("added", "repeated", "labelled")} == {"added": 0, "repeated": 600, "labelled": 600}


def test_rows_that_come_later_go_where_their_group_stands(person: Who) -> None:
    def author(number: int) -> str:
        return f"author {number % 60}" if number % 3 else ""

    key = uploads.import_now(person, sent(table(300, author=author), cut={"group": "author"}))
    more = table(300, seed=9, author=lambda number: f"author {number % 80}" if number % 3 else "")
    view = uploads.append(person, key, sent(more, "more.csv"), len(more))
    assert isinstance(view, DatasetView) and view.version.number == 2
    stands: dict[str, set[str]] = {}
    with reading() as session:
        for row in session.scalars(select(Example).where(Example.version_id == view.version.id)):
            stands.setdefault((row.cells or {})["author"], set()).add(row.split)
    alone = stands.pop("")
    assert len(stands) == 80 and all(len(splits) == 1 for splits in stands.values()) and set.union(*stands.values()) == alone == {"train", "validation", "test"}


def test_a_text_that_is_there_decides_before_the_group_of_a_row(person: Who) -> None:
    old = table(300, author=lambda number: f"author {number % 30}")
    key = uploads.import_now(person, sent(old, cut={"group": "author"}))
    lines = old.splitlines()
    with reading() as session:
        stood = {row.input: row.split for row in session.scalars(select(Example))}
    # Each text comes once more of somebody else, and a new text of two people who have written before.
    again = [f"{line.rsplit(',', 1)[0]},{who} {number % 30}" for number, line in enumerate(lines[1:]) for who in ("somebody", "another")]
    shared = [f"a new text {number} of two people in one file,label 0,author {(number + step) % 30}" for number in range(20) for step in (0, 7)]
    more = "\n".join([lines[0], *again, *shared]) + "\n"
    view = uploads.append(person, key, sent(more, "more.csv"), len(more))
    assert isinstance(view, DatasetView) and view.version.change and view.version.change["added"] == 640
    sides: dict[str, set[str]] = {}
    with reading() as session:
        for row in session.scalars(select(Example).where(Example.version_id == view.version.id)):
            sides.setdefault(row.input, set()).add(row.split)
    assert all(len(splits) == 1 for splits in sides.values()) and {text: {split} for text, split in stood.items()}.items() <= sides.items()


CHILD = """
import json, pathlib, sys, time
from sqlalchemy import event
from app.db import engine
longest = began = 0.0

@event.listens_for(engine(), "begin")
def begin(_):
    global began
    began = time.thread_time()

@event.listens_for(engine(), "commit")
def commit(_):
    global longest
    longest = max(longest, time.thread_time() - began)

from app.import_child import main
main()
print(json.dumps([int(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024, longest * 1000]))
"""
"""The importing child with two last words: its peak in MB, and the processor's milliseconds in its longest transaction, which a busy machine does not stretch."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
def test_memory_does_not_grow_with_the_version_and_no_write_is_long(person: Who, long: None, database: str) -> None:
    peaks = []
    for number, rows in enumerate((2_000, 40_000), 1):
        uploads.import_now(person, sent(table(rows)))
        more = table(1_000, seed=9)
        upload = uploads.append(person, number, sent(more, "more.csv"), len(more))
        assert isinstance(upload, Upload)
        done = subprocess.run([sys.executable, "-c", CHILD, "upload", str(upload.id)], capture_output=True, text=True, check=True)
        assert find(person, number).version.rows == rows + 1_000
        peak, longest = json.loads(done.stdout)
        peaks.append(peak)
        assert longest < 50 or not database.startswith("sqlite"), f"{longest} ms: elsewhere a write keeps nobody waiting"
    assert peaks[1] < peaks[0] + 30 and peaks[1] < 400, f"rows that are read are not held: {peaks}"
