"""A quick look cuts tuning to the time that is left; what an experiment comes to is told once when provisional and once when final."""

from typing import Any

import pytest

from app.db import transaction
from app.domain import ending
from app.domain.access import Who
from app.domain.job import Job
from app.services import experiments, forecast, queues, quick_look, reports
from tests.rows import add_dataset, add_model, claim, climb

RUNGS: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "few_shot"}, {"technique": "lora"}]


@pytest.fixture
def place(person: Who) -> dict[str, Any]:
    """A model of which a tuning step takes 4 s by the forecast, and so many train rows that nobody would wait for two passes over them."""
    model = add_model(person)
    with transaction() as session:
        from app.domain.model import Model

        session.get_one(Model, model).parameters = 135_000_000
    return {"dataset": add_dataset(person, train=4000, validation=100).reference, "model": model, "prompt_version": None}


def test_tuning_takes_the_time_that_prompting_leaves(person: Who, place: dict[str, Any]) -> None:
    whole = forecast.experiment(person, **place, rungs=RUNGS, validation_rows=100, tested=False)
    assert whole.seconds > 600
    short = quick_look.capped(person, RUNGS, **place)
    assert short[:2] == RUNGS[:2] and short[2]["capped"] == short[2]["parameters"]["max_steps"] >= quick_look.FEWEST
    assert 0.8 * quick_look.SECONDS < forecast.experiment(person, **place, rungs=short, validation_rows=100, tested=False).seconds <= quick_look.SECONDS
    two = quick_look.capped(person, [*RUNGS, {"technique": "full"}], **place)
    assert two[3]["capped"] == two[2]["capped"] == quick_look.FEWEST < short[2]["capped"], "of two each takes its share, and no fewer than say something"


def test_shots_are_drawn_once_where_prompts_alone_take_too_long(person: Who, place: dict[str, Any]) -> None:
    drawn: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "few_shot", "seeds": [3, 4, 5, 6]}, {"technique": "lora", "seeds": [0, 1]}]
    short = quick_look.capped(person, drawn, **place)
    assert [rung.get("seeds") for rung in short] == [None, [3], [0, 1]] and short[2]["capped"] >= quick_look.FEWEST
    assert quick_look.capped(person, [RUNGS[0], drawn[1]], **{**place, "model": add_model(person, "Small", "small")})[1]["seeds"] == [3, 4, 5, 6]


def test_steps_that_somebody_asked_for_and_runs_that_are_short_stay(person: Who, place: dict[str, Any]) -> None:
    own: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "lora", "parameters": {"max_steps": 900}}]
    assert quick_look.capped(person, own, **place) == own and quick_look.capped(person, RUNGS[:2], **place) == RUNGS[:2]
    small = {**place, "dataset": add_dataset(person, "few", train=16).reference}
    assert quick_look.capped(person, RUNGS, **small) == RUNGS


def test_a_quick_look_is_made_of_that_and_its_json_makes_it_again(person: Who, place: dict[str, Any]) -> None:
    key = experiments.create(person, name="fast", rungs=RUNGS, quick_look=True, open_test=False, **place)
    view = experiments.find(person, key)
    lora, steps = view.rows[2], quick_look.capped(person, RUNGS, **place)[2]["capped"]
    assert view.experiment.validation_rows == 100 and lora.rung.settings["capped"] == lora.lead.cell.settings["parameters"]["max_steps"] == steps
    again = experiments.find(person, experiments.create(person, **{**reports.request(view), "targets": None}))
    assert again.rows[2].lead.cell.settings == lora.lead.cell.settings


def test_a_quick_look_opens_no_test_rows_by_itself(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=RUNGS[:2], quick_look=True)
    climb(20, 22)
    view = experiments.find(person, key)
    assert (view.state, view.ready, view.version.scored) == ("provisional", True, 0)
    experiments.open_test(person, key)
    climb(20, 22)
    assert experiments.find(person, key).state == "finished"


def test_prompts_are_asked_before_anything_is_tuned(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    rungs = [{"technique": technique} for technique in ("lora", "few_shot", "full", "zero_shot")]
    experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs)
    with transaction() as session:
        kinds = [claim(session).kind for _ in rungs]
    assert kinds == ["evaluate", "evaluate", "tune", "tune"]


def test_an_experiment_is_news_once_when_provisional_and_once_when_final(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    key = experiments.create(person, name="tickets", dataset=version.reference, model=model, rungs=RUNGS, open_test=False)
    climb(20, 22)
    found = queues.strip(person)
    assert (found.ended, found.milestones) == ([], []), "rungs are scored, and one is still to be tuned"
    climb(20, 22, 28)
    climb(20, queue="light")
    found = queues.strip(person)
    assert found.ended == [] and [(one.experiment.id, one.final) for one in found.milestones] == [(key, False)]
    with transaction() as session:
        last = max(job.finished_at or 0 for job in session.query(Job).filter(Job.queue == "gpu"))
    assert found.milestones[0].at == last, "not later, so that nothing is told twice"
    experiments.open_test(person, key)
    climb(20, 22)
    assert queues.strip(person).milestones == []
    climb(20, 22, 28)
    assert [one.final for one in queues.strip(person).milestones] == [True]


def test_a_rung_that_fails_is_still_news(person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    experiments.create(person, name="tickets", dataset=version.reference, model=model, rungs=RUNGS, open_test=False)
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "x", "message": "No.", "advice": ""})
    assert [job.id for job in queues.strip(person).ended] == [job.id]
