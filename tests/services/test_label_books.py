"""The label book through the services: proposed, rewritten into a version, and used wherever a model reads or writes."""

import io
import json
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import intake
from app.domain.access import Who, owned
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.label_book import Proposal
from app.domain.lineage import Edit, Keep, Relabel
from app.errors import Conflict, Invalid
from app.services import datasets as dataset_service
from app.services import lab, label_books, uploads
from app.services.evaluations import usable
from app.services.shots import drawn
from app.services.versions import New, derive
from tests.services.uploading import now, sent

NAMES = {"T-1": "billing", "T-2": "delivery", "T-3": "fault"}


def add_coded(person: Who, many: int = 3) -> DatasetVersion:
    """30 rows whose labels are codes; two columns say what they mean, one of them not always."""
    with transaction() as session:
        dataset = Dataset(**owned(person), name="coded")
        session.add(dataset)
        session.flush()
        version = datasets.draft(session, person, dataset, 0, {"mapping": {"input": "input", "output": "output"}})
        version.columns = ["input", "output", "kind", "shop"]
        for place in range(10 * many):
            key = f"T-{place % many + 1}"
            split = "test" if place >= 8 * many else "validation" if place >= 6 * many else "train"
            cells = {"kind": NAMES.get(key, f"kind {key}"), "shop": f"shop {place % 7}"}
            session.add(Example(version_id=version.id, position=place, line=place + 2, split=split, input=f"message {place}", output=key, cells=cells))
        session.flush()
        intake.seal(session, version)
        return version


def say(person: Who, *changes: dict[str, Any], **more: Any) -> DatasetVersion:
    return now(label_books.rewrite(person, "1", changes, **more)).version


def cases(version: DatasetVersion, split: str = "train") -> list[datasets.Case]:
    with reading() as session:
        return list(datasets.cases(session, version, split))


def test_display_texts_are_proposed_from_a_column_that_follows_from_the_label_and_not_taken(person: Who) -> None:
    add_coded(person)
    view = label_books.find(person, 1)
    assert view.proposals == [Proposal(key, name, "column kind") for key, name in NAMES.items()]
    assert view.book.texts() == list(NAMES)


def test_a_rewritten_book_is_a_version_with_the_same_rows_and_another_hash(person: Who) -> None:
    first = add_coded(person)
    second = say(person, {"key": "T-1", "display": "billing", "description": "money", "aliases": ["invoice"]}, reason="named it")
    assert second.number == 2 and second.splits == first.splits and second.content_hash != first.content_hash
    assert second.change == {
        "kind": "label_book", "reason": "named it", "written": ["T-1"], "entries": 1, "changed": 0, "added": 0, "before": first.splits, "after": first.splits,
    }  # fmt: skip
    assert dataset_service.find(person, "1@1").version.book.text_of("T-1") == "T-1"
    back = say(person, {"key": "T-1", "display": "T-1", "description": "", "aliases": []})
    assert back.content_hash == first.content_hash, "the same rows under the same book"


def test_what_models_read_and_write_is_the_display_text(person: Who) -> None:
    add_coded(person)
    version = say(person, {"key": "T-1", "display": "billing"}, {"key": "T-2", "display": "delivery"}, {"key": "none", "display": "other", "none": True})
    assert version.label_texts() == ["billing", "delivery", "T-3", "other"]
    assert {case.answer for case in cases(version)} == {"billing", "delivery", "T-3"}
    assert cases(version)[0].values["labels"] == "billing, delivery, T-3, other" and "labels" in version.variables
    shots = drawn(person, "1", 3, 0).shots
    assert {shot.output for shot in shots} == {"billing", "delivery", "T-3"}
    row = lab.row(person, "1", "train", 0)
    assert row.gold is not None and row.gold.text == "billing" and row.values["labels"].startswith("billing")
    assert lab.first_prompt(person, "1").fields["instruction"] == "Answer with one of: {labels}."


def test_a_column_called_labels_keeps_its_name(person: Who) -> None:
    version = add_coded(person)
    with transaction() as session:
        session.get_one(DatasetVersion, version.id).columns = ["input", "output", "labels"]
    found = dataset_service.find(person, 1).version
    assert found.variables == ["input", "labels"] and found.shown_labels() == {}


def test_rows_of_a_retired_label_are_neither_trained_on_nor_scored(person: Who) -> None:
    add_coded(person)
    version = say(person, {"key": "T-3", "retired": True}, {"key": "T-1", "display": "billing"})
    assert {case.answer for case in cases(version)} == {"billing", "T-2"} and len(cases(version, "test")) == 4
    assert version.splits["test"] == 6, "the rows are still there"
    last = say(person, {"key": "T-2", "retired": True})
    with pytest.raises(Invalid, match="no fixed set of labels"):
        usable(last, "test", "likelihood")


def test_the_book_goes_along_with_rows_renamed_merged_and_edited(person: Who) -> None:
    version = say_all(person)
    merged = derive(person, "1", Relabel({"T-3": "T-1"})).version
    assert [(label.key, label.display, label.count) for label in merged.book.labels] == [("T-1", "billing", 20), ("T-2", "delivery", 10)]
    row = cases(version)[0].id
    with reading() as session:
        position = session.get_one(Example, row).position
        there = session.query(Example).filter_by(version_id=merged.id, position=position).one().id
    edited = derive(person, "1", Edit({there: "new one"})).version
    assert edited.book.get("new one") is not None and edited.book.text_of("T-1") == "billing"


def test_a_label_takes_the_rows_of_the_one_above_it(person: Who) -> None:
    add_coded(person)
    say(person, {"key": "T-1", "parent": "T-2"}, {"key": "T-2", "parent": "T-3"})
    merged = derive(person, "1", Relabel({"T-2": "T-1"})).version
    assert merged.book.with_those_below() == {"T-1": 20, "T-3": 30}
    assert derive(person, "1", Relabel({"T-3": "T-1"})).version.book.with_those_below() == {"T-1": 30}


def test_rows_that_would_make_too_many_labels_are_refused_and_the_book_stays(person: Who) -> None:
    add_coded(person, 990)
    say(person, {"key": "T-1", "display": "billing"})

    def new(count: int) -> list[list[New]]:
        return [[New(f"a new text {number}", f"new {number}") for number in range(count)]]

    with pytest.raises(Invalid, match="990 labels; this would make them more than 1,000") as caught:
        derive(person, "1", Keep("append"), added=new(20))
    assert caught.value.code == "many_labels" and "Merge rare labels" in caught.value.advice
    there = dataset_service.find(person, 1).version
    assert there.number == 2 and there.book.text_of("T-1") == "billing"
    grown = derive(person, "1", Keep("append"), added=new(10)).version
    assert len(grown.book.labels) == 1000 and grown.book.text_of("T-1") == "billing"


def test_labels_without_rows_count_too(person: Who) -> None:
    add_coded(person)
    say(person, *({"key": f"spare {number}"} for number in range(997)))
    with pytest.raises(Invalid, match="1,000 labels; this would make them more"):
        derive(person, "1", Keep("append"), added=[[New("one more text", "one more")]])
    assert len(derive(person, "1", Keep("append"), added=[[New("one more text", "T-1")]]).version.book.labels) == 1000


def say_all(person: Who) -> DatasetVersion:
    add_coded(person)
    return say(person, *({"key": key, "display": name} for key, name in NAMES.items()))


def test_labels_may_be_added_and_taken_away_while_no_row_has_them(person: Who) -> None:
    add_coded(person)
    assert say(person, {"key": "spare"}).book.get("spare") is not None
    assert say(person, removed=["spare"]).book.get("spare") is None
    with pytest.raises(Invalid, match="10 rows have it"):
        say(person, removed=["T-1"])


def test_a_book_that_says_nothing_new_an_old_version_and_free_text_are_refused(person: Who) -> None:
    add_coded(person)
    with pytest.raises(Invalid, match="already says that"):
        say(person, {"key": "T-1", "display": " T-1 "})
    say(person, {"key": "T-1", "display": "billing"})
    with pytest.raises(Conflict):
        label_books.rewrite(person, "1@1", [{"key": "T-2", "display": "delivery"}])
    with pytest.raises(Invalid) as caught:
        say(person, {"key": "T-2", "display": "billing"})
    assert caught.value.detail == {"label": "T-2", "field": "display"}
    assert dataset_service.find(person, 1).version.number == 2, "nothing is left behind"


def test_a_thousand_labels_are_searched_and_rewritten(person: Who) -> None:
    add_coded(person, 1000)
    view = label_books.find(person, 1)
    assert len(view.book.labels) == len(view.proposals) == 1000
    version = say(person, *({"key": one.key, "display": one.display} for one in view.proposals))
    assert [label.key for label in label_books.search(version.book, "KIND t-77")] == ["T-77", *(f"T-77{n}" for n in range(10))]
    assert version.change is not None and version.change["entries"] == 1000 and len(version.change["written"]) == 50


def hugging_face(told: bytes) -> bytes:
    """A Parquet file of numbers, with a description beside its schema."""
    numbers = pa.array([number % 3 for number in range(60)], pa.int64())
    held = io.BytesIO()
    pq.write_table(pa.table({"text": [f"message {number}" for number in range(60)], "label": numbers}).replace_schema_metadata({b"huggingface": told}), held)
    return held.getvalue()


def test_names_that_a_parquet_file_says_are_proposed_for_its_numbers(person: Who) -> None:
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": ["World", "Sports", "Business"], "_type": "ClassLabel"}}
    told = json.dumps({"info": {"features": features}}).encode()
    key = uploads.import_now(person, sent(hugging_face(told), "news.parquet"))
    found = label_books.find(person, key)
    assert [(label.key, label.display) for label in found.book.labels] == [("0", "0"), ("1", "1"), ("2", "2")], "nothing is guessed in silence"
    assert [(one.key, one.display, one.source) for one in found.proposals] == [
        (str(n), name, "names in the file") for n, name in enumerate(["World", "Sports", "Business"])
    ]
    later = now(label_books.rewrite(person, key, [{"key": "0", "display": "World"}]))
    assert [one.key for one in label_books.find(person, later.version.reference).proposals] == ["1", "2"]


@pytest.mark.parametrize(
    "told",
    [
        b"no JSON",
        b"[]",
        b'{"info": {"features": {"label": {"names": ["a", 1, "c"], "_type": "ClassLabel"}}}}',
        b'{"info": {"features": {"label": {"dtype": "int64", "_type": "Value"}}}}',
        b'{"info": {"features": {"topic": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}}}',
        b'{"info": null}',
    ],
)
def test_a_description_that_names_no_labels_is_no_obstacle(person: Who, told: bytes) -> None:
    key = uploads.import_now(person, sent(hugging_face(told), "news.parquet"))
    assert label_books.find(person, key).proposals == []
