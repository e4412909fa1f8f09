"""Evaluations of remote models as light jobs, in their own processes: isolated rows, resumable, each answer asked and paid for once."""

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.db import transaction
from app.domain import evaluation as kept
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.job import Job
from app.domain.model import Model
from app.errors import Invalid
from app.services import endpoints, evaluations, experiments, jobs, label_books, prompts
from app.services.endpoints import EndpointView
from app.settings import settings
from tests.faults.tap import Tap
from tests.remote.servers import Server
from tests.services.uploading import now
from tests.worker.test_parent import until
from worker import parent
from worker.asking import GIVE_UP

ONE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
PRICE = {"*": {"input": 1.0, "output": 10.0}}
WORDING = {"instruction": "", "input_prefix": "Input:", "output_prefix": "Output:", "parameters": {"max_tokens": 3}}


@pytest.fixture(autouse=True)
def places(model_server: Server, fault_server: Server, monkeypatch: pytest.MonkeyPatch, broker: str) -> None:
    del broker
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([model_server.place, fault_server.place]))
    settings.cache_clear()


def add(person: Who, server: Server, path: str = "v1", model: str = "tiny", **more: Any) -> EndpointView:
    return endpoints.create(
        person, name="there", url=f"{server.address}/{path}", key="sesame", prices=PRICE, models=[model], **{"concurrency": 4, "time_out": 20.0, **more}
    )


def evaluate(person: Who, toys: DatasetVersion, model: str = "there/tiny", answer: str = "generate", **more: Any) -> Job:
    prompt = prompts.create(person, "toys", WORDING)
    view = evaluations.create(person, model=model, prompt_version=prompt.reference, dataset=toys.reference, answer=answer, **more)
    return view.job


def ended(person: Who, job: Job) -> tuple[Job, Mapping[str, Any]]:
    """A finished job, and its evaluation's scores."""
    of = evaluations.of_job(person, job.id)
    assert of is not None
    return jobs.find(person, job.id).job, of.scores or {}


def asked(server: Server, route: str = "chat") -> int:
    return int(server.ask("/served").get(f"v1/{route}", 0))


def test_it_runs_as_a_light_job_and_costs_what_was_used(person: Who, toys: DatasetVersion, model_server: Server) -> None:
    add(person, model_server)
    job, before = evaluate(person, toys), asked(model_server)
    assert job.queue == "light" and parent.run_one("gpu") is False, "no device waits for it"
    assert parent.run_one("light") is True
    done, scores = ended(person, job)
    assert done.state == "succeeded", done.error
    assert scores["n"] == 40 == asked(model_server) - before
    assert scores["cost"] == pytest.approx((scores["input_tokens"] + 10 * scores["output_tokens"]) / 1e6) and scores["input_tokens"] > 40
    assert scores["latency_ms"]["n"] == 40 and scores["latency_ms"]["p50"] > 0 and scores["measured"]["endpoint"] == "there"
    assert [one.outcome for one in jobs.find(person, job.id).attempts] == ["succeeded"]


@ONE
def test_an_alias_is_the_right_answer_and_rows_of_a_retired_label_are_not_asked(person: Who, toys: DatasetVersion, model_server: Server) -> None:
    add(person, model_server)
    prompt = prompts.create(person, "steady", {**WORDING, "parameters": {"max_tokens": 3, "temperature": 0.0}}).reference

    def predictions(version: DatasetVersion) -> list[Any]:
        view = evaluations.create(person, model="there/tiny", prompt_version=prompt, dataset=version.reference, answer="generate")
        assert parent.run_one("light") and jobs.find(person, view.job.id).job.state == "succeeded", jobs.find(person, view.job.id).job.error
        of = evaluations.of_job(person, view.job.id)
        assert of is not None
        with transaction() as session:
            return list(kept.predictions(session, of.id))

    kept_key, retired = (label.key for label in toys.book.labels)
    before = [row.answer.strip() for row in predictions(toys) if row.gold == kept_key]
    (said, times), *_ = Counter(before).most_common(1)
    assert said not in (kept_key, retired), "the tiny model writes no label"
    book: list[dict[str, Any]] = [{"key": kept_key, "display": "the kept one", "aliases": [said]}, {"key": retired, "retired": True}]
    asked_before = asked(model_server)
    found = predictions(now(label_books.rewrite(person, toys.reference, book)).version)
    assert len(found) == len(before) == asked(model_server) - asked_before and {row.gold for row in found} == {"the kept one"}
    assert [row.correct for row in found] == [row.answer == "the kept one" for row in found] and sum(row.correct for row in found) >= times > 0


@ONE
def test_likelihoods_there_are_those_of_the_same_model_here(person: Who, base: Model, toys: DatasetVersion, model_server: Server) -> None:
    view = add(person, model_server)
    endpoints.probe(person, view.endpoint.id)
    here, there = evaluate(person, toys, "tiny", "likelihood", limit=12), evaluate(person, toys, "there/tiny", "likelihood", limit=12)
    assert parent.run_one("gpu") and parent.run_one("light")
    found = []
    for job in (here, there):
        of = evaluations.of_job(person, job.id)
        assert of is not None and jobs.find(person, job.id).job.state == "succeeded", jobs.find(person, job.id).job.error
        with transaction() as session:
            found.append({row.example_id: row.likelihoods for row in kept.predictions(session, of.id)})
    assert len(found[0]) == 12 and found[0].keys() == found[1].keys()
    for key, values in found[0].items():
        assert values == pytest.approx(found[1][key], abs=1e-3)


@ONE
def test_calibration_asks_three_prompts_without_an_input_once_and_counts_them(person: Who, base: Model, toys: DatasetVersion, model_server: Server) -> None:
    endpoints.probe(person, add(person, model_server).endpoint.id)
    labels, before = len(toys.label_texts()), asked(model_server, "completions")
    there = evaluate(person, toys, "there/tiny", "likelihood", limit=6, scheme={"scoring": "calibrated"})
    assert parent.run_one("light") is True
    done, scores = ended(person, there)
    assert done.error is None and asked(model_server, "completions") - before == (6 + 3) * labels
    rows = (scores["input_tokens"] + 10 * scores["output_tokens"]) / 1e6
    assert "read" in scores["measured"]["calibration_tokens"] and scores["cost"] > rows, "they were paid for, though they are no rows"
    here = evaluate(person, toys, "tiny", "likelihood", limit=6, scheme={"scoring": "calibrated"})
    assert parent.run_one("gpu") is True
    confidences = []
    for job in (there, here):
        of = evaluations.of_job(person, job.id)
        assert of is not None
        with transaction() as session:
            confidences.append([row.confidence for row in kept.predictions(session, of.id)])
    assert confidences[0] == pytest.approx(confidences[1], abs=1e-2)
    with pytest.raises(Invalid, match="tokens"):
        evaluate(person, toys, "there/tiny", "likelihood", scheme={"scoring": "normalised"})


@ONE
def test_a_stop_keeps_what_was_answered_and_a_retry_asks_only_the_rest(person: Who, toys: DatasetVersion, fault_server: Server) -> None:
    add(person, fault_server, "slow/v1", "m", concurrency=2)
    job, before = evaluate(person, toys, "there/m"), len(fault_server.requests("slow"))
    thread = threading.Thread(target=parent.run_one, args=("light",))
    thread.start()
    until(lambda: jobs.find(person, job.id).job.step >= 6)
    jobs.cancel(person, job.id)
    thread.join(20)
    stopped, scores = ended(person, job)
    first = len(fault_server.requests("slow")) - before
    assert stopped.state == "cancelled" and not scores and 6 <= first < 40
    jobs.retry(person, job.id)
    assert parent.run_one("light")
    done, scores = ended(person, job)
    assert done.state == "succeeded", done.error
    assert len(fault_server.requests("slow")) - before == 40, "no row was asked twice"
    assert scores["n"] == 40 and (scores["input_tokens"], scores["output_tokens"]) == (40 * 3, 40) and scores["cost"] == pytest.approx(40 * (3 + 10) / 1e6)


@pytest.mark.faults
@ONE
def test_while_redis_is_away_every_row_waits_and_no_attempt_or_row_is_lost(
    person: Who, toys: DatasetVersion, fault_server: Server, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tap = Tap(Path(broker.removeprefix("redis+socket://")))
    monkeypatch.setenv("FETTLE_REDIS_URL", tap.address)
    settings.cache_clear()
    add(person, fault_server, "slow/v1", "m", concurrency=2)
    tap.cut()
    job, before = evaluate(person, toys, "there/m"), len(fault_server.requests("slow"))
    thread = threading.Thread(target=parent.run_one, args=("light",))
    thread.start()
    until(lambda: any("queue service (Redis) does not answer" in line.text for line in jobs.log(person, job.id)))
    assert jobs.find(person, job.id).job.state == "running" and len(fault_server.requests("slow")) == before
    tap.mend()
    until(lambda: jobs.find(person, job.id).job.step >= 6)
    tap.cut()
    time.sleep(2)
    assert jobs.find(person, job.id).job.step < 40
    tap.mend()
    thread.join(60)
    done, scores = ended(person, job)
    tap.cut()
    assert done.state == "succeeded" and scores["n"] == 40, (done.error, [line.text for line in jobs.log(person, job.id)])
    assert [one.outcome for one in jobs.find(person, job.id).attempts] == ["succeeded"]
    assert not any("A retry asks it again" in line.text for line in jobs.log(person, job.id))
    assert len(fault_server.requests("slow")) - before == 40, "no row was asked twice"


@pytest.mark.faults
@ONE
def test_a_cancel_ends_a_job_that_waits_for_redis(
    person: Who, toys: DatasetVersion, fault_server: Server, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del broker
    monkeypatch.setenv("FETTLE_REDIS_URL", "redis://127.0.0.1:9/0")
    settings.cache_clear()
    add(person, fault_server, "slow/v1", "m")
    job = evaluate(person, toys, "there/m")
    thread = threading.Thread(target=parent.run_one, args=("light",))
    thread.start()
    until(lambda: any("The job waits for it" in line.text for line in jobs.log(person, job.id)))
    jobs.cancel(person, job.id)
    thread.join(20)
    assert ended(person, job)[0].state == "cancelled"


@ONE
def test_a_row_the_endpoint_refuses_is_wrong_and_the_others_go_on(person: Who, toys: DatasetVersion, model_server: Server) -> None:
    with transaction() as session:
        rows = session.query(Example).filter_by(split="test").order_by(Example.position).limit(3).all()
        for row in rows:
            row.input = "very long " * 400
    add(person, model_server)
    job = evaluate(person, toys)
    assert parent.run_one("light")
    done, scores = ended(person, job)
    assert done.state == "succeeded" and scores["n"] == 40, done.error
    told = [line.text for line in jobs.log(person, job.id)]
    assert sum("longer than this model" in line and "counts as wrong" in line for line in told) == 3
    assert scores["fit"] == {"policy": "refuse", "rows": 40, "refused": 3}, "they are counted where the figures stand"


def lengthen(count: int) -> list[int]:
    """Make some test rows longer than the endpoint's window of 400 tokens; their ids."""
    with transaction() as session:
        rows = session.query(Example).filter_by(split="test").order_by(Example.position).limit(count).all()
        for row in rows:
            row.input = "very long " * 400
        return [row.id for row in rows]


@ONE
@pytest.mark.parametrize("policy", ["cut_head", "cut_middle", "cut_tail"])
def test_rows_that_are_too_long_for_an_endpoint_are_cut_as_they_would_be_here(
    person: Who, base: Model, toys: DatasetVersion, model_server: Server, policy: str
) -> None:
    """The server refuses what has more than 400 tokens: that it answers all rows shows that they were cut, and counted well."""
    add(person, model_server, windows={"tiny": {"tokens": 400, "tokenizer": base.id}})
    long, before = lengthen(3), asked(model_server)
    job = evaluate(person, toys, fit=policy)
    assert parent.run_one("light")
    done, scores = ended(person, job)
    assert done.state == "succeeded" and asked(model_server) - before == 40, done.error
    assert {name: scores["fit"][name] for name in ("policy", "rows", "too_long", "window")} == {"policy": policy, "rows": 40, "too_long": 3, "window": 400}
    assert scores["fit"]["counted"] == "Tokens are counted by the tokenizer of Tiny." and "refused" not in scores["fit"]
    of = evaluations.of_job(person, job.id)
    assert of is not None
    with transaction() as session:
        rows = kept.predictions(session, of.id)
        took, lost = {row.example_id: row.input_tokens for row in rows}, {row.example_id: row.lost for row in rows if row.lost}
    assert set(lost) == set(long) and all(one["policy"] == policy and 0 < one["kept"] < one["of"] == 4000 for one in lost.values())
    assert all(300 < took[key] <= 400 for key in long) and max(count for key, count in took.items() if key not in long) < 100


@ONE
def test_with_fewer_shots_long_rows_fit_an_endpoint_and_the_others_keep_all(person: Who, base: Model, toys: DatasetVersion, model_server: Server) -> None:
    add(person, model_server, windows={"*": {"tokens": 400, "tokenizer": base.id}})
    with transaction() as session:
        row = session.query(Example).filter_by(split="test").order_by(Example.position).limit(1).one()
        row.input, key = "very long " * 100, row.id
    shots = [{"input": f"the plot is good {number}", "output": "positive"} for number in range(8)]
    prompt = prompts.create(person, "shots", {**WORDING, "shots": shots})
    view = evaluations.create(person, model="there/tiny", prompt_version=prompt.reference, dataset=toys.reference, answer="generate", fit="fewer_shots")
    assert parent.run_one("light")
    done, scores = ended(person, view.job)
    assert done.state == "succeeded" and scores["fit"]["too_long"] == 1, done.error
    with transaction() as session:
        took = {row.example_id: row.input_tokens for row in kept.predictions(session, view.evaluation.id)}
    assert took[key] <= 400 and min(took.values()) > 100, "the others have their eight shots"


@ONE
def test_rows_that_do_not_fit_are_refused_before_anything_is_asked_or_paid_for(person: Who, toys: DatasetVersion, model_server: Server) -> None:
    add(person, model_server, windows={"tiny": {"tokens": 400}})
    lengthen(3)
    job, before = evaluate(person, toys), asked(model_server)
    assert parent.run_one("light")
    done, _ = ended(person, job)
    assert done.state == "failed" and done.error is not None and done.error["code"] == "rows_do_not_fit" and asked(model_server) == before
    assert done.error["message"].startswith("3 of 40 rows do not fit (shots + input + answer) in the 400 tokens of there/tiny")
    assert "reckoned from the text" in done.error["message"]


@ONE
def test_a_window_is_what_the_endpoint_lists_and_without_one_nothing_can_be_made_to_fit(person: Who, toys: DatasetVersion, model_server: Server) -> None:
    view = add(person, model_server, "told/v1")
    with pytest.raises(Invalid, match="How many tokens there/tiny takes at once is not known") as unknown:
        evaluate(person, toys, fit="cut_tail")
    assert unknown.value.code == "window_unknown" and unknown.value.detail == {"field": "fit"}
    assert endpoints.probe(person, view.endpoint.id)["windows"] == {"tiny": 400}
    assert evaluate(person, toys, fit="cut_tail").state == "queued"
    with pytest.raises(Invalid, match="none of this installation's"):
        endpoints.update(person, view.endpoint.id, {"windows": {"tiny": {"tokenizer": 99}}})
    with pytest.raises(Invalid, match="not among the endpoint's models"):
        endpoints.update(person, view.endpoint.id, {"windows": {"other": {"tokens": 9}}})


@ONE
def test_rows_that_were_not_answered_are_asked_again_alone(person: Who, toys: DatasetVersion, model_server: Server, fault_server: Server) -> None:
    """The endpoint goes bad in the middle: what came before is kept, and once it is mended a retry asks only what is missing."""
    view = add(person, model_server, concurrency=1, time_out=2.0)
    job = evaluate(person, toys)
    of = evaluations.of_job(person, job.id)
    assert of is not None
    with transaction() as session:
        rows = session.query(Example).filter_by(split="test").order_by(Example.position).limit(25).all()
        values = {"answer": "positive", "gold": "positive", "correct": True, "likelihoods": None, "latency_ms": 5.0, "input_tokens": 100, "output_tokens": 1}
        kept.store(session, of.id, [{"example_id": row.id, **values} for row in rows])
    endpoints.update(person, view.endpoint.id, {"url": f"{fault_server.address}/short/v1", "key": "sesame"})
    broken = len(fault_server.requests("short"))
    assert parent.run_one("light")
    assert len(fault_server.requests("short")) - broken == GIVE_UP, "what broke off is not asked for again before somebody says so"
    failed, _ = ended(person, job)
    assert failed.state == "failed" and failed.error is not None and "broke its answer off" in failed.error["message"]
    endpoints.update(person, view.endpoint.id, {"url": f"{model_server.address}/v1", "key": "sesame"})
    before = asked(model_server)
    jobs.retry(person, job.id)
    assert parent.run_one("light")
    done, scores = ended(person, job)
    assert done.state == "succeeded" and asked(model_server) - before == 15 and scores["input_tokens"] > 2500


@ONE
def test_the_latency_sample_is_asked_one_at_a_time_after_the_other_rows(person: Who, toys: DatasetVersion, fault_server: Server) -> None:
    add(person, fault_server, "crowded/v1", "m", concurrency=8)
    job = evaluate(person, toys, "there/m", split="validation")
    assert parent.run_one("light")
    done, scores = ended(person, job)
    assert done.state == "succeeded" and scores["n"] == 20, done.error
    assert scores["latency_ms"]["n"] == 12 and 150 <= scores["latency_ms"]["p50"] <= scores["latency_ms"]["p95"] < 290, "two at once take 300 ms"
    assert scores["measured"]["latency"] == "one request at a time, as answered"


@ONE
def test_rows_that_time_out_do_not_hold_up_the_others(person: Who, toys: DatasetVersion, fault_server: Server) -> None:
    add(person, fault_server, "moody/v1", "m", concurrency=4, time_out=1.0)
    job, before = evaluate(person, toys, "there/m"), len(fault_server.requests("moody"))
    missing = 40
    while missing:
        assert parent.run_one("light")
        done, scores = ended(person, job)
        left = missing // 5
        if not left:
            break
        assert done.state == "failed" and done.error is not None and done.error["code"] == "rows_missing"
        assert f"{left} of 40 rows" in done.error["message"] and "only these rows" in done.error["advice"]
        missing = left
        jobs.retry(person, job.id)
    assert done.state == "succeeded" and scores["n"] == 40 and scores["output_tokens"] == 40
    assert len(fault_server.requests("moody")) - before == 40 + 8 + 1


@ONE
@pytest.mark.parametrize(("change", "code"), [({"key": "wrong"}, "key_refused"), ({"models": ["nobody"]}, "not_there")])
def test_what_asking_on_cannot_mend_ends_the_job_at_once(person: Who, toys: DatasetVersion, model_server: Server, change: dict[str, Any], code: str) -> None:
    view = add(person, model_server, concurrency=1)
    endpoints.update(person, view.endpoint.id, change)
    job = evaluate(person, toys, f"there/{change.get('models', ['tiny'])[0]}")
    before = asked(model_server)
    assert parent.run_one("light")
    done, _ = ended(person, job)
    assert done.state == "failed" and done.error is not None and done.error["code"] == code and done.error["advice"]
    assert asked(model_server) - before <= 1


@ONE
def test_a_remote_model_stands_on_the_ladder_beside_a_local_one(person: Who, base: Model, toys: DatasetVersion, model_server: Server) -> None:
    add(person, model_server)
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot", "answer": "generate"}, {"technique": "zero_shot", "answer": "generate", "model": "there/tiny"}]
    key = experiments.create(person, name="toys", dataset=toys.dataset_id, model=base.id, rungs=rungs)
    for queue in ("gpu", "light") * 2:  # validation rows on both, then the test rows
        parent.drain(queue)
    view = experiments.find(person, key)
    assert [row.state for row in view.rows] == ["succeeded"] * 2 and view.recommendation is not None
    costs = [row.scores["cost"] for row in view.rows if row.scores]
    assert costs[0] > 0 and costs[1] == 0.0, "the model behind the endpoint is the signal, and stands first"
