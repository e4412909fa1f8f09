"""A version is examined once, test rows stay behind their seal, and one click makes the next version without the finding."""

from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import reading, transaction
from app.domain import chore as chore_rows
from app.domain import finding as findings
from app.domain.access import Who
from app.domain.chore import Chore
from app.domain.finding import Finding
from app.domain.lineage import Drop
from app.errors import Conflict, NotFound
from app.services import chores, datasets, examination, health, versions
from app.services.versions import derive
from tests.queries import queries
from tests.rows import add_dataset
from tests.services.uploading import now
from tests.unhealthy import add, sick, text


def codes(person: Who) -> list[str]:
    return [finding.code for finding in health.report(person, "1").findings or ()]


def test_a_version_is_examined_once(person: Who) -> None:
    sick(person)
    report = health.report(person, "1")
    assert report.newest and [finding.code for finding in report.findings or ()] == [
        "leakage",
        "near_leakage",
        "untested_labels",
        "look_alike_labels",
        "duplicates",
        "near_duplicates",
        "missing_markers",
    ]
    with queries() as sent:
        assert health.report(person, "1").findings
    assert not [statement for statement in sent if statement.startswith(("INSERT", "UPDATE"))]
    health.examine_version(report.view.version.id)
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Finding)) == 7, "a second examination changes nothing"


def test_healthy_data_has_no_findings(person: Who) -> None:
    add(person, [(text(number), "ab"[number % 2], ("train", "train", "validation", "test")[number // 2 % 4]) for number in range(60)])
    assert codes(person) == []


def test_a_remedy_makes_the_next_version_as_it_was_foretold(person: Who) -> None:
    first = sick(person)
    finding = next(one for one in health.report(person, "1").findings or () if one.code == "leakage")
    assert (finding.remedy, finding.fixed, finding.after) == ("drop", 1, {"splits": {**first.splits, "train": first.splits["train"] - 1}, "labels": 4})
    second = now(health.mend(person, "1", "leakage")).version
    assert second.splits == (finding.after or {})["splits"] and (second.change or {})["reason"] == "leakage"
    assert "leakage" not in codes(person)
    with pytest.raises(Conflict, match="newer"):
        health.mend(person, "1@1", "look_alike_labels")
    third = now(health.mend(person, "1", "look_alike_labels")).version
    assert [label["key"] for label in third.labels] == ["N/A", "a", "b"]
    markers = next(one for one in health.report(person, "1").findings or () if one.code == "missing_markers")
    fourth = now(health.mend(person, "1", "missing_markers")).version
    assert fourth.splits == (markers.after or {})["splits"] and fourth.splits["unlabelled"] == 4 and len(fourth.labels) == (markers.after or {})["labels"] == 2
    health.mend(person, "1", "near_leakage")
    assert codes(person) == []


def test_the_rows_behind_a_finding_stand_together_and_test_rows_stay_sealed(person: Who) -> None:
    first = sick(person)
    found = health.rows(person, "1", "leakage")
    assert [(row.split, row.position) for row in found.rows] == [("train", 60)] and (found.total, found.hidden) == (1, 1)
    assert [row.split for row in health.first_rows(found.report)["leakage"][0]] == ["train"]
    assert datasets.find(person, "1").version.viewed == 0
    datasets.reveal(person, "1", "to compare them")
    found = health.rows(person, "1", "leakage")
    assert [(row.split, row.position) for row in found.rows] == [("test", 8), ("train", 60)] and found.hidden == 0
    assert datasets.find(person, "1").version.viewed == 1
    assert [row.split for row in health.first_rows(health.report(person, "1"))["leakage"][0]] == ["train"], "a card never shows test rows"
    with pytest.raises(NotFound):
        health.rows(person, "1", "one_class")
    with pytest.raises(NotFound):
        health.mend(person, f"{first.dataset_id}", "nonsense")


def test_rows_page(person: Who) -> None:
    add(person, [(text(number // 2), "ab"[number // 2 % 2], "train") for number in range(80)])
    found = [health.rows(person, "1", "duplicates", offset, 30) for offset in (0, 30, 60)]
    assert [len(one.rows) for one in found] == [30, 30, 20] and found[0].total == 80
    assert [row.position for row in found[1].rows] == list(range(30, 60))


def test_only_a_person_decides_about_some_findings(person: Who) -> None:
    add(person, [(text(number), "a", "train") for number in range(40)])
    assert codes(person) == ["one_class"]
    with pytest.raises(Conflict, match="Only a person"):
        health.mend(person, "1", "one_class")


def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every version is a long one, and says how far it is after a few rows."""
    monkeypatch.setattr(health, "AT_ONCE", 10)
    monkeypatch.setattr(examination, "TOLD", 10)
    monkeypatch.setattr(chores, "TOLD_SECONDS", 0.0)


def do() -> None:
    """The version's examination, as the importing child does it."""
    with reading() as session:
        key = chore_rows.waiting(session, ["health"])
    assert key is not None
    chores.run(key)


def test_a_long_version_is_examined_in_the_background_and_says_how_far_it_is(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    sick(person)
    long(monkeypatch)
    first = health.report(person, "1")
    assert first.findings is None and (first.share, first.error) == (0, None)
    shares = list[float]()
    tell = chores.Work.tell

    def told(work: chores.Work, done: int, **values: Any) -> None:
        tell(work, done, **values)
        shares.append(health.report(person, "1").share)

    monkeypatch.setattr(chores.Work, "tell", told)
    do()
    assert shares == sorted(shares) and shares[0] < chores.NEAR < shares[-2] <= shares[-1] <= 1 and len(set(shares)) > 6
    assert "leakage" in codes(person)


def test_an_examination_whose_process_dies_again_and_again_says_so_and_is_done_when_it_is_asked_for(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    sick(person)
    long(monkeypatch)
    health.report(person, "1")
    examine = examination.examine

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(examination, "examine", killed)
    for _ in range(chore_rows.MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            do()
        assert health.report(person, "1").error is None
        with transaction() as session:
            session.query(Chore).update({"lease_until": 1})
    do()
    report = health.report(person, "1")
    assert report.findings is None and report.error is not None and "cut off 5 times" in report.error["message"]
    monkeypatch.setattr(examination, "examine", examine)
    assert chores.run_again(person, "1", "health").state == "waiting" and health.report(person, "1").error is None
    do()
    assert "leakage" in codes(person)


def test_what_counts_no_more_is_examined_again(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    version = sick(person)
    long(monkeypatch)
    health.report(person, "1")
    do()
    assert "leakage" in codes(person)
    with transaction() as session:
        findings.forget(session, version.id)
    assert health.report(person, "1").findings is None
    do()
    assert "leakage" in codes(person)


def test_a_deleted_draft_takes_its_examination_along(person: Who) -> None:
    first = add_dataset(person)
    health.report(person, "1")
    derive(person, "1", Drop({next(versions.values(first))["id"]}))
    assert health.report(person, "1@1").newest is False and health.report(person, "1").newest


def test_a_finding_of_many_rows_is_kept_packed_and_is_one_like_any_other(person: Who) -> None:
    add(person, [(text(number % 60), "ab"[number % 60 % 2], "train") for number in range(1_260)])
    (found,) = [one for one in health.report(person, "1").findings or () if one.code == "duplicates"]
    with reading() as session:
        kept = session.get_one(Finding, found.id)
        assert isinstance(kept.rows, dict) and kept.fix is not None and isinstance(kept.fix["rows"], dict)
    seen = health.rows(person, "1", "duplicates", offset=1_250)
    assert (seen.total, len(seen.rows), seen.hidden) == (1_260, 10, 0) and health.first_rows(seen.report)["duplicates"][1] == 1_260
    assert now(health.mend(person, "1", "duplicates")).version.rows == 60
