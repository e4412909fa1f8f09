"""Predictions row by row: filtered, the worst first, two evaluations side by side; sealed until the split is open."""

from typing import Any

import pytest

from app.db import transaction
from app.domain import dataset as datasets
from app.domain import ending
from app.domain import evaluation as evaluations
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation, Prediction
from app.domain.scheme import Scheme, judge
from app.errors import Conflict, FettleError, Invalid, NotFound, Sealed
from app.services import evaluations as service
from app.services import predictions
from app.services.predictions import Filter
from tests.rows import add_dataset, add_model, claim


def evaluated(
    person: Who,
    dataset: str,
    answers: list[str],
    split: str = "validation",
    scheme: dict[str, Any] | None = None,
    model: int | None = None,
    missed: tuple[str, ...] = (),
    **told: Any,
) -> int:
    """A finished evaluation with these answers in the order of the rows; the first ones are the surest. Rows of `missed` labels were not offered theirs."""
    with transaction() as session:
        prompt = prompts.default(session, person).reference
    view = service.create(person, model=model or add_model(person), prompt_version=prompt, dataset=dataset, split=split, answer="generate", scheme=scheme)
    with transaction() as session:
        job = claim(session)
        evaluation = session.get_one(Evaluation, view.evaluation.id)
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        labels, chosen = version.label_texts(), Scheme.model_validate(scheme or {})
        kept = []
        for at, (row, answer) in enumerate(zip(datasets.cases(session, version, split), answers, strict=False)):
            found = judge(chosen, chosen.shape_of(bool(labels), ["x"]), row.answer, answer, source=row.input)
            margin = (1 if found.correct else -1) * (1 - at / 100)
            offered = {"offered": row.answer not in missed}
            more = {"confidence": 0.99 - at / 100, "margin": margin, "off_list": answer not in labels, "cut_off": answer == "", "written": f"{answer}!"}
            base = {"example_id": row.id, "gold": row.answer, "answer": answer, "correct": found.correct, "judged": found.as_json(), "likelihoods": None}
            kept.append({**base, **more, **offered, "latency_ms": 5.0, "input_tokens": 9, "output_tokens": 1})
        evaluations.store(session, evaluation.id, kept)
        rows = evaluations.predictions(session, evaluation.id)
        evaluations.settle(session, evaluation, evaluations.scored(evaluation, rows, labels, [5.0], {"device": "cpu"}, **told))
        ending.succeed(session, job.id, job.lease_token or "", {"evaluation": evaluation.id})
        return evaluation.id


def add(person: Who) -> str:
    return add_dataset(person).reference


FIRST = ["billing", "billing", "delivery", "", "billing", "delivery", "billing", "nonsense", "delivery", "delivery"]
"""The rows of validation are billing, delivery, billing and so on."""


def test_the_worst_rows_come_first_and_each_kind_can_be_asked_for(person: Who) -> None:
    key = evaluated(person, add(person), FIRST)
    found = predictions.find(person, key)
    assert found.counts == {"all": 10, "right": 5, "wrong": 5, "off_list": 2, "cut_off": 1, "not_offered": 0, "fitted": 0, "refused": 0, "unread": 0}
    margins = [row.prediction.margin for row in found.rows]
    assert margins == sorted(margins, key=lambda one: one or 0.0) and not found.rows[0].prediction.correct
    for only, number in found.counts.items():
        some = predictions.find(person, key, Filter(only))  # type: ignore[arg-type]
        assert len(some.rows) == some.found == number
    page = predictions.find(person, key, offset=8, limit=5)
    assert (len(page.rows), page.found) == (2, 10)


def test_rows_without_an_answer_come_first_and_can_be_asked_for(person: Who) -> None:
    key = evaluated(person, add(person), FIRST)
    wrong = predictions.find(person, key, Filter("wrong")).rows[-2:]
    with transaction() as session:
        for row, why in zip(wrong, ("prompt_too_long", "constraint_failed"), strict=True):
            one = session.get_one(Prediction, (key, row.example.id))
            one.margin, one.confidence, one.answer, one.judged = None, None, "", {"refused": why}
    found = predictions.find(person, key)
    assert {row.example.id for row in found.rows[:2]} == {row.example.id for row in wrong} and found.rows[-1].prediction.correct
    assert (found.counts["refused"], found.counts["unread"]) == (1, 1)
    assert [predictions.find(person, key, Filter(only)).rows[0].example.id for only in ("refused", "unread")] == [row.example.id for row in wrong]


def test_of_rows_without_a_margin_the_wrong_ones_come_before_all_and_the_right_ones_after(person: Who) -> None:
    key = evaluated(person, add(person), FIRST)
    for some in (6, 10):  # six without a margin and four with one, then all without one
        with transaction() as session:
            for one in evaluations.predictions(session, key)[:some]:
                session.get_one(Prediction, (key, one.example_id)).margin = None
        rows = [row.prediction for row in predictions.find(person, key).rows]
        places = [0 if row.margin is None and not row.correct else 2 if row.margin is None else 1 for row in rows]
        assert places == sorted(places) and set(places) == ({0, 1, 2} if some == 6 else {0, 2})
        margins = [row.margin for row in rows if row.margin is not None]
        assert margins == sorted(margins)


def test_wrong_in_one_and_right_in_the_other(person: Who) -> None:
    dataset = add(person)
    model = add_model(person)
    first, second = evaluated(person, dataset, FIRST, model=model), evaluated(person, dataset, ["billing", "delivery"] * 5, model=model)
    found = predictions.find(person, first, Filter("wrong", second, "right"))
    assert found.found == 5 and all(row.other and row.other.correct and not row.prediction.correct for row in found.rows)
    assert predictions.find(person, first, Filter("right", second, "wrong")).found == 0
    assert [one.id for one, _ in service.comparable(person, service.find(person, first).evaluation)] == [second]
    elsewhere = evaluated(person, dataset, FIRST, split="train", model=model)
    with pytest.raises(Invalid, match="other rows"):
        predictions.find(person, first, Filter(other=elsewhere))


def test_test_rows_are_shown_when_they_are_open_and_each_look_counts(person: Who) -> None:
    dataset = add(person)
    key = evaluated(person, dataset, FIRST, split="test")
    with transaction() as session:
        example = next(iter(evaluations.done(session, key)))
    for look in (lambda: predictions.find(person, key), lambda: predictions.whole(person, key, example)):
        with pytest.raises(Sealed):
            look()
    with transaction() as session:
        datasets.reveal(session, person, datasets.find(session, person, dataset), "to look")
    assert predictions.find(person, key).found == 10
    assert predictions.whole(person, key, example).prediction.example_id == example
    with transaction() as session:
        assert datasets.find(session, person, dataset).viewed == 2


def test_a_row_comes_with_the_prompt_that_was_read(person: Who) -> None:
    key = evaluated(person, add(person), FIRST)
    row = predictions.find(person, key).rows[0]
    found = predictions.whole(person, key, row.example.id)
    assert found.prompt == f"Input: {row.example.input}\nOutput:" and found.prediction.written == f"{row.prediction.answer}!"
    with pytest.raises(NotFound):
        predictions.whole(person, key, 10_000)


def lose(key: int, example: int, lost: dict[str, Any]) -> None:
    """As if the row had not fitted the model, and this had been left out of it."""
    with transaction() as session:
        session.get_one(Prediction, (key, example)).lost = lost


def test_a_row_that_was_made_to_fit_is_shown_as_the_model_read_it_and_can_be_asked_for(person: Who) -> None:
    key = evaluated(person, add(person), FIRST)
    row = predictions.find(person, key).rows[0]
    lose(key, row.example.id, {"variable": "input", "kept": 5, "of": len(row.example.input), "policy": "cut_head"})
    assert predictions.whole(person, key, row.example.id).prompt == f"Input: {row.example.input[-5:]}\nOutput:"
    found = predictions.find(person, key, Filter("fitted"))
    assert found.found == found.counts["fitted"] == 1 and found.rows[0].example.id == row.example.id


def test_two_evaluations_are_paired_over_any_figure(person: Who) -> None:
    dataset = add(person)
    model = add_model(person)
    scheme = {"checks": [{"kind": "length", "most": 7, "unit": "characters", "name": "short"}]}
    first = evaluated(person, dataset, FIRST, scheme=scheme, model=model)
    second = evaluated(person, dataset, ["billing", "delivery"] * 5, scheme=scheme, model=model)
    assert service.against(person, first, second).difference.difference == pytest.approx(-0.5)
    short = service.against(person, first, second, "short").difference
    assert short.difference == pytest.approx((sum(len(one) <= 7 for one in FIRST) - 5) / 10)
    with pytest.raises(Conflict, match="beauty") as caught:
        service.against(person, first, second, "beauty")
    assert "short" in caught.value.advice


@pytest.mark.parametrize(
    ("scheme", "answer", "code"),
    [
        ({"scoring": "calibrated"}, "generate", "not_weighed"),
        ({"extractor": "exact"}, "likelihood", "nothing_written"),
        ({"extractor": "regex", "pattern": "("}, "generate", "bad_scheme"),
        ({"extractor": "regex"}, "generate", "bad_scheme"),
        ({"checks": [{"kind": "length"}]}, "generate", "bad_scheme"),
        ({"tolerance": -1}, "generate", "bad_scheme"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_scheme_that_does_not_fit_is_refused(person: Who, scheme: dict[str, Any], answer: str, code: str) -> None:
    dataset, model = add(person), add_model(person)
    with transaction() as session:
        prompt = prompts.default(session, person).reference
    with pytest.raises(FettleError) as caught:
        service.create(person, model=model, prompt_version=prompt, dataset=dataset, answer=answer, scheme=scheme)
    assert caught.value.code == code
