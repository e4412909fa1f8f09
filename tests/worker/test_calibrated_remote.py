"""What a model at an endpoint favours without an input is asked once for an evaluation, whatever becomes of its attempts, and paid for once."""

import threading
from typing import Any

import pytest

from app.db import transaction
from app.domain import ending
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import claim
from app.remote.spec import RemoteError
from app.services import endpoints, evaluations, jobs
from tests.remote.servers import Server
from tests.worker.test_evaluate_remote import add, asked, ended, evaluate, places
from worker import evaluate_remote, parent
from worker.reporter import JobReporter

__all__ = ["places"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_further_attempt_does_not_ask_what_favours_which_label_again_and_its_cost_is_counted_once(
    person: Who, toys: DatasetVersion, model_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = add(person, model_server, concurrency=1)
    endpoints.probe(person, view.endpoint.id)
    labels, before = len(toys.label_texts()), asked(model_server, "completions")
    job = evaluate(person, toys, "there/tiny", "likelihood", limit=4, scheme={"scoring": "calibrated"})

    async def unable(*_: Any) -> Any:
        raise RemoteError("no_quota", "Nothing is left.")

    with monkeypatch.context() as patched:  # the prompts without an input are answered, then the quota is used up
        patched.setattr(evaluate_remote.Asker, "answer", unable)
        with transaction() as session:
            held = claim(session, "light", "here", 60)
        assert held is not None and held.lease_token is not None
        with pytest.raises(RemoteError):
            evaluate_remote.run(held, held.lease_token, JobReporter(held.id, held.lease_token, held.attempt, threading.Event()))
        with transaction() as session:
            ending.fail(session, held.id, held.lease_token, {"code": "no_quota", "message": "Nothing is left.", "advice": ""})
    assert asked(model_server, "completions") - before == 3 * labels
    jobs.retry(person, job.id)
    assert parent.run_one("light")
    done, scores = ended(person, job)
    assert done.error is None and asked(model_server, "completions") - before == (3 + 4) * labels
    of = evaluations.of_job(person, job.id)
    assert of is not None and of.content_free is not None and len(of.content_free) == 3
    read, written = (scores[name] + sum(one[name] for one in of.content_free) for name in ("input_tokens", "output_tokens"))
    assert read > scores["input_tokens"] and scores["cost"] == pytest.approx((read + 10 * written) / 1e6)
