"""A model judges two evaluations' answers, as a job of its own process: in both orders, resumable, rows isolated, tokens counted once."""

import json
import threading
from typing import Any

import pytest

from app.db import reading, transaction
from app.domain import judgement as rules
from app.domain.access import Who
from app.domain.job import Job
from app.domain.judgement import Ruling
from app.domain.judging import Brief
from app.domain.model import Model
from app.services import endpoints, jobs, judgements
from app.services.judgements import JudgementView
from app.settings import settings
from tests.remote.servers import Server
from tests.rows import add_rows
from tests.services.test_predictions import evaluated
from tests.worker.test_parent import until
from worker import parent

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

ROWS = 10
PRICE = {"*": {"input": 1.0, "output": 10.0}}


@pytest.fixture
def pair(person: Who, base: Model) -> tuple[int, int]:
    """Two evaluations of the same ten rows; on the first two they wrote the same."""
    version = add_rows(person, "letters", [(f"question {at}", f"gold {at}", "validation") for at in range(ROWS)])
    first = evaluated(person, version.reference, [f"answer {at}" for at in range(ROWS)], model=base.id)
    second = evaluated(person, version.reference, [f"answer {at}" if at < 2 else f"another and longer answer {at}" for at in range(ROWS)], model=base.id)
    return first, second


def judge(person: Who, pair: tuple[int, int], model: int | str, **more: Any) -> JudgementView:
    return judgements.create(person, evaluation=pair[0], other=pair[1], model=model, **more)


def kept(view: JudgementView) -> list[Ruling]:
    with reading() as session:
        return list(rules.rulings(session, view.judgement.id))


def ended(person: Who, view: JudgementView) -> tuple[Job, dict[str, Any]]:
    found = judgements.find(person, view.judgement.id)
    assert found.job is not None
    return found.job, found.judgement.scores or {}


def test_a_model_that_runs_here_rules_by_likelihood_in_both_orders(person: Who, pair: tuple[int, int], base: Model) -> None:
    view = judge(person, pair, base.id)
    assert parent.run_one("gpu") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded", job.error
    rulings = kept(view)
    assert len(rulings) == 2 * ROWS and {one.order for one in rulings} == {"ab", "ba"}
    same, asked = [one for one in rulings if one.likelihoods is None], [one for one in rulings if one.likelihoods]
    assert len(same) == 4 and {one.value for one in same} == {"tie"} and sum(one.input_tokens for one in same) == 0, "the same answer twice is not asked"
    for one in asked:
        said = max(one.likelihoods or {}, key=(one.likelihoods or {}).__getitem__)
        assert set(one.likelihoods or {}) == {"A", "B", "tie"}
        assert one.value == {"A": one.order[0], "B": one.order[1], "tie": "tie"}[said]
    assert scores["n"] == ROWS == scores["wins"] + scores["ties"] + scores["losses"] and scores["unread"] == 0
    assert scores["input_tokens"] == sum(one.input_tokens for one in rulings) > 0 and scores["cost"] == 0.0 and scores["measured"]["read"] == "likelihood"


def test_a_broken_attempt_goes_on_and_nothing_is_counted_twice(person: Who, pair: tuple[int, int], base: Model) -> None:
    whole = judge(person, pair, base.id)
    assert parent.run_one("gpu") is True
    view, before = judge(person, pair, base.id), kept(whole)
    names = ("example_id", "order", "value", "likelihoods", "input_tokens", "output_tokens")
    with transaction() as session:  # what an earlier attempt kept before it broke, half a row among it
        rules.store(session, view.judgement.id, [{name: getattr(one, name) for name in names} | {"latency_ms": 123.0, "written": None} for one in before[4:11]])
    assert parent.run_one("gpu") is True
    assert [one.latency_ms == 123.0 for one in kept(view)] == [False] * 4 + [True] * 7 + [False] * 9, "only the others were read"
    for name in ("wins", "ties", "losses", "input_tokens", "flips"):
        assert ended(person, view)[1][name] == ended(person, whole)[1][name]


def test_a_question_longer_than_the_judge_reads_is_counted_apart(person: Who, base: Model) -> None:
    version = add_rows(person, "long", [(f"question {at} " + "and so on " * (2000 if at == 1 else 1), "gold", "validation") for at in range(3)])
    two = [evaluated(person, version.reference, [f"{word} {at}" for at in range(3)], model=base.id) for word in ("one", "another")]
    view = judge(person, (two[0], two[1]), base.id)
    assert parent.run_one("gpu") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded" and (scores["n"], scores["unread"]) == (2, 1)
    assert any("more than the judge reads" in line.text for line in jobs.log(person, job.id))


def test_a_rubric_is_graded_once_a_row(person: Who, pair: tuple[int, int], base: Model) -> None:
    brief = {"text": "Kind words.", "scale": {"low": 1, "high": 4}}
    view = judgements.create(person, kind="rubric", evaluation=pair[1], model=base.id, brief=brief)
    assert parent.run_one("gpu") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded", job.error
    rulings = kept(view)
    assert len(rulings) == ROWS == scores["n"] and {one.order for one in rulings} == {""}
    assert all(
        set(one.likelihoods or {}) == {"1", "2", "3", "4"} and one.value == max(one.likelihoods or {}, key=(one.likelihoods or {}).__getitem__)
        for one in rulings
    )
    assert scores["mean"]["value"] == sum(int(one.value) for one in rulings) / ROWS and sum(scores["grades"].values()) == ROWS


@pytest.fixture
def places(model_server: Server, fault_server: Server, monkeypatch: pytest.MonkeyPatch, broker: str) -> None:
    del broker
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([model_server.place, fault_server.place]))
    settings.cache_clear()


def add(person: Who, server: Server, path: str = "v1", model: str = "tiny", concurrency: int = 4) -> None:
    address = f"{server.address}/{path}"
    endpoints.create(person, name="there", url=address, key="sesame", prices=PRICE, models=[model], concurrency=concurrency, time_out=120.0)


def test_an_endpoint_held_to_the_answers_costs_what_was_used(person: Who, pair: tuple[int, int], places: None, model_server: Server) -> None:
    add(person, model_server)
    view = judge(person, pair, "there/tiny", brief={"read": "constrained", "text": "The kinder one.", "reference": False}, limit=5)
    assert view.job is not None and view.job.queue == "light" and parent.run_one("light") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded", job.error
    rulings = kept(view)
    assert len(rulings) == 10 and all(one.value in ("a", "b", "tie") for one in rulings) and scores["unread"] == 0
    assert {one.written for one in rulings if one.written} <= {"A", "B", "tie"}
    assert scores["cost"] == pytest.approx((scores["input_tokens"] + 10 * scores["output_tokens"]) / 1e6) and scores["output_tokens"] > 0


def test_a_rubric_is_graded_at_an_endpoint(person: Who, pair: tuple[int, int], places: None, model_server: Server) -> None:
    add(person, model_server)
    brief = {"text": "Kind words.", "scale": {"low": 1, "high": 4}, "read": "constrained"}
    view = judgements.create(person, kind="rubric", evaluation=pair[1], model="there/tiny", brief=brief)
    assert view.job is not None and view.job.queue == "light" and parent.run_one("light") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded", job.error
    rulings = kept(view)
    assert len(rulings) == ROWS == scores["n"] and {one.order for one in rulings} == {""} and scores["unread"] == 0
    assert all(one.value == one.written and one.value in ("1", "2", "3", "4") for one in rulings)
    assert scores["mean"]["value"] == sum(int(one.value) for one in rulings) / ROWS and sum(scores["grades"].values()) == ROWS
    assert scores["cost"] == pytest.approx((scores["input_tokens"] + 10 * scores["output_tokens"]) / 1e6) and scores["output_tokens"] > 0


def test_words_that_are_no_ruling_are_counted_apart(person: Who, pair: tuple[int, int], places: None, model_server: Server) -> None:
    add(person, model_server)
    view = judge(person, pair, "there/tiny")
    assert parent.run_one("light") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded", job.error
    # The tiny model writes letters at random: whatever is no ruling is neither a win nor a tie.
    rulings = [one for one in kept(view) if one.written is not None]
    from app.domain.judging import read

    assert len(rulings) == 16 and all(read(Brief(), one.written or "") == "" or one.value for one in rulings)
    assert scores["n"] + scores["unread"] == ROWS and scores["unread"] >= 1 and scores["n"] >= 2, "the two rows of the same answer are ties"


def test_a_ruling_that_does_not_hold_to_the_answers_is_not_read_and_paid_for(person: Who, pair: tuple[int, int], places: None, fault_server: Server) -> None:
    add(person, fault_server, "fine/v1", "m")
    view, before = judge(person, pair, "there/m", brief={"read": "constrained"}, limit=2), len(fault_server.requests("fine"))
    assert parent.run_one("light") is True
    job, scores = ended(person, view)
    asked = len(fault_server.requests("fine")) - before
    assert job.state == "succeeded" and asked > 0 and scores["unread"] > 0, job.error
    assert (scores["input_tokens"], scores["output_tokens"]) == (3 * asked, asked) and scores["cost"] == pytest.approx(asked * (3 + 10) / 1e6)
    assert any("3 tokens read, 1 written all the same" in line.text for line in jobs.log(person, job.id))


def test_a_stop_keeps_what_was_ruled_and_a_retry_asks_only_the_rest(person: Who, pair: tuple[int, int], places: None, fault_server: Server) -> None:
    add(person, fault_server, "slow/v1", "m", concurrency=1)
    view, before = judge(person, pair, "there/m"), len(fault_server.requests("slow"))
    assert view.job is not None
    key = view.job.id
    thread = threading.Thread(target=parent.run_one, args=("light",))
    thread.start()
    until(lambda: jobs.find(person, key).job.step >= 6)
    jobs.cancel(person, key)
    thread.join(20)
    job, scores = ended(person, view)
    assert job.state == "cancelled" and not scores
    asked = len(fault_server.requests("slow")) - before
    assert 2 <= asked < 16
    jobs.retry(person, key)
    assert parent.run_one("light") is True
    job, scores = ended(person, view)
    assert job.state == "succeeded" and len(kept(view)) == 20
    assert len(fault_server.requests("slow")) - before <= 16 + 2, "what was under way at the stop may be asked again, nothing else"
    assert (scores["n"], scores["unread"]) == (2, 8), "it always writes “fine”"
