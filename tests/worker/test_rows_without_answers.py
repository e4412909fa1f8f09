"""Rows that have no answer and never will: refused by an endpoint, or with an answer that does not keep to what it was to be held to."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from app.db import reading, transaction
from app.domain import evaluation as kept
from app.domain.access import Who
from app.domain.dataset import Case, DatasetVersion
from app.domain.evaluation import Prediction
from app.domain.job import Job, claim
from app.domain.model import Model
from app.domain.scheme import Shape
from app.errors import FettleError, Invalid
from app.services import evaluations, jobs, prompts
from tests.remote.servers import Server
from tests.worker.test_evaluate_remote import WORDING, add, ended, evaluate, places
from worker import asking, parent
from worker import evaluate as local
from worker.engine.generate import Completion, complete
from worker.predictions import no_answer, predicted
from worker.reporter import JobReporter

__all__ = ["places"]

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def rows_of(person: Who, job: Job) -> Sequence[Prediction]:
    of = evaluations.of_job(person, job.id)
    assert of is not None
    with reading() as session:
        return kept.predictions(session, of.id)


def test_an_endpoint_that_refuses_all_leaves_no_row_behind_however_often_it_is_tried(person: Who, toys: DatasetVersion, fault_server: Server) -> None:
    """They are written every second: two of them were wrong for good, and a further attempt then took the request's fault for that of its rows."""
    add(person, fault_server, "refuse/v1", "m", concurrency=1)
    job, before = evaluate(person, toys, "there/m"), len(fault_server.requests("refuse"))
    for attempt in (1, 2):
        assert parent.run_one("light")
        done, _ = ended(person, job)
        assert done.state == "failed" and done.error is not None and done.error["code"] == "request_refused" and rows_of(person, job) == []
        assert len(fault_server.requests("refuse")) - before == attempt * asking.REFUSED_ONLY
        jobs.retry(person, job.id)


def test_rows_that_are_refused_before_the_first_answer_are_kept_once_there_is_one(person: Who, toys: DatasetVersion, fault_server: Server) -> None:
    add(person, fault_server, "balk/v1", "m", concurrency=1)
    job = evaluate(person, toys, "there/m", split="validation")
    assert parent.run_one("light")
    done, scores = ended(person, job)
    assert done.state == "succeeded" and (scores["n"], scores["refused"], scores["off_list"]) == (20, 3, 17), done.error
    assert [row.judged for row in rows_of(person, job) if row.lacking] == [{"refused": "request_refused"}] * 3


def test_and_where_others_are_missing_though_there_is_none(person: Who, toys: DatasetVersion, fault_server: Server) -> None:
    add(person, fault_server, "sulk/v1", "m", concurrency=1)
    job = evaluate(person, toys, "there/m", limit=4)
    assert parent.run_one("light")
    done, _ = ended(person, job)
    assert done.error is not None and done.error["code"] == "rows_missing" and done.error["message"].startswith("1 of 4 rows")
    assert [row.lacking for row in rows_of(person, job)] == ["refused"] * 3


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("shape", ["text", "json", "number"])
def test_nothing_says_by_how_much_a_row_without_an_answer_is_wrong(shape: Shape) -> None:
    row, read = Case(1, 0, {"input": "x"}, "{}"), {"answer": "y", "likelihoods": None}
    assert "margin" not in predicted(row, no_answer("request_refused"), shape=shape)
    assert ("margin" in predicted(row, read, shape=shape)) is (shape != "number")


def test_an_answer_that_was_not_held_to_its_choices_is_not_read_and_not_asked_for_again(person: Who, toys: DatasetVersion, fault_server: Server) -> None:
    add(person, fault_server, "loose/v1", "m", concurrency=1)
    prompt = prompts.create(person, "held", {**WORDING, "parameters": {"max_tokens": 3, "choices": ["positive", "negative"]}}).reference
    before = len(fault_server.requests("loose"))
    job = evaluations.create(person, model="there/m", prompt_version=prompt, dataset=toys.reference, answer="generate", split="validation").job
    assert parent.run_one("light")
    done, scores = ended(person, job)
    assert done.state == "succeeded" and len(fault_server.requests("loose")) - before == 20, done.error
    assert (scores["n"], scores["unread"], scores["refused"], scores["off_list"]) == (20, 10, 0, 0)
    unread = [row for row in rows_of(person, job) if row.lacking == "unread"]
    assert len(unread) == 10 and not any(row.correct or row.off_list for row in unread)
    assert (scores["input_tokens"], scores["output_tokens"]) == (60, 20), "they were paid for all the same"
    told = [line.text for line in jobs.log(person, job.id)]
    assert sum("did not hold its answer" in line and "It counts as not read." in line for line in told) == 10


def test_nor_is_one_here_that_cannot_be_held_any_further(
    person: Who, base: Model, toys: DatasetVersion, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stuck(*given: Any, failed: dict[int, FettleError], **more: Any) -> list[Completion]:
        done = complete(*given, failed=failed, **more)
        failed[1] = Invalid("constraint_failed", "The answer could not be held to its constraint any further.", "Use a simpler schema.")
        return done

    monkeypatch.setattr(local, "complete", stuck)
    prompt = prompts.create(person, "held", WORDING).reference
    made = evaluations.create(person, model=base.id, prompt_version=prompt, dataset=toys.reference, split="validation", answer="generate")
    with transaction() as session:
        job = claim(session, "gpu", "here", 60)
    assert job is not None and job.lease_token is not None
    local.run(job, job.lease_token, JobReporter(job.id, job.lease_token, job.attempt, threading.Event()))
    scores = evaluations.find(person, made.evaluation.id).evaluation.scores
    assert scores is not None and (scores["n"], scores["unread"]) == (20, 1)
    assert [row.lacking for row in rows_of(person, job)][:3] == ["", "unread", ""]
    assert any("constraint any further. It counts as not read." in line for line in capsys.readouterr().err.splitlines())
