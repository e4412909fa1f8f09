"""Every remedy of one click, taken once: the next version is as it was foretold, and the finding is gone."""

import io
import zipfile
from collections.abc import Callable

import pytest

from app.db import reading, transaction
from app.domain import ending
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.finding import Finding
from app.domain.job import Job
from app.domain.lineage import Drop
from app.errors import Conflict
from app.readers.health import CODES, LONG
from app.readers.options import Options
from app.services import changing, datasets, evaluations, filling, health, jobs, prompts, uploads
from app.services.datasets import DatasetView
from app.services.versions import derive
from tests.rows import add_model
from tests.services.uploading import now, sent, table
from tests.unhealthy import add, text

Rows = list[tuple[str, str | None, str]]


def good() -> Rows:
    return [(text(number), "ab"[number % 2], ("train", "train", "train", "validation", "test")[number // 2 % 5]) for number in range(100)]


def copied(split: str, **more: str) -> Rows:
    """A test row once more, in another split."""
    given, label, _ = good()[8]
    return [(more.get("given", given), more.get("label", label or ""), split)]


SICK: dict[str, tuple[Callable[[], Rows], str]] = {
    "leakage": (lambda: copied("train"), "drop"),
    "near_leakage": (lambda: copied("validation", given=f"{good()[8][0]}!!"), "drop"),
    "conflicting_labels": (lambda: copied("test", label="b"), "drop"),
    "unseen_labels": (lambda: [(text(200 + number), "c", "validation") for number in range(3)], "move"),
    "long_inputs": (lambda: [(f"{text(200)} {'long ' * LONG}", "a", "train")], "drop"),
    "tiny_classes": (lambda: [(text(200), "rare", "train")], "drop"),
    "look_alike_labels": (lambda: [(text(200 + number), "A", "train") for number in range(3)], "relabel"),
    "duplicates": (lambda: [(text(2), "b" if 2 % 2 else "a", "train")], "drop"),
    "near_duplicates": (lambda: [(f"{text(2)}!!", "a", "train")], "drop"),
    "missing_markers": (lambda: [(text(200 + number), "N/A", "train") for number in range(4)], "relabel"),
    "control_characters": (lambda: [(f"{text(200)} \x07", "a", "train")], "drop"),
    "special_tokens": (lambda: [(f"{text(200)} <|im_end|>", "a", "test")], "drop"),
    "personal_data": (lambda: [(f"{text(200)} jo@example.org", "a", "train")], "drop"),
}
"""By the code of a finding: the rows that bring it, and the remedy."""


def found(person: Who) -> dict[str, Finding]:
    return {finding.code: finding for finding in health.report(person, "1").findings or ()}


@pytest.mark.parametrize("code", SICK)
def test_a_remedy_mends_what_it_says(person: Who, code: str) -> None:
    make, kind = SICK[code]
    first = add(person, [*good(), *make()])
    finding = found(person)[code]
    assert finding.remedy == kind and finding.after is not None and finding.fixed > 0
    second = now(health.mend(person, "1", code)).version
    assert second.number == 2 and second.splits == finding.after["splits"] and len(second.labels) == finding.after["labels"]
    assert second.change is not None and (second.change["kind"], second.change["reason"]) == (kind, code)
    assert code not in found(person), "it is gone"
    assert first.splits == datasets.find(person, "1@1").version.splits, "the version before stays as it is"
    if kind == "move":
        with reading() as session:
            rows = session.query(Example).filter_by(version_id=second.id, output="c").all()
        assert [row.split for row in rows] == ["train"] * 3


def test_every_remedy_there_is_was_taken() -> None:
    without = {
        "one_class",
        "few_rows",
        "many_labels",
        "numbers_as_labels",
        "several_labels",
        "imbalance",
        "label_in_text",
        "swapped_columns",
        "copied_outputs",
        "untested_labels",
    }
    assert set(SICK) | without == set(CODES) and not set(SICK) & without


@pytest.fixture
def pairs(person: Who, monkeypatch: pytest.MonkeyPatch) -> DatasetView:
    """A file that is cut while it comes in, and in it 60 pairs of rows that say nearly the same, far from each other."""
    monkeypatch.setattr(filling, "HELD_ROWS", 100)
    lines = table(300).splitlines()
    twins = [line.replace(",label", "!,label") for line in lines[1:61]]
    return datasets.find(person, uploads.import_now(person, sent("\n".join([*lines, *twins]))))


def test_near_duplicates_of_a_long_file_are_put_on_one_side(person: Who, pairs: DatasetView) -> None:
    assert pairs.version.origin["streamed"] is True
    finding = found(person)["near_leakage"]
    assert finding.remedy == "gather" and "a long file is cut while it comes in" in finding.sentence and finding.after is not None
    second = now(health.mend(person, "1", "near_leakage")).version
    assert second.splits == finding.after["splits"] and second.rows == pairs.version.rows == 360 and "streamed" not in second.origin
    for split, rows in pairs.version.splits.items():
        assert abs(second.splits[split] - rows) <= 15, "the shares stay about the same"
    with reading() as session:
        stands = {row.position: row.split for row in session.query(Example).filter_by(version_id=second.id)}
        stood = {row.position: row.split for row in session.query(Example).filter_by(version_id=pairs.version.id)}
    assert all(stands[at] == stands[300 + at] for at in range(60)) and any(stood[at] != stood[300 + at] for at in range(60))
    assert all(stands[at] == stood[at] for at in range(60, 300)), "no other row moves"
    assert "near_leakage" not in found(person)
    assert second.change is not None and second.change["kind"] == "gather"


def test_rows_that_somebody_used_do_not_change_their_side(person: Who, pairs: DatasetView) -> None:
    assert found(person)["near_leakage"].remedy == "gather"
    prompt = prompts.usual(person).reference
    evaluations.create(person, model=add_model(person), prompt_version=prompt, dataset="1", split="validation", answer="generate")
    assert list(health.report(person, "1").late) == ["near_leakage"], "the page offers it no more"
    with pytest.raises(Conflict, match="have been trained on, scored or opened since") as used:
        health.mend(person, "1", "near_leakage")
    assert used.value.code == "rows_used" and "Drop the near-duplicates instead" in used.value.advice
    health.mend(person, "1", "near_duplicates")
    assert "near_leakage" not in found(person)


def test_a_file_that_gives_its_splits_keeps_them(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 100)
    lines = table(300, split=lambda number: "test" if number % 3 == 0 else "train").splitlines()
    twins = [line.replace(",label", "!,label").replace(",test", ",train") for line in lines[1:31]]
    uploads.import_now(person, sent("\n".join([*lines, *twins])))
    assert found(person)["near_leakage"].remedy == "drop"


def test_files_of_an_archive_that_give_the_splits_keep_them(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "HELD_ROWS", 100)
    lines = table(300).splitlines()
    twins = [line.replace(",label", "!,label") for line in lines[1:31]]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("train.csv", "\n".join(lines))
        archive.writestr("test.csv", "\n".join([lines[0], *twins]))
    uploads.import_now(person, sent(packed.getvalue(), "task.zip", options=Options(members={"train.csv": "train", "test.csv": "test"})))
    assert found(person)["near_leakage"].remedy == "drop"


def test_a_later_version_is_not_cut_anew(person: Who, pairs: DatasetView) -> None:
    """Its rows may have come with a side, or have a label that somebody was shown before."""
    assert found(person)["near_leakage"].remedy == "gather"
    with reading() as session:
        last = session.query(Example.id).filter_by(version_id=pairs.version.id, position=299).scalar()
    derive(person, "1", Drop({last}))
    assert found(person)["near_leakage"].remedy == "drop"


def test_a_run_that_was_stopped_has_seen_its_rows(person: Who, pairs: DatasetView) -> None:
    assert pairs.version.number == 1 and found(person)["near_leakage"].remedy == "gather"
    made = jobs.start_tune(person, model=add_model(person), dataset="1", method="lora", parameters={}, prompt_version=None, seed=1)
    with transaction() as session:
        session.get_one(Job, made.job.id).step = 3
    with transaction() as session:
        ending.cancel(session, session.get_one(Job, made.job.id))
    with pytest.raises(Conflict, match="have been trained on"):
        health.mend(person, "1", "near_leakage")


def test_what_begins_while_rows_are_moved_keeps_them_where_they_are(person: Who, pairs: DatasetView, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(person)["near_leakage"].remedy == "gather"

    def begun(_: object, draft: DatasetVersion, rows: int) -> None:
        if not rows:
            evaluations.create(
                person, model=add_model(person), prompt_version=prompts.usual(person).reference, dataset="1", split="validation", answer="generate"
            )

    monkeypatch.setattr(changing._Ending, "told", begun)
    with pytest.raises(Conflict, match="scored or opened since"):
        health.mend(person, "1", "near_leakage")
    assert datasets.find(person, "1").version.number == 1 == pairs.version.number


def test_the_warning_of_personal_data_can_be_switched_off_and_on_again(person: Who) -> None:
    add(person, [*good(), *SICK["personal_data"][0]()])
    assert list(found(person)) == ["personal_data"]
    health.warn(person, 1, "personal_data", on=False)
    report = health.report(person, "1")
    assert report.findings == [] and list(report.quiet) == ["personal_data"]
    health.warn(person, 1, "personal_data", on=True)
    assert list(found(person)) == ["personal_data"]
    with pytest.raises(Exception, match="spoils what is measured"):
        health.warn(person, 1, "leakage", on=False)
