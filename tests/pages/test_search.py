"""A search in the Tune room: its fold in the form, its table and lines on the job's page, its words."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from anyio import to_thread
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain import trial as trials
from app.domain.access import Who
from app.domain.job import Job
from app.pages import job_events
from app.services import jobs as services
from tests.dom import Dom, get
from tests.pages.test_job_events import each
from tests.rows import add_dataset, add_model, claim

GRID = {"how": "grid", "space": {"learning_rate": [0.0001, 0.001], "rank": [4, 8]}, "factor": 2}


@pytest.fixture
def task(person: Who) -> dict[str, Any]:
    """40 train rows: 6 steps of 16 in two passes."""
    return {"model": str(add_model(person)), "dataset": add_dataset(person, train=40, validation=20).reference, "method": "lora"}


def queue(person: Who, task: dict[str, Any], search: dict[str, Any]) -> Job:
    services.start_tune(person, **task, parameters={}, prompt_version=None, seed=3, search=search)
    with transaction() as session:
        return claim(session)


def tell(job: Job, *rows: tuple[int, str, int, float | None, str | None]) -> None:
    values = [{"learning_rate": rate, "rank": rank} for rate in (0.0001, 0.001) for rank in (4, 8)]
    names = ("number", "state", "step", "value", "reason")
    with transaction() as session:
        told = [{"parameters": values[row[0] - 1], **dict(zip(names, row, strict=True))} for row in rows]
        trials.record(session, job.id, job.lease_token or "", told)


def enter(job: Job, phase: str, total: int | None, points: list[tuple[int, dict[str, float]]], **progress: Any) -> None:
    with transaction() as session:
        jobs.enter(session, job.id, job.lease_token or "", phase, total)
        metrics.record(session, job.id, job.lease_token or "", 1, points, [], **progress)


def spec(page: Dom, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.text(f"#{name} script"))
    return found


def test_the_fold_draws_what_the_chosen_search_needs(browser: TestClient, task: dict[str, Any]) -> None:
    del task
    page = get(browser, "/jobs/new?method=lora")
    assert page.one("#search_how option[selected]").get("value") == "none" and not page.all("#search_trials, #search_space_rank")
    page = get(browser, "/jobs/new?method=lora&search_how=random")
    assert page.one("#search_trials").get("value") == "8" and page.one("#search_space_learning_rate").get("placeholder") == "usual ÷ 6 to usual × 6"
    assert page.one("#search_space_rank").get("placeholder") == "4, 16, 64" and page.all("#search_space_dropout")
    assert "The search takes about 14 steps: 8 to step 1, 2 to step 2, the best to step 6." in page.text(".sentence")
    page = get(browser, "/jobs/new?method=prompt_tuning&search_how=grid&search_space_rank=4")
    assert not page.all("#search_trials, #search_space_rank") and page.one("#search_space_virtual_tokens").get("placeholder") == "8, 16, 32"
    assert "at most 60 steps find the learning rate" in get(browser, "/jobs/new?search_how=rate_finder").text(".sentence")


def test_a_search_is_started_from_the_form_and_cloned_into_it(browser: TestClient, person: Who, task: dict[str, Any]) -> None:
    fields = {**task, "drawn": "lora", "seed": "4", "search_how": "random", "search_trials": "5", "search_factor": "2"}
    fields |= {"search_space_learning_rate": "1e-5 to 1e-3", "search_space_dropout": "0 to 0.3 evenly", "search_space_targets": "attention, all_linear"}
    place = browser.post("/jobs", data=fields).headers["location"]
    key = int(place.rpartition("/")[2])
    assert services.find(person, key).job.settings["search"] == {
        "how": "random",
        "trials": 5,
        "factor": 2,
        "seed": 4,
        "space": {
            "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
            "dropout": {"low": 0.0, "high": 0.3, "log": False},
            "targets": ["attention", "all_linear"],
        },
    }
    page = get(browser, f"/jobs/new?like={key}")
    for name in ("search_trials", "search_space_dropout", "search_space_targets"):
        assert page.one(f"#{name}").get("value") == fields[name]
    assert page.one("#search_space_learning_rate").get("value") == "1e-05 to 0.001" and page.one("#search_factor option[selected]").get("value") == "2"
    assert "random, 5 trials, the best half of each round goes on" in page_settings(browser, key)


def page_settings(browser: TestClient, key: int) -> str:
    return get(browser, f"/jobs/{key}").text("#job-settings")


@pytest.mark.parametrize(
    ("typed", "at", "said"),
    [
        ({"search_how": "grid", "search_space_rank": "4, many"}, "search_space_rank", "valid integer"),
        ({"search_how": "grid", "search_space_rank": "4 to 8"}, "search_space_rank", "A grid needs a list of values"),
        ({"search_how": "grid", "search_space_rank": "4"}, "search_how", "1 combination"),
        ({"search_how": "random", "search_trials": "65"}, "search_trials", "It should be less than or equal to 64"),
        ({"search_how": "rate_finder", "learning_rate": "0.001"}, "search_how", "one is given"),
    ],
)
def test_a_refused_search_comes_back_at_its_field(browser: TestClient, task: dict[str, Any], typed: dict[str, str], at: str, said: str) -> None:
    response = browser.post("/jobs", data={**task, "drawn": "lora", "seed": "1", **typed})
    page = Dom(response.text)
    assert response.status_code == 422 and said in page.text(f"#{at}-error") and not page.text(f"#{at}-error").startswith(("search.", "Input"))
    assert all(page.all(f"#{name}") for name in typed) and "not known" in page.text(".sentence")


def test_a_running_search_shows_its_trials_and_says_which_one_runs(browser: TestClient, person: Who, task: dict[str, Any]) -> None:
    job = queue(person, task, GRID)
    lines = spec(get(browser, f"/jobs/{job.id}"), "accuracy")["series"]
    assert [line["metric"] for line in lines] == [f"trial_{number}/validation_accuracy" for number in (1, 2, 3, 4)], "known before its worker begins"
    tell(
        job, (1, "waiting", 2, 0.5, None), (2, "failed", 1, None, "The loss became nan at step 1."), (3, "running", 0, 0.8, None), (4, "waiting", 0, None, None)
    )
    enter(job, "train", 6, [(0, {"trial_3/validation_accuracy": 0.4}), (1, {"trial_3/loss": 2.0, "trial_3/validation_accuracy": 0.8})], step=1, total_steps=6)
    page = get(browser, f"/jobs/{job.id}")
    assert page.text("#job-status .sentence").startswith("Trial 3 of 4, step 1 of 6")
    # Four trials: 4 to step 2, 2 to step 3, the best to step 6; of 13 steps four are done.
    assert page.text(".phases").count("31 %") == 1
    assert page.texts("#job-trials thead th") == ["Trial", "Learning rate", "Rank", "State", "Step", "Best validation accuracy"]
    assert page.texts("#trial-3 td") == ["0.001", "4", "running", "1", "0.800"] and page.text("#trial-3 strong") == "0.800"
    assert page.texts("#trial-1 td")[2:] == ["waiting for the next round, at step 2", "2", "0.500"]
    assert page.texts("#trial-2 td")[2] == "failed at step 1: The loss became nan at step 1."
    series = spec(page, "accuracy")["series"]
    assert [(line["name"], line["quiet"]) for line in series] == [("trial 3", False), ("1", True), ("2", True), ("4", True)]
    assert series[0]["points"] == [[0, 0.4], [1, 0.8]] and spec(page, "loss")["series"][0]["points"] == [[1, 2.0]]
    strip = get(browser, "/").one(".live-job progress")
    assert strip.get("value") is None, "a trial's steps are not the job's"
    assert not get(browser, "/jobs").all(".how-far progress")
    assert page.texts(".figure dd:nth-of-type(1)")[0].startswith("0.800") and "+40.0 points" in page.text("#job-results")
    enter(job, "evaluate", 20, [], step=5, total_steps=20)
    assert get(browser, f"/jobs/{job.id}").text("#job-status .sentence").startswith("Trial 3 of 4, validating, row 5 of 20")


def test_the_samples_of_a_search_are_those_of_the_trial_that_leads(browser: TestClient, person: Who, task: dict[str, Any]) -> None:
    job = queue(person, task, GRID)

    def answer(trial: int, step: int, text: str, value: float) -> None:
        tell(job, (trial, "running", step, value, None))
        sample = {"trial": trial, "step": step, "row": 3, "input": "a message", "gold": "billing", "text": text}
        points = [(step, {f"trial_{trial}/validation_accuracy": value, f"trial_{trial}/validation_loss": 1.0})]
        with transaction() as session:
            metrics.record(session, job.id, job.lease_token or "", 1, points, [], [sample], step=step, total_steps=6)

    answer(1, 2, "from the first", 0.5)
    assert get(browser, f"/jobs/{job.id}").texts("#job-samples thead th")[2:] == ["step 2 best"]
    answer(2, 2, "from the second", 0.8)
    answer(2, 3, "and again", 0.7)
    page = get(browser, f"/jobs/{job.id}")
    assert page.texts("#job-samples tbody td")[1:] == ["from the second", "and again"]
    assert "of trial 2, which leads so far" in page.text("#job-samples .section-head")
    with transaction() as session:
        told = services.samples(person, job.id)
        assert [(one.sample.trial, one.sample.text) for one in told] == [(1, "from the first"), (2, "from the second"), (2, "and again")]
        ending.succeed(session, job.id, job.lease_token or "", {})
    tell_samples = get(browser, f"/jobs/{job.id}").text("#job-samples .section-head")
    assert "of trial 2" in tell_samples


def test_another_leader_brings_its_samples_to_an_open_page(person: Who, task: dict[str, Any]) -> None:
    job = queue(person, task, GRID)
    tell(job, (1, "waiting", 2, 0.5, None), (2, "running", 2, 0.4, None))
    after = services.find(person, job.id).job.event

    async def watch() -> list[str]:
        """What the stream brings of the samples: when it opens, and when another trial leads."""
        heard: list[str] = []
        async with asyncio.timeout(20), aclosing(job_events.follow(person, job.id, after)) as stream:
            async for message in each(stream):
                if "#job-samples" in (message.raw_data or ""):
                    heard.append(message.raw_data or "")
                    if len(heard) == 2:
                        return heard
                    await to_thread.run_sync(tell, job, (2, "running", 3, 0.9, None))
        return heard

    assert len(asyncio.run(watch())) == 2, "nothing else has happened to the samples, so the second is for another leader"


def test_a_finished_search_names_its_winner_and_what_it_ran_with(browser: TestClient, person: Who, task: dict[str, Any]) -> None:
    job = queue(person, task, GRID)
    tell(
        job,
        (1, "stopped", 2, 0.71, "0.710 against 0.830"),
        (2, "stopped", 2, 0.5, "0.500 against 0.830"),
        (3, "won", 6, 0.9, None),
        (4, "stopped", 3, 0.83, "x"),
    )
    values = METHOD_VALUES | {"learning_rate": 0.001, "rank": 4}
    with transaction() as session:
        ending.succeed(session, job.id, job.lease_token or "", {"best_value": 0.9, "parameters": values, "search": {"how": "grid", "winner": 3}})
    page = get(browser, f"/jobs/{job.id}")
    assert page.texts("#trial-3 td")[2] == "won" and page.texts("#trial-1 td")[2] == "stopped at step 2: 0.710 against 0.830"
    assert "4" in page.texts("#job-settings ins") and "0.001" in page.texts("#job-settings ins")


METHOD_VALUES = {"batch_size": 16, "epochs": 2.0}


def test_a_job_that_was_stopped_has_no_running_trial(browser: TestClient, person: Who, task: dict[str, Any]) -> None:
    job = queue(person, task, GRID)
    tell(job, *((number, "running" if number == 1 else "waiting", int(number == 1), None, None) for number in (1, 2, 3, 4)))
    services.cancel(person, job.id)
    with transaction() as session:
        ending.stop(session, job.id, job.lease_token or "")
    assert get(browser, f"/jobs/{job.id}").texts("#job-trials .badge") == ["waiting"] * 4


def test_a_learning_rate_test_is_drawn_and_its_choice_marked(browser: TestClient, person: Who, task: dict[str, Any]) -> None:
    job = queue(person, task, {"how": "rate_finder"})
    curve = [(at, {"finder_rate": 10.0 ** (-6 + at), "finder_loss": loss}) for at, loss in enumerate([2.0, 1.9, 1.0, 0.9], 1)]
    enter(job, "preflight", None, curve, step=4, total_steps=60)
    page = get(browser, f"/jobs/{job.id}")
    assert page.text("#job-status .sentence").startswith("Finding the learning rate, step 4 of 60")
    assert (page.one(".finder polyline").get("points") or "").split()[0] == "0.0,8.0" and not page.all(".finder .chosen")
    with transaction() as session:
        ending.succeed(session, job.id, job.lease_token or "", {"search": {"how": "rate_finder", "learning_rate": 1e-4}, "parameters": {"learning_rate": 1e-4}})
    page = get(browser, f"/jobs/{job.id}")
    assert page.one(".finder .chosen").get("x1") == "200.0" and "Learning rate 0.0001 chosen" in page.text(".finder figcaption")
    assert "the learning rate, by a range test" in page.text("#job-settings")
