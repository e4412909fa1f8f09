"""Judgements as a person asks for them: planned, refused with a reason, listed, read row by row behind the seal, deleted."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.db import transaction
from app.domain import dataset as datasets
from app.domain import ending
from app.domain import job as jobs
from app.domain import judgement as rules
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation
from app.errors import Conflict, FettleError, Invalid, NotFound, Sealed
from app.services import discarding, judgements, removal
from app.services.judgements import JudgementView
from tests.rows import add_dataset, add_model, claim
from tests.services.test_predictions import FIRST, evaluated

SECOND = ["billing", "delivery"] * 5


def two(person: Who, split: str = "validation") -> tuple[int, int, int]:
    """Two evaluations on the same rows, and a model that could judge them."""
    dataset, model = add_dataset(person).reference, add_model(person)
    return evaluated(person, dataset, FIRST, split, model=model), evaluated(person, dataset, SECOND, split, model=model), add_model(person, "Judge", "judge")


RUBRIC = {"text": "Kind words.", "scale": {"low": 1, "high": 5}}
GRADES = ["5", "4", "4", "3", "5", "1", "2", "", "4", "3"]


def graded(person: Who, evaluation: int, model: int, grades: list[str] = GRADES, brief: dict[str, Any] = RUBRIC) -> JudgementView:
    """A finished judgement by rubric with these grades in the order of the rows."""
    return judged(person, evaluation, None, model, [(grade,) for grade in grades], kind="rubric", brief=brief)


def judged(person: Who, evaluation: int, other: int | None, model: int, words: Sequence[tuple[str, ...]], **more: Any) -> JudgementView:
    """A finished judgement with these rulings (A first, B first) in the order of the rows."""
    view = judgements.create(person, evaluation=evaluation, other=other, model=model, **more)
    with transaction() as session:
        job = claim(session)
        judgement = session.get_one(rules.Judgement, view.judgement.id)
        some = rules.rows(session, judgement)
        kept = [
            {"example_id": row.id, "order": order, "value": value, "written": value, "likelihoods": None, "input_tokens": 10, "output_tokens": 1}
            for row, values in zip(some, words, strict=False)
            for order, value in zip(("ab", "ba") if other else ("",), values, strict=True)
        ]
        rules.store(session, judgement.id, kept)
        rules.settle(session, judgement, {"device": "cpu"})
        ending.succeed(session, job.id, job.lease_token or "", {"judgement": judgement.id})
    return judgements.find(person, view.judgement.id)


WORDS = [("a", "a")] * 4 + [("b", "b")] + [("a", "b")] * 2 + [("tie", "tie")] + [("", "a")] * 2


def test_what_a_judgement_takes_is_known_before(person: Who) -> None:
    first, second, judge = two(person)
    found = judgements.plan(person, evaluation=first, other=second, model=judge)
    differ = sum(f"{one}!" != f"{other}!" for one, other in zip(FIRST, SECOND, strict=True))
    assert (found.rows, found.readings, found.cost) == (10, 2 * differ, 0.0) and found.tokens > 50 * found.readings
    assert judgements.plan(person, evaluation=first, other=second, model=judge, limit=4).rows == 4


def test_a_judgement_is_queued_filled_and_read_row_by_row(person: Who) -> None:
    first, second, judge = two(person)
    view = judged(person, first, second, judge, WORDS)
    scores = view.judgement.scores
    assert scores is not None and (scores["n"], scores["wins"], scores["losses"], scores["ties"], scores["unread"]) == (8, 4, 1, 3, 2)
    assert scores["input_tokens"] == 200 and scores["output_tokens"] == 20 and scores["flips"]["count"] == 2 == scores["flips"]["first"]
    found = judgements.rows(person, view.judgement.id)
    assert found.counts == {"all": 10, "a": 4, "b": 1, "tie": 3, "flip": 2, "unread": 2} and len(found.rows) == 10
    for only, number in found.counts.items():
        assert judgements.rows(person, view.judgement.id, only).found == number
    assert [row.judging.flip for row in judgements.rows(person, view.judgement.id, "flip").rows] == [True, True]
    page = judgements.rows(person, view.judgement.id, offset=8, limit=5)
    assert len(page.rows) == 2 and judgements.whole(person, view.judgement.id, page.rows[0].example.id).rulings["ba"].value == "a"
    for key in (first, second):
        assert [one.judgement.id for one in judgements.of_evaluation(person, key)] == [view.judgement.id]


def test_what_cannot_be_judged_is_refused_with_the_reason(person: Who) -> None:
    first, second, judge = two(person)
    elsewhere = evaluated(person, add_dataset(person, "others").reference, FIRST, model=judge)

    def refused(kind: type[FettleError], sentence: str, **more: Any) -> None:
        with pytest.raises(kind, match=sentence):
            judgements.create(person, **{"evaluation": first, "other": second, "model": judge, **more})

    refused(Invalid, "other rows", other=elsewhere)
    refused(Invalid, "Two evaluations", other=first)
    refused(Invalid, "text:", brief={"text": "x" * 10_001})
    refused(Invalid, "tone:", brief={"tone": "kind"})
    refused(Invalid, "by likelihood", brief={"read": "first_line"})
    refused(NotFound, "model", model=99)
    refused(NotFound, "evaluation", other=99)
    with transaction() as session:
        session.get_one(Evaluation, second).scores = None
    refused(Conflict, "no scores")


def test_test_rows_stay_sealed_and_a_judgement_counts_as_a_look(person: Who) -> None:
    first, second, judge = two(person, "test")
    with transaction() as session:
        evaluation = session.get_one(Evaluation, first)
        version, before = evaluation.dataset_version_id, session.get_one(DatasetVersion, evaluation.dataset_version_id).scored
    view = judged(person, first, second, judge, WORDS)
    with transaction() as session:
        assert session.get_one(DatasetVersion, version).scored == before + 1
        example = min(one for one, _ in rules.done(session, view.judgement.id))
    for look in (lambda: judgements.rows(person, view.judgement.id), lambda: judgements.whole(person, view.judgement.id, example)):
        with pytest.raises(Sealed):
            look()
    with transaction() as session:
        datasets.reveal(session, person, session.get_one(DatasetVersion, version), "to look")
    assert judgements.rows(person, view.judgement.id).found == 10


def test_what_is_judged_is_not_deleted_under_its_judgement(person: Who) -> None:
    first, second, judge = two(person)
    view = judgements.create(person, evaluation=first, other=second, model=judge)
    for gone, key in ((discarding.evaluation, second), (discarding.model, judge)):
        with pytest.raises(Conflict, match=f"judgement {view.judgement.id}"):
            gone(person, key)
    with pytest.raises(Conflict, match="queued"):
        discarding.judgement(person, view.judgement.id)
    assert view.job is not None
    with transaction() as session:
        ending.cancel(session, session.get_one(jobs.Job, view.job.id))
    discarding.judgement(person, view.judgement.id)
    discarding.evaluation(person, second)
    with pytest.raises(NotFound):
        judgements.find(person, view.judgement.id)


def test_with_a_dataset_go_its_judgements_and_the_jobs_that_filled_them(person: Who) -> None:
    first, second, judge = two(person)
    keys = [judged(person, first, second, judge, WORDS).judgement.id, graded(person, first, judge).judgement.id]
    with transaction() as session:
        rules.mark(session, session.get_one(rules.Judgement, keys[1]), person.user_id or 0, min(one for one, _ in rules.done(session, keys[0])), "", "3")
        dataset = session.get_one(DatasetVersion, session.get_one(Evaluation, first).dataset_version_id).dataset_id
    removal.remove(person, dataset)
    with transaction() as session:
        assert [session.query(table).count() for table in (rules.Judgement, rules.Ruling, jobs.Job)] == [0, 0, 0]
