"""A reliability check as a job of its own process: the same rows asked in other forms and with other seeds, resumable, each run counted once."""

import json
import threading
from typing import Any

import pytest
from sqlalchemy import update

from app.db import reading, transaction
from app.domain import ending
from app.domain import evaluation as evaluations
from app.domain import prompt as prompts
from app.domain import reliability as checks
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import Fenced, Job
from app.domain.model import Model
from app.domain.prompt import fields_of
from app.domain.rendering import Shot, Template
from app.services import endpoints, jobs, predictions, reliability
from app.services import evaluations as service
from app.services.reliability import ReliabilityView
from app.settings import settings
from tests.remote.servers import Server
from tests.rows import claim
from tests.services.test_reliability import base as finished
from worker import parent
from worker.predictions import Work, load
from worker.reporter import JobReporter

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

ROWS = 12
TEMPLATE = Template(instruction="One of: {labels}.", input_prefix="Text:", output_prefix="Label:", shots=(Shot("a shot", "good"),))


def prompt(person: Who, **parameters: Any) -> str:
    with transaction() as session:
        return prompts.create(session, person, "toys", fields_of(TEMPLATE, {"max_tokens": 4, **parameters})).reference


def evaluated(person: Who, toys: DatasetVersion, model: int | str, queue: str = "gpu", **more: Any) -> int:
    view = service.create(person, model=model, dataset=toys.reference, split="validation", limit=ROWS, **more)
    assert parent.run_one(queue) is True
    found = service.find(person, view.evaluation.id)
    assert found.job.state == "succeeded", found.job.error
    return found.evaluation.id


def ended(person: Who, view: ReliabilityView) -> tuple[Job, dict[str, Any]]:
    found = reliability.find(person, view.check.id)
    return found.job, found.check.scores or {}


def test_a_model_that_runs_here_is_asked_in_every_form_over_one_loaded_model(person: Who, toys: DatasetVersion, base: Model) -> None:
    key = evaluated(person, toys, base.id, prompt_version=prompt(person), answer="likelihood")
    view = reliability.create(person, evaluation=key, forms=3, seed=1)
    assert parent.run_one("gpu") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded" and job.result == {"reliability": view.check.id, "n": ROWS}, job.error
    assert scores["forms"]["runs"] == 4 and scores["forms"]["rows"] == ROWS and scores["cost"] == 0.0
    with reading() as session:
        kept = [evaluations.predictions(session, run.evaluation.id) for run in reliability.find(person, view.check.id).runs]
    assert [len(one) for one in kept] == [ROWS] * 4
    sums = [[row.likelihoods for row in one] for one in kept]
    assert all(one != sums[0] for one in sums[1:]), "each form reads otherwise to the model"
    assert scores["input_tokens"] == sum(row.input_tokens for one in kept[1:] for row in one) > 0
    example = kept[1][0].example_id
    texts = {predictions.whole(person, run.evaluation.id, example).prompt for run in reliability.find(person, view.check.id).runs}
    assert len(texts) == 4


def test_a_stop_of_ones_own_follows_the_form_of_the_field_that_it_names(person: Who, toys: DatasetVersion, base: Model) -> None:
    key = evaluated(person, toys, base.id, prompt_version=prompt(person, stop=["\nText:", "###"]), answer="generate")
    reliability.create(person, evaluation=key, forms=8, seed=1)
    with transaction() as session:
        job = claim(session)
    works = load(job, job.lease_token or "", JobReporter(job.id, job.lease_token or "", job.attempt, threading.Event()))
    for work in works:
        first, last = work.parameters.stop or []
        assert first.strip() in work.template.input_prefix and last == "###"
    assert len({(work.parameters.stop or [])[0] for work in works}) > 2


def test_a_broken_attempt_goes_on_with_the_run_and_the_row_where_it_ended(person: Who, toys: DatasetVersion, base: Model) -> None:
    key = evaluated(person, toys, base.id, prompt_version=prompt(person), answer="likelihood")
    whole, view = (reliability.create(person, evaluation=key, forms=2, seed=1) for _ in range(2))
    assert parent.run_one("gpu") is True
    with transaction() as session:  # what an earlier attempt kept before it broke: the first run whole, and half of the second
        for at, run in enumerate(whole.runs[1:]):
            rows = evaluations.predictions(session, run.evaluation.id)[: ROWS if not at else ROWS // 2]
            columns = [column.key for column in evaluations.Prediction.__table__.columns if column.key not in ("evaluation_id", "latency_ms")]
            evaluations.store(
                session, view.runs[at + 1].evaluation.id, [{name: getattr(row, name) for name in columns} | {"latency_ms": 123.0} for row in rows]
            )
    assert parent.run_one("gpu") is True
    with reading() as session:
        marked = [[row.latency_ms == 123.0 for row in evaluations.predictions(session, run.evaluation.id)] for run in view.runs[1:]]
    assert marked == [[True] * ROWS, [True] * (ROWS // 2) + [False] * (ROWS // 2)], "only the others were asked"
    for name in ("forms", "input_tokens", "n"):
        assert ended(person, view)[1][name] == ended(person, whole)[1][name]


def test_repeats_have_a_seed_of_their_own_which_can_be_asked_again(person: Who, toys: DatasetVersion, base: Model) -> None:
    key = evaluated(person, toys, base.id, prompt_version=prompt(person, temperature=5.0, seed=3), answer="generate")
    views = [reliability.create(person, evaluation=key, repeats=2, forms=0) for _ in range(2)]
    answers = []
    for view in views:
        assert parent.run_one("gpu") is True
        job, scores = ended(person, view)
        assert job.state == "succeeded" and "forms" not in scores and scores["repeats"]["runs"] == 3, job.error
        with reading() as session:
            answers.append([[row.written for row in evaluations.predictions(session, run.evaluation.id)] for run in view.runs])
    assert answers[0] == answers[1], "the same seeds write the same"
    assert answers[0][0] != answers[0][1] != answers[0][2] and scores["repeats"]["same"]["share"] < 1.0


def test_what_an_endpoint_is_asked_again_costs_what_was_used_beside_the_evaluation(
    person: Who, toys: DatasetVersion, model_server: Server, monkeypatch: pytest.MonkeyPatch, broker: str
) -> None:
    del broker
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([model_server.place]))
    settings.cache_clear()
    price = {"*": {"input": 1.0, "output": 10.0}}
    endpoints.create(person, name="there", url=f"{model_server.address}/v1", key="sesame", prices=price, models=["tiny"], concurrency=4, time_out=20.0)
    key = evaluated(person, toys, "there/tiny", "light", prompt_version=prompt(person), answer="generate")
    assert reliability.plan(person, evaluation=key).equal == "", "an endpoint may answer otherwise at temperature 0, too"
    view = reliability.create(person, evaluation=key, repeats=1, forms=1)
    assert view.job.queue == "light" and parent.run_one("light") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded", job.error
    with reading() as session:
        rows = [row for run in view.runs[1:] for row in evaluations.predictions(session, run.evaluation.id)]
    assert len(rows) == 2 * ROWS
    assert scores["cost"] == pytest.approx(sum(row.input_tokens * 1.0 + row.output_tokens * 10.0 for row in rows) / 1e6) and scores["cost"] > 0


def test_nobody_waits_to_write_while_a_check_is_computed_and_a_cancel_then_loses_nothing(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    check = reliability.create(person, evaluation=finished(person), forms=2).check

    def held() -> list[Work]:
        with transaction() as session:
            job = claim(session)
        token = job.lease_token or ""
        return load(job, token, JobReporter(job.id, token, job.attempt, threading.Event()))

    asked, cancel = list[str](), True

    def meanwhile(module: Any, name: str) -> None:
        before = getattr(module, name)

        def then(*given: Any, **more: Any) -> Any:
            with transaction() as session:  # a write lock that was held would fail here
                session.execute(update(DatasetVersion).values(viewed=DatasetVersion.viewed))
            asked.append(name)
            if name == "computed" and cancel:
                jobs.cancel(person, check.job_id)
            return before(*given, **more)

        monkeypatch.setattr(module, name, then)

    meanwhile(evaluations, "scored")
    meanwhile(checks, "computed")
    works = held()
    for work in works:
        work.keep(
            [work.predicted(row, {"answer": "delivery", "likelihoods": None, "latency_ms": 1.0, "input_tokens": 1, "output_tokens": 1}) for row in work.rows]
        )
    works[0].finish([1.0], {})
    with pytest.raises(Fenced):
        works[1].finish([1.0], {})
    with transaction() as session:
        ending.stop(session, check.job_id, works[1].token)
    found = reliability.find(person, check.id)
    assert asked == ["scored", "scored", "computed"] and [run.evaluation.scores is not None for run in found.runs] == [True, True, False]
    cancel = False
    jobs.retry(person, check.job_id)
    (last,) = held()
    assert not last.waiting and last.last, "the last scores are written with the job's end"
    last.finish([1.0], {})
    job, scores = ended(person, reliability.find(person, check.id))
    assert job.state == "succeeded" and scores["forms"]["runs"] == 3 and scores["forms"]["rows"] == 10
    values = scores["forms"]["spread"]
    assert values["min"] <= values["max"] and scores["output_tokens"] == 20, "the run that was not written yet is in"
