"""Reliability checks as a person asks for them: planned, refused with a reason, filled, read row by row behind the seal, deleted."""

from typing import Any

import pytest
from sqlalchemy import update

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import ending
from app.domain import evaluation as evaluations
from app.domain import reliability as checks
from app.domain.access import Who
from app.domain.climbing import is_look
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation, Prediction
from app.domain.job import Job
from app.domain.prompt import PromptVersion
from app.domain.prompt_form import Form
from app.domain.reliability import Reliability
from app.domain.rendering import render
from app.errors import Conflict, FettleError, Invalid, NotFound, Sealed
from app.services import discarding, jobs, predictions, prompt_removal, reliability, removal
from app.services import evaluations as service
from app.services.reliability import ReliabilityView
from app.settings import settings
from tests.queries import queries
from tests.rows import add_dataset, add_model, claim
from tests.services.test_judgements import graded
from tests.services.test_predictions import FIRST, evaluated

OTHER = ["billing", "delivery", "delivery", "", "billing", "delivery", "billing", "nonsense", "delivery", "delivery"]
"""As FIRST but for the second row."""


def base(person: Who, split: str = "validation", temperature: float = 0.0) -> int:
    dataset = add_dataset(person).reference
    key = evaluated(person, dataset, FIRST, split)
    if temperature:
        with transaction() as session:
            evaluation = session.get_one(Evaluation, key)
            session.get_one(PromptVersion, evaluation.prompt_version_id).parameters = {"temperature": temperature}
    return key


def answer(check: Reliability, by_run: list[list[str]]) -> None:
    """End the waiting check's job with these answers of each run; with fewer than there are runs, by a cancel after them."""
    with transaction() as session:
        job, check = claim(session), session.get_one(Reliability, check.id)
        assert job.id == check.job_id
        first, *further = checks.runs(session, check)
        golds = evaluations.predictions(session, first.id)
        version = session.get_one(DatasetVersion, first.dataset_version_id)
        for run, answers in zip(further, by_run, strict=False):
            kept = [
                {"example_id": row.example_id, "gold": row.gold, "answer": one, "correct": one == row.gold, "judged": None, "likelihoods": None,
                 "latency_ms": 5.0, "input_tokens": 9, "output_tokens": 1}
                for row, one in zip(golds, answers, strict=True)
            ]  # fmt: skip
            evaluations.store(session, run.id, kept)
            rows = evaluations.predictions(session, run.id)
            scores = evaluations.scored(run, rows, version.label_texts(), [5.0], {"device": "cpu"})
            evaluations.settle(session, run, scores, look=is_look(session, run))
        if len(by_run) < len(further):
            ending.cancel(session, job)
            ending.stop(session, job.id, job.lease_token or "")
            return
        checks.settle(session, check.id, checks.computed(checks.gathered(session, check), {}))
        ending.succeed(session, job.id, job.lease_token or "", {"reliability": check.id})


def checked(person: Who, key: int, by_run: list[list[str]], **more: Any) -> ReliabilityView:
    view = reliability.create(person, evaluation=key, **more)
    answer(view.check, by_run)
    return reliability.find(person, view.check.id)


def test_a_plan_shows_the_very_forms_that_are_asked(person: Who) -> None:
    key = base(person)
    plan = reliability.plan(person, evaluation=key, forms=3, repeats=4, seed=7)
    assert plan.runs == 3 and plan.rows == 30 and plan.cost == 0.0 and plan.tokens == 3 * 100 and "equal by construction" in plan.equal
    assert plan.forms[0].prompt.startswith("Input: train message") and len({one.prompt for one in plan.forms}) == 4
    view = reliability.create(person, evaluation=key, forms=3, seed=7)
    assert [run.evaluation.form for run in view.runs] == [one.form.as_json() for one in plan.forms]
    assert [run.words for run in view.runs] == [one.form.words for one in plan.forms]
    assert view.job.settings["fit"] == "refuse" and view.job.state == "queued" and view.check.scores is None
    assert [one.evaluation.id for one in service.recent(person)[0]] == [key], "runs are found through their check"
    assert service.of_job(person, view.job.id) is None and reliability.of_job(person, view.job.id) is not None


def test_a_model_that_writes_is_asked_in_forms_that_read_differently_and_let_it_answer(person: Who) -> None:
    key = base(person)
    with transaction() as session:
        prompt = session.get_one(PromptVersion, session.get_one(Evaluation, key).prompt_version_id)
        prompt.mode, prompt.text, prompt.parameters = "freeform", "{input}\nTopic:", {"stop": ["\t"]}
    forms = reliability.plan(person, evaluation=key, forms=20).forms
    assert len({one.prompt for one in forms}) == len(forms) == 21 and not any("\t" in (one.form.separator or "") for one in forms)


def test_what_stays_and_what_differs_is_said_with_the_rows(person: Who) -> None:
    key = base(person, temperature=0.7)
    view = checked(person, key, [FIRST, OTHER, FIRST, OTHER, OTHER], repeats=2, forms=3)
    scores = view.check.scores
    assert scores is not None and scores["figure"]["title"] == "accuracy" and scores["n"] == 10 and scores["cost"] == 0.0
    assert scores["input_tokens"] == 5 * 90 and scores["output_tokens"] == 50, "those of the evaluation itself were paid for before"
    for name, runs in (("repeats", 3), ("forms", 4)):
        one = scores[name]
        assert one["runs"] == runs and (one["same"]["count"], one["always"]["count"], one["sometimes"]) == (9, 5, 1)
    assert (scores["forms"]["spread"]["min"], scores["forms"]["spread"]["median"], scores["forms"]["spread"]["max"]) == (0.5, pytest.approx(0.55), 0.6)
    found = reliability.rows(person, view.check.id)
    assert found.counts == {"all": 10, "forms": 1, "repeats": 1, "sometimes": 1, "never": 4} and len(found.rows) == 10
    assert found.rows[0].counted == [("billing", 3), ("delivery", 3)] and [one.correct for one in found.rows[0].answers].count(True) == 3
    for only, number in found.counts.items():
        assert reliability.rows(person, view.check.id, only, limit=3).found == number
    row = reliability.whole(person, view.check.id, found.rows[0].example.id)
    assert [one.answer for one in row.answers] == ["billing", "billing", "delivery", "billing", "delivery", "delivery"]
    assert [one.check.id for one in reliability.of_evaluation(person, view.runs[0].evaluation)] == [view.check.id]
    assert [one.check.id for one in reliability.of_evaluation(person, view.runs[2].evaluation)] == [view.check.id]
    assert [run.evaluation.seed for run in view.runs] == [None, 1, 2, None, None, None]


def test_a_runs_row_shows_the_prompt_in_its_form(person: Who) -> None:
    key = base(person)
    view = checked(person, key, [FIRST], forms=1, seed=3)
    run = view.runs[1].evaluation
    with transaction() as session:
        example = session.query(Prediction).filter_by(evaluation_id=run.id).first()
    assert example is not None
    before, now = (predictions.whole(person, one, example.example_id) for one in (key, run.id))
    form = Form.model_validate(run.form)
    assert now.prompt != before.prompt and form.as_json()
    with transaction() as session:
        template = session.get_one(PromptVersion, run.prompt_version_id).template()
    assert now.prompt == render(form.applied(template), {"input": now.example.input}).text


def test_what_cannot_be_checked_is_refused_with_the_reason(person: Who) -> None:
    key = base(person)

    def refused(kind: type[FettleError], sentence: str, **more: Any) -> None:
        with pytest.raises(kind, match=sentence):
            reliability.create(person, **{"evaluation": key, "forms": 2, **more})

    refused(Invalid, "equal by construction", repeats=1)
    refused(Invalid, "99 forms", forms=99)
    refused(Invalid, "a repeat or another form", forms=0)
    refused(NotFound, "evaluation", evaluation=99)
    run = reliability.create(person, evaluation=key, forms=1).runs[1].evaluation.id
    refused(Conflict, "no scores", evaluation=run)
    with transaction() as session:
        session.get_one(PromptVersion, session.get_one(Evaluation, key).prompt_version_id).mode = "freeform"
        session.get_one(PromptVersion, session.get_one(Evaluation, key).prompt_version_id).text = "{input}"
        session.get_one(Evaluation, run).scores = {"n": 1}
    refused(Conflict, "itself a run", evaluation=run)
    refused(Invalid, "without saying something else")
    with transaction() as session:
        session.get_one(Evaluation, key).answer = "linear"
    refused(Conflict, "reads no prompt")


def test_test_rows_stay_sealed_and_all_runs_are_one_look(person: Who) -> None:
    key = base(person, "test")
    with transaction() as session:
        version = session.get_one(Evaluation, key).dataset_version_id
        before = session.get_one(DatasetVersion, version).scored
    view = checked(person, key, [FIRST, OTHER], forms=2)
    with transaction() as session:
        assert session.get_one(DatasetVersion, version).scored == before + 1
        example = session.query(Prediction).filter_by(evaluation_id=key).first()
    assert example is not None
    for look in (lambda: reliability.rows(person, view.check.id), lambda: reliability.whole(person, view.check.id, example.example_id)):
        with pytest.raises(Sealed):
            look()
    with transaction() as session:
        datasets.reveal(session, person, session.get_one(DatasetVersion, version), "to look")
        viewed = session.get_one(DatasetVersion, version).viewed
    assert reliability.rows(person, view.check.id).found == 10
    reliability.whole(person, view.check.id, example.example_id)
    with reading() as session:
        assert session.get_one(DatasetVersion, version).viewed == viewed + 2, "each look is counted"


def test_rows_are_read_while_somebody_writes(person: Who) -> None:
    view = checked(person, base(person), [OTHER], forms=1)
    with transaction() as session:
        session.execute(update(DatasetVersion).values(viewed=DatasetVersion.viewed))
        found = reliability.rows(person, view.check.id).rows
        assert len(found) == 10 and reliability.whole(person, view.check.id, found[0].example.id).answers


def test_a_check_that_is_cancelled_was_a_look_as_soon_as_a_run_was_scored(person: Who) -> None:
    key = base(person, "test")

    def looks() -> int:
        with transaction() as session:
            return session.get_one(DatasetVersion, session.get_one(Evaluation, key).dataset_version_id).scored

    before = looks()
    view = reliability.create(person, evaluation=key, forms=4)
    assert looks() == before
    answer(view.check, [FIRST, OTHER, OTHER])
    found = reliability.find(person, view.check.id)
    assert (found.job.state, found.check.scores) == ("cancelled", None) and looks() == before + 1, "three runs show their test scores"
    jobs.retry(person, found.job.id)
    answer(view.check, [FIRST, OTHER, OTHER, OTHER])
    assert reliability.find(person, view.check.id).job.state == "succeeded" and looks() == before + 1


def test_what_is_checked_is_not_deleted_under_its_check(person: Who) -> None:
    key = base(person)
    view = reliability.create(person, evaluation=key, forms=2)
    for one in (key, view.runs[1].evaluation.id):
        with pytest.raises(Conflict, match=f"reliability check {view.check.id}"):
            discarding.evaluation(person, one)
    with pytest.raises(Conflict, match="queued"):
        discarding.reliability(person, view.check.id)
    answer(view.check, [FIRST, OTHER])
    folder = settings().storage_folder / "jobs" / str(view.job.id)
    folder.mkdir(parents=True)
    discarding.reliability(person, view.check.id)
    with pytest.raises(NotFound):
        reliability.find(person, view.check.id)
    assert not folder.exists(), "files go with their job"
    with transaction() as session:
        assert [row.id for row in session.query(Evaluation)] == [key] and session.query(Job).count() == 1
    discarding.evaluation(person, key)


def test_what_was_judged_of_its_runs_is_not_lost_with_a_check(person: Who) -> None:
    view = checked(person, base(person), [OTHER], forms=1)
    judgement = graded(person, view.runs[1].evaluation.id, add_model(person, "Judge", "judge")).judgement.id
    with transaction() as session:
        prompt = session.get_one(PromptVersion, view.runs[0].evaluation.prompt_version_id).prompt_id
    for remove, key in ((discarding.reliability, view.check.id), (prompt_removal.remove, prompt)):
        with pytest.raises(Conflict, match=f"judgement {judgement}") as refused:
            remove(person, key)
        assert refused.value.code == "in_use"
    discarding.judgement(person, judgement)
    discarding.reliability(person, view.check.id)


def test_an_evaluation_of_before_rows_could_be_made_to_fit_is_checked(person: Who) -> None:
    key = base(person)
    with transaction() as session:
        job = session.get_one(Job, session.get_one(Evaluation, key).job_id)
        whole, job.settings = job.settings, {"model": job.settings["model"]}
    asked = reliability.create(person, evaluation=key, forms=1).job.settings
    assert {name: asked[name] for name in whole} == whole


def test_with_a_job_or_a_dataset_go_the_checks(person: Who) -> None:
    key = base(person)
    first, second = (checked(person, key, [OTHER], forms=1, seed=seed) for seed in (1, 2))
    discarding.job(person, first.job.id)
    with transaction() as session:
        assert [row.id for row in session.query(Reliability)] == [second.check.id] and session.query(Evaluation).count() == 2
        dataset = session.get_one(DatasetVersion, session.get_one(Evaluation, key).dataset_version_id).dataset_id
    removal.remove(person, dataset)
    with transaction() as session:
        assert [session.query(table).count() for table in (Reliability, Evaluation, Job)] == [0, 0, 0]


def test_a_page_of_rows_takes_as_many_queries_whatever_there_is(person: Who) -> None:
    key = base(person)
    counts = []
    for forms in (1, 4):
        view = checked(person, key, [OTHER] * forms, forms=forms)
        with queries() as sent:
            reliability.rows(person, view.check.id, limit=5)
        counts.append(len(sent))
    assert counts[0] == counts[1] and counts[0] <= 8
