"""A version from a version: only what was asked for changes, it is on record, and a draft that failed leaves nothing."""

import time
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.db import reading, transaction
from app.domain.access import Who
from app.domain.cutting import content_key
from app.domain.dataset import DatasetVersion, Example
from app.domain.lineage import Change, Drop, Edit, Keep, Move, Relabel, Values
from app.domain.placing import Ties
from app.errors import Conflict, Invalid, NotFound
from app.services import datasets, placing, pulse, versions
from app.services.versions import New, derive
from tests.rows import add_dataset
from tests.unhealthy import add, text


def stored(version: DatasetVersion) -> dict[str, tuple[str, str | None, int, int]]:
    """Each row of a version by its input: split, output, position, and the version it came with."""
    return {row["input"]: (row["split"], row["output"], row["position"], row["added_in"]) for row in versions.values(version)}


def ids(version: DatasetVersion, split: str) -> list[int]:
    return [row["id"] for row in versions.values(version) if row["split"] == split]


def test_a_drop_makes_a_new_version_and_leaves_the_old_one(person: Who) -> None:
    first = add_dataset(person)
    before = stored(first)
    gone = set(ids(first, "train")[:3])
    view = derive(person, "1", Drop(gone), "duplicates")
    assert (view.version.number, view.version.parent_id, view.version.author_id) == (2, first.id, person.user_id)
    assert view.version.change == {
        "kind": "drop", "reason": "duplicates", "rows": 3, "changed": 3, "added": 0,
        "before": {"train": 20, "validation": 10, "test": 30}, "after": {"train": 17, "validation": 10, "test": 30},
    }  # fmt: skip
    assert stored(datasets.find(person, "1@1").version) == before and datasets.find(person, "1@1").version.content_hash == first.content_hash
    after = stored(view.version)
    assert {text: before[text] for text in after} == after and len(after) == 57
    assert view.version.content_hash != first.content_hash and datasets.find(person, "1").version.number == 2


def test_labels_are_merged_and_the_book_follows(person: Who) -> None:
    first = add_dataset(person)
    with transaction() as session:
        book = [{**entry, "description": f"about {entry['key']}"} for entry in first.labels]
        session.execute(update(DatasetVersion).where(DatasetVersion.id == first.id).values(labels=[*book]))
    view = derive(person, "1", Relabel({"delivery": "parcel"}))
    assert [(entry["key"], entry["display"], entry["description"], entry["count"]) for entry in view.version.labels] == [
        ("billing", "billing", "about billing", 30),
        ("parcel", "parcel", "about delivery", 30),
    ]
    merged = derive(person, "1", Relabel({"parcel": "billing"})).version
    assert [(entry["key"], entry["description"], entry["count"]) for entry in merged.labels] == [("billing", "about billing", 60)]


def test_rows_move_and_outputs_are_edited(person: Who) -> None:
    first = add_dataset(person)
    moved = ids(first, "validation")[0]
    second = derive(person, "1", Move({moved}, "train")).version
    assert second.splits == {"train": 21, "validation": 9, "test": 30}
    wrong = ids(second, "train")[0]
    third = derive(person, "1", Edit({wrong: "delivery"})).version
    assert [label["count"] for label in third.labels] == [29, 31] and third.splits == second.splits


def test_a_first_label_finds_a_split_and_a_lost_one_leaves_it(person: Who) -> None:
    add_dataset(person)
    fresh = [New(f"an unlabelled text number {number} of its own kind", None) for number in range(40)]
    second = derive(person, "1", Keep("append"), added=[fresh]).version
    assert second.splits["unlabelled"] == 40
    unlabelled = ids(second, "unlabelled")
    assisted = set(unlabelled[20:])
    third = derive(person, "1", Edit(dict.fromkeys(unlabelled, "billing"), assisted)).version
    rows = stored(third)
    assert "unlabelled" not in third.splits and all(rows[one.input][0] == "train" for one in fresh[20:])
    assert {rows[one.input][0] for one in fresh[:20]} > {"train", "test"}
    tested = next(one for one in fresh[:20] if rows[one.input][0] == "test")
    key = next(row["id"] for row in versions.values(third) if row["input"] == tested.input)
    datasets.reveal(person, "1", "its label looks wrong")
    fourth = derive(person, "1", Edit({key: None})).version
    assert stored(fourth)[tested.input][:2] == ("unlabelled", None)
    key = next(row["id"] for row in versions.values(fourth) if row["input"] == tested.input)
    fifth = derive(person, "1", Edit({key: "billing"}, {key})).version
    assert stored(fifth)[tested.input][0] == "test", "it was a test row, so it never trains"


def test_appended_rows_never_move_old_ones_and_come_back_to_their_split(person: Who) -> None:
    first = add_dataset(person, train=70, validation=10, test=20)
    before = stored(first)
    came = [New(f"a new message {number} about {'a refund' if number % 2 else 'an address'}", "billing" if number % 2 else "delivery") for number in range(200)]
    came.append(New("TEST message 3 about my  parcel", "billing", "train"))
    came.append(New("test message 4 about my bill!", "billing"))
    second = derive(person, "1", Keep("append"), "the next week", [came[:50], came[50:]]).version
    after = stored(second)
    assert {text: after[text] for text in before} == before
    assert after["TEST message 3 about my  parcel"][0] == "test", "the same content, whatever the file says"
    assert second.splits["test"] > 20 and {row[3] for row in after.values()} == {1, 2}
    assert len({row[2] for row in after.values()}) == len(after), "positions are never used twice"
    gone = next(row for row in versions.values(second) if row["split"] == "test" and row["added_in"] == 2)
    derive(person, "1", Drop({gone["id"]}))
    back = derive(person, "1", Keep("append"), added=[[New(gone["input"], gone["output"], "train")]]).version
    assert stored(back)[gone["input"]][0] == "test"


def test_a_row_that_resembles_a_test_row_joins_it(person: Who) -> None:
    long = "the very long complaint about a parcel that never came to my door in the winter of last year, part {}"
    add_dataset(person)
    first = derive(person, "1", Keep("append"), added=[[New(long.format(1), "delivery", "test")]]).version
    assert stored(first)[long.format(1)][0] == "test"
    second = derive(person, "1", Keep("append"), added=[[New(long.format(2), "delivery"), New(long.format(3), "delivery")]]).version
    assert [stored(second)[long.format(number)][0] for number in (2, 3)] == ["test", "test"]


@pytest.mark.parametrize("change", [Drop({10**9}), Relabel({"nobody": "x"}), Edit({10**9: "x"}), Move(set(), "train")])
def test_a_change_of_nothing_is_refused_and_leaves_nothing(person: Who, change: Change) -> None:
    add_dataset(person)
    with pytest.raises(Invalid, match="No row would change"):
        derive(person, "1", change)
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(DatasetVersion)) == 1
        assert session.scalar(select(func.count()).select_from(Example)) == 60


def test_what_cannot_be_sealed_leaves_nothing(person: Who) -> None:
    first = add_dataset(person)
    with pytest.raises(Invalid, match="No row would be left"):
        derive(person, "1", Drop({row["id"] for row in versions.values(first)}))
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(DatasetVersion)) == 1


def test_only_the_newest_version_is_changed(person: Who) -> None:
    first = add_dataset(person)
    one, two = ids(first, "train")[:2]
    derive(person, "1", Drop({one}))
    with pytest.raises(Conflict, match="Version 2 is newer than version 1"):
        derive(person, "1@1", Drop({two}))


def test_the_slower_of_two_changes_is_refused(person: Who) -> None:
    first = add_dataset(person)
    one, two = ids(first, "train")[:2]

    class Slow(Drop):
        def told(self) -> dict[str, object]:
            return {}

        def on(self, row: Values) -> Values | None:
            if row["id"] == two:
                derive(person, "1@1", Drop({one}))
            return super().on(row)

    with pytest.raises(Conflict, match="Version 3 is newer"):
        derive(person, "1@1", Slow({two}))
    assert [view.version.number for view in [datasets.find(person, "1")]] == [3]


def test_a_draft_is_invisible_and_swept_once_its_process_is_silent(person: Who) -> None:
    first = add_dataset(person)

    class Killed(Keep):
        def on(self, row: Values) -> Values | None:
            raise SystemExit

    original = versions.purge_draft
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "purge_draft", lambda key: None)  # the process is gone before it could tidy up
        with pytest.raises(SystemExit):
            derive(person, "1", Killed())
    assert versions.purge_draft is original
    with pytest.raises(NotFound):
        datasets.find(person, "1@2")
    assert datasets.find(person, "1").version.id == first.id
    assert versions.sweep() == 0, "it may still be alive"
    assert versions.sweep(-1000) == 1
    with reading() as session:
        assert list(session.scalars(select(DatasetVersion.id))) == [first.id]


def test_a_foreign_dataset_does_not_exist(person: Who) -> None:
    add_dataset(person)
    with pytest.raises(NotFound):
        derive(Who(None, person.workspace_id + 1, "Eve", "admin"), "1", Keep())


def test_content_is_known_whatever_its_case_and_white_space() -> None:
    assert content_key(" Hello\tWorld ") == content_key("hello world") != content_key("hello worlds")
    assert content_key("caf\u00e9") == content_key("cafe\u0301") and 0 <= content_key("\ud800") < 2**63


def test_near_duplicates_of_older_rows_go_to_their_split_and_new_ones_stay_together(person: Who) -> None:
    older = [(text(number), "ab"[number % 2], ("train", "validation", "test")[number % 3]) for number in range(90)]
    add(person, older)
    near = [New(f"{words}!", label) for words, label, _ in older]
    fresh = [New(text(1_000 + number // 3) + "." * (number % 3), "a") for number in range(60)]
    view = derive(person, "1", Keep("append"), added=[near, fresh])
    came = [row for row in versions.values(view.version) if row["added_in"] == 2]
    assert [row["split"] for row in came[:90]] == [split for _, _, split in older]
    assert all(len({row["split"] for row in came[at : at + 3]}) == 1 for at in range(90, 150, 3)) and len({row["split"] for row in came[90:]}) > 1


def test_a_draft_whose_maker_thinks_for_long_gives_signs_of_life(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    add_dataset(person)
    monkeypatch.setattr(pulse, "PULSE_SECONDS", 0.05)
    seen: list[int] = []

    look = placing._resembling

    def thinking(draft: DatasetVersion, *given: Any) -> Ties:
        for _look in range(100):
            with reading() as session:
                seen.append(session.scalars(select(DatasetVersion.alive_at).where(DatasetVersion.id == draft.id)).one())
            if len(set(seen)) > 2:
                break
            time.sleep(0.05)
        return look(draft, *given)

    monkeypatch.setattr(placing, "_resembling", thinking)
    derive(person, "1", Keep("append"), added=[[New("something new", "billing")]])
    assert len(set(seen)) > 2
