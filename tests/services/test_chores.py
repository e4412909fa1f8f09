"""What is worked out about a version in the background: it goes on where it was cut off, and finds what a small program would."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from app.db import reading, transaction
from app.domain import chore as chores_
from app.domain import dataset as datasets
from app.domain import text_search
from app.domain.access import Who
from app.domain.chore import Chore, NearDuplicate
from app.domain.dataset import Example
from app.domain.words import tokens
from app.errors import NotFound, Sealed
from app.readers.near_duplicates import near_duplicate_groups
from app.services import chores, filling, grid, health, shots, uploads
from app.services.datasets import DatasetView, find
from app.services.index_files import index_file
from tests.services.uploading import sent, table


@pytest.fixture
def tickets(person: Who) -> DatasetView:
    """Rows of three splits with words to find, some of them nearly the same."""
    text = (
        table(900) + "".join(f"the parcel with number {number} has not arrived at all,label 1\n" for number in range(5)) + "Straße überall 東京 now,label 2\n"
    )
    return find(person, uploads.import_now(person, sent(text)))


def do(kind: str) -> Chore:
    with reading() as session:
        key = chores_.waiting(session, [kind])
    assert key is not None
    chores.run(key)
    with reading() as session:
        return session.get_one(Chore, key)


def texts(view: DatasetView) -> list[str]:
    with reading() as session:
        return list(session.scalars(select(Example.input).where(Example.version_id == view.version.id).order_by(Example.position)))


def having(view: DatasetView, split: str, *words: str) -> list[int]:
    """Positions of the rows that have all words, the last one perhaps going on: the slow way."""
    found = []
    with reading() as session:
        for row in datasets.rows(session, view.version, split):
            own = text_search.words_of(row.input, row.output, row.cells)
            if all(word in own for word in words[:-1]) and any(one.startswith(words[-1]) for one in own):
                found.append(row.position)
    return found


def test_a_new_version_has_its_chores(person: Who, tickets: DatasetView) -> None:
    waiting = grid.background(person, tickets.version.reference)
    assert list(waiting) == ["search", "near_duplicates", "lengths"] and {chore.total for chore in waiting.values()} == {906}
    assert grid.find(person, tickets.version.reference, "parcel", "train").indexing == 0


@pytest.mark.parametrize("words", [("parcel",), ("parcel", "ref"), ("strasse", "über"), ("東京",), ("東",), ("zebra",), ("label", "3")])
def test_search_finds_the_rows_that_have_the_words(person: Who, tickets: DatasetView, words: tuple[str, ...]) -> None:
    assert do("search").state == "done"
    found = grid.find(person, tickets.version.reference, " ".join(words).upper(), "train", limit=1000)
    wanted = having(tickets, "train", *tokens(" ".join(words)))
    assert [row.position for row in found.rows] == wanted and found.total == len(wanted) and {row.split for row in found.rows} <= {"train"}


def test_found_rows_come_page_by_page_and_the_test_split_stays_sealed(person: Who, tickets: DatasetView) -> None:
    do("search")
    wanted, after, seen = having(tickets, "train", "card"), -1, list[int]()
    while True:
        found = grid.find(person, tickets.version.reference, "card", "train", after, 20)
        seen += [row.position for row in found.rows]
        if found.following is None:
            break
        after = found.following
    assert seen == wanted and len(wanted) > 40
    for split in ("test", None):
        with pytest.raises(Sealed):
            grid.find(person, tickets.version.reference, "card", split)
    for odd in ('"', "* OR", "parcel AND NOT", "'; DROP", "a" * 5_000, " "):
        grid.find(person, tickets.version.reference, odd, "train")


def test_a_version_from_before_there_were_chores_is_indexed_when_somebody_searches(person: Who, tickets: DatasetView) -> None:
    with transaction() as session:
        session.query(Chore).delete()
    assert grid.find(person, tickets.version.reference, "card", "train").indexing == 0
    assert do("search").state == "done"
    assert grid.find(person, tickets.version.reference, "card", "train").total == len(having(tickets, "train", "card"))


@pytest.mark.parametrize("kind", ["search", "near_duplicates"])
def test_a_chore_that_was_cut_off_is_finished_by_somebody_else(person: Who, tickets: DatasetView, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "PORTION", 100)
    rows = chores.Work.rows

    def killed(self: chores.Work, *place: Any) -> Iterator[Any]:
        for number, portion in enumerate(rows(self, *place)):
            if number == 3:
                raise KeyboardInterrupt
            yield portion

    monkeypatch.setattr(chores.Work, "rows", killed)
    with pytest.raises(KeyboardInterrupt):
        do(kind)
    monkeypatch.setattr(chores.Work, "rows", rows)
    with reading() as session:
        assert chores_.waiting(session, [kind]) is None, "its lease is not over"
    with transaction() as session:
        session.query(Chore).filter_by(kind=kind).update({"lease_until": 1})
    assert do(kind).state == "done" and grid.background(person, tickets.version.reference)[kind].attempt == 2
    if kind == "search":
        found = grid.find(person, tickets.version.reference, "card", "train", limit=1000)
        assert [row.position for row in found.rows] == having(tickets, "train", "card") and found.total == len(found.rows)


def test_a_chore_that_always_dies_is_given_up(person: Who, tickets: DatasetView) -> None:
    for _ in range(chores_.MAX_ATTEMPTS):
        with transaction() as session:
            session.query(Chore).filter_by(kind="search").update({"lease_until": 1})
            key = chores_.waiting(session, ["search"])
            assert key is not None and chores_.claim(session, key) is not None
    with transaction() as session:
        session.query(Chore).filter_by(kind="search").update({"lease_until": 1})
    chore = do("search")
    assert chore.state == "failed" and chore.error is not None and chore.error["code"] == "cut_off"


def test_a_search_whose_index_failed_says_why_and_is_built_again(person: Who, tickets: DatasetView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "PORTION", 100)
    rows, reference = chores.Work.rows, tickets.version.reference

    def killed(self: chores.Work, *place: Any) -> Iterator[Any]:
        yield next(rows(self, *place))
        raise KeyboardInterrupt

    monkeypatch.setattr(chores.Work, "rows", killed)
    with pytest.raises(KeyboardInterrupt):
        do("search")
    monkeypatch.setattr(chores.Work, "rows", rows)
    with transaction() as session:
        session.query(Chore).filter_by(kind="search").update({"lease_until": 1, "attempt": chores_.MAX_ATTEMPTS})
    assert do("search").state == "failed"
    found = grid.find(person, reference, "parcel", "train")
    assert found.indexing is None and found.error is not None and found.error.code == "index_failed" and "cut off 5 times" in found.error.message
    assert len(shots.search(person, reference, "parcel")) > 3, "rows are offered as shots without it"
    assert chores.run_again(person, reference, "search").state == "waiting"
    assert grid.find(person, reference, "parcel", "train").indexing == 0
    assert do("search").state == "done" == chores.run_again(person, reference, "search").state, "one that is done is left alone"
    found = grid.find(person, reference, "card", "train", limit=1000)
    assert [row.position for row in found.rows] == having(tickets, "train", "card") and found.total == len(found.rows)
    with pytest.raises(NotFound):
        chores.run_again(person, reference, "dishes")


def test_near_duplicates_that_are_found_at_last_are_in_the_report_of_health(person: Who) -> None:
    wrong = [f"where is the parcel number {number} that I ordered last week,label {number % 2}\n" for number in range(5)]
    reference = find(person, uploads.import_now(person, sent(table(300) + "".join(wrong)))).version.reference

    def found() -> set[str]:
        return {one.code for one in health.report(person, reference).findings or ()}

    with transaction() as session:
        session.query(Chore).filter_by(kind="near_duplicates").update(
            {"state": "failed", "error": {"code": "cut_off", "message": "It was cut off.", "advice": ""}}
        )
    assert found() == set()
    chores.run_again(person, reference, "near_duplicates")
    assert do("near_duplicates").state == "done"
    assert found() == {"near_duplicates"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_index_whose_file_cannot_be_written_fails_at_once_and_is_made_anew(person: Who, tickets: DatasetView) -> None:
    path = index_file(tickets.version).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no database, whatever its name says" * 100)
    chore = do("search")
    assert chore.state == "failed" and chore.error is not None and "file is not a database" in chore.error["message"]
    chores.run_again(person, tickets.version.reference, "search")
    assert do("search").state == "done" and grid.find(person, tickets.version.reference, "parcel", "train").total == len(having(tickets, "train", "parcel"))


def test_near_duplicates_are_those_that_comparing_all_in_memory_finds(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 100)
    text = table(400) + "".join(f"where is the parcel number {number} that I ordered last week,label {number % 2}\n" for number in range(60))
    view = find(person, uploads.import_now(person, sent(text + "same text,label 1\n" * 3)))
    chore = do("near_duplicates")
    with reading() as session:
        found: dict[int, list[int]] = {}
        for row in session.scalars(select(NearDuplicate).order_by(NearDuplicate.position)):
            found.setdefault(row.group, []).append(row.position)
    wanted = near_duplicate_groups(texts(view))
    assert sorted(found.values()) == wanted and [463 - 3, 461, 462] in wanted
    assert chore.result["groups"] == len(wanted) and chore.result["rows"] == sum(map(len, wanted)) and chore.result["leaking"] > 0


def test_lengths_wait_for_the_engine_process(person: Who, tickets: DatasetView, broker: str) -> None:
    from tests.rows import add_model

    del broker
    add_model(person)
    from app.services import generate

    assert generate.FIRST_EVENT_SECONDS > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "FIRST_EVENT_SECONDS", 1)
        chore = do("lengths")
    assert chore.state == "running" and chore.attempt == 0, "somebody tries again once its lease is over"
