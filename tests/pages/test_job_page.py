"""A job's page beside its state: curves, other jobs, files, log, what it took, what it ran with, and what a clone changed."""

import csv
import io
from itertools import pairwise

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.job import Job
from app.services import curves
from app.services import jobs as services
from app.settings import settings
from tests.dom import Dom, get
from tests.queries import queries
from tests.rows import add_dataset, add_model, claim


@pytest.fixture
def task(person: Who) -> tuple[int, int]:
    return add_model(person), add_dataset(person).dataset_id


def start(person: Who, task: tuple[int, int], cloned_from: int | None = None, **parameters: object) -> int:
    wanted = {"model": task[0], "dataset": task[1], "method": "lora", "parameters": parameters, "prompt_version": None, "seed": 3}
    return services.start_many(person, [wanted | {"cloned_from": cloned_from}])[0].id


def take() -> Job:
    with transaction() as session:
        return claim(session)


def record(job: Job, points: list[tuple[int, dict[str, float]]], *lines: str) -> None:
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, points, lines)


def script(page: Dom, name: str) -> str:
    return page.text(f"#{name} script")


def test_a_long_curve_is_drawn_thinned_and_downloaded_whole(browser: TestClient, person: Who, task: tuple[int, int]) -> None:
    key = start(person, task)
    job = take()
    record(job, [(step, {"loss": 1 / step} | ({"validation_accuracy": 0.5} if step % 500 == 0 else {})) for step in range(1, 2001)])
    points = curves.opening(person, key).points
    losses = [point.step for point in points if point.name == "loss"]
    assert len(losses) <= curves.DRAWN + 1 and losses[0] == 1 and losses[-1] == 2000 and losses == sorted(losses)
    assert max(after - before for before, after in pairwise(losses)) <= 4, "evenly"
    assert [point.step for point in points if point.name == "validation_accuracy"] == [500, 1000, 1500, 2000], "what is rare is kept whole"
    answer = browser.get(f"/jobs/{key}/metrics.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv") and answer.headers["content-disposition"] == f'attachment; filename="job-{key}.csv"'
    assert [int(row["step"]) for row in rows] == list(range(1, 2001)) and float(rows[1]["loss"]) == 0.5
    assert [row["validation_accuracy"] for row in rows[498:501]] == ["", "0.5", ""]
    assert browser.get("/jobs/99/metrics.csv").status_code == 404 == browser.get("/jobs/99/log.txt").status_code


def test_what_a_job_takes_is_a_tab_of_its_own_and_no_step(browser: TestClient, person: Who, task: tuple[int, int]) -> None:
    key = start(person, task)
    job = take()
    assert len(get(browser, f"/jobs/{key}").all("#panel-resources .chart")) == 2, "while it runs they begin empty"
    record(job, [(5, {"resource/cores": 1.5, "resource/memory": 2e9, "resource/gpu": 90.0, "resource/gpu_memory": 6e9}), (900, {"resource/cores": 1.25})])
    page = get(browser, f"/jobs/{key}")
    assert [chart.get("id") for chart in page.all("#panel-resources .chart")] == ["taken-cores", "taken-memory", "taken-gpu", "taken-gpu-memory"]
    assert "[5, 2000000000.0]" in script(page, "taken-memory") and '"scale": 1e-09' in script(page, "taken-memory")
    assert "resource" not in browser.get(f"/jobs/{key}/metrics.csv").text
    assert browser.get(f"/jobs/{key}/resources.csv").text.splitlines() == [
        "second,cores,gpu,gpu_memory,memory",
        "5,1.5,90.0,6000000000.0,2000000000.0",
        "900,1.25,,,",
    ]
    assert services.tuning(person, services.find(person, key).job).reached == 0


def test_other_jobs_are_drawn_beside_this_one_and_what_they_did_differently_is_said(browser: TestClient, person: Who, task: tuple[int, int]) -> None:
    keys = [start(person, task, rank=rank) for rank in (4, 8, 16)]
    for number, key in enumerate(keys):
        job = take()
        assert job.id == key
        record(job, [(0, {"validation_accuracy": 0.4}), (1, {"loss": 2.0}), (2, {"loss": 1.0, "validation_accuracy": 0.6 + number / 10})])
        with transaction() as session:
            ending.succeed(session, key, job.lease_token or "", {})
    first, second, third = keys
    page = get(browser, f"/jobs/{first}?with={third}&with={second}&with={first}&with=99")
    assert page.texts("section:first-of-type tbody th") == [f"job {first}, this one", f"job {third}", f"job {second}"]
    assert page.texts("section:first-of-type tbody tr:nth-of-type(2) td")[1:3] == ["rank 16 here 4", "0.800"]
    assert f'"job {third}"' in script(page, "accuracy") and "[2, 0.8]" in script(page, "accuracy") and f"job-{second}/loss" in script(page, "loss")
    assert not page.all("#with"), "there is nobody left to compare with"
    alone = get(browser, f"/jobs/{first}")
    assert not alone.all("#beside-title") and [option.get("value") for option in alone.all("#with option")] == [str(third), str(second)]


def test_the_log_is_searched_whole_and_downloaded_whole(browser: TestClient, person: Who, task: tuple[int, int]) -> None:
    key = start(person, task)
    job = take()
    record(job, [], "Needle: 100% of <b>it</b>", *(f"line {number}" for number in range(700)))
    page = get(browser, f"/jobs/{key}")
    assert "Needle" not in page.text("#log"), "the page holds the end of it"
    found = browser.get(f"/jobs/{key}/log", params={"text": "needle: 100%"})
    assert "Needle: 100% of &lt;b&gt;it&lt;/b&gt;" in found.text and "line" not in found.text
    assert browser.get(f"/jobs/{key}/log", params={"text": "100_"}).text.strip() == "No line has “100_”."
    assert "500 lines shown" in browser.get(f"/jobs/{key}/log", params={"text": "line"}).text
    assert browser.get(f"/jobs/{key}/log", params={"text": " "}).text.strip() == ""
    whole = browser.get(f"/jobs/{key}/log.txt").text.splitlines()
    assert len(whole) == 701 and whole[0].startswith("1\t") and whole[0].endswith("\tNeedle: 100% of <b>it</b>")


def test_a_clone_shows_what_was_changed_and_each_attempt_what_it_ran_with(browser: TestClient, person: Who, task: tuple[int, int]) -> None:
    old = start(person, task, rank=4)
    form = get(browser, f"/jobs/new?like={old}")
    assert form.one("input[name=like]").get("value") == str(old) and form.text("h1") == f"New tuning job, a clone of job {old}"
    fields = {str(one.get("name")): one.get("value") or "" for one in form.all("#job-form input[name]") if one.get("type") != "radio"}
    fields |= {"model": str(task[0]), "dataset": f"{task[1]}@1", "method": "lora", "prompt_version": "", "rank": "32", "learning_rate": "0.001"}
    place = browser.post("/jobs", data=fields).headers["location"]
    page = get(browser, place)
    assert page.texts("#job-settings h3")[0] == f"Cloned from job {old}"
    assert dict(zip(page.texts(".changes dt"), page.texts(".changes dd"), strict=True)) == {"learning rate": "default 0.001", "rank": "4 32"}
    again = services.clone(person, old)
    assert "With the same settings." in get(browser, f"/jobs/{again.id}").text("#job-settings")
    job = take()
    with transaction() as session:
        jobs.found(session, job.id, job.lease_token or "", 1, {"dataset_hash": "abc", "model_hash": "def", "seed": 3, "libraries": {"torch": "2.13.0"}})
    page = get(browser, f"/jobs/{job.id}")
    facts = dict(zip(page.texts("#job-settings dt"), page.texts("#job-settings dd"), strict=True))
    assert facts["dataset hash"] == "abc" and facts["base model hash"] == "def" and facts["torch"] == "2.13.0"
    assert page.texts("#job-attempts tbody th") == ["1"]


def test_the_form_counts_and_shows_several_jobs_before_it_starts_them(browser: TestClient, person: Who, task: tuple[int, int]) -> None:
    fields = {"model": str(task[0]), "dataset": f"{task[1]}@1", "method": "lora", "drawn": "lora", "seed": "1"}
    several = {"many_field": "rank", "many_values": "4, 8,8 ,", "many_too_field": "seed", "many_too_values": "1, 2"}
    query = "&".join(f"{name}={value}" for name, value in (fields | several).items())
    page = get(browser, f"/jobs/new?{query}")
    assert (
        page.texts(".many li") == ["rank 4, seed 1", "rank 4, seed 2", "rank 8, seed 1", "rank 8, seed 2"]
        and page.text("#job-form button.primary") == "Start 4 jobs"
    )
    assert browser.post("/jobs", data=fields | several).headers["location"] == "/jobs"
    started = list(reversed(services.recent(person)[0]))
    assert [(job.settings["parameters"]["rank"], job.settings["seed"]) for job in started] == [(4, 1), (4, 2), (8, 1), (8, 2)]
    for wrong, sentence in (
        ({"many_values": "4, 9999"}, "rank: It should be less than or equal to 512."),
        ({"many_values": "9999, 4"}, "rank: It should be less than or equal to 512."),
        ({"many_values": " "}, "There are no values for rank."),
        ({"many_too_field": "rank", "many_too_values": "2"}, "Rank is chosen twice."),
        ({"many_values": ",".join(map(str, range(1, 103)))}, "These are 204 jobs."),
    ):
        refused = browser.post("/jobs", data=fields | several | wrong)
        errors = Dom(refused.text).texts(".error")
        assert refused.status_code == 422 and any(sentence in error for error in errors), (wrong, errors)
    assert len(services.recent(person)[0]) == 4, "all or none"


def test_a_page_with_ten_times_the_points_takes_the_same_number_of_queries(browser: TestClient, person: Who, task: tuple[int, int]) -> None:
    counts = []
    for steps in (1, 20, 200):  # the first is not counted: once something has ended every page looks whether that is news
        key = start(person, task)
        job = take()
        record(job, [(step, {"loss": 1.0, "validation_accuracy": 0.5, "resource/cores": 1.0}) for step in range(1, steps)], *("a line",) * steps)
        with queries() as sent:
            get(browser, f"/jobs/{key}")
        counts.append(len(sent))
        with transaction() as session:
            ending.succeed(session, key, job.lease_token or "", {})
    assert counts[1] == counts[2]


def test_a_run_is_stopped_with_its_best_kept_and_says_so(browser: TestClient, person: Who, task: tuple[int, int]) -> None:
    key = start(person, task, max_steps=40)
    job = take()

    def buttons() -> list[str]:
        return get(browser, f"/jobs/{key}").texts("#job-actions button")

    assert buttons() == ["Stop"], "nothing is learnt yet"
    record(job, [(4, {"loss": 1.0, "validation_accuracy": 0.5})])
    assert buttons() == ["Stop and keep best", "Stop"]
    browser.post(f"/jobs/{key}/finish")
    assert "Its best moment is kept." in get(browser, f"/jobs/{key}").text("#job-status .sentence")
    with transaction() as session:
        ending.stop(session, key, job.lease_token or "")
    last = take()
    assert last.id == key
    with transaction() as session:
        ending.fail(session, key, last.lease_token or "", {"code": "x", "message": "x", "advice": ""})
    assert buttons() == ["Keep the best", "Retry"]
    assert browser.post(f"/api/v1/jobs/{key}/finish").json()["state"] == "queued"
    last = take()
    with transaction() as session:
        ending.succeed(session, key, last.lease_token or "", {"steps": 4, "best_step": 4, "planned_steps": 40})
    assert "It was ended at step 4 of 40, and its best moment is the result." in get(browser, f"/jobs/{key}").text("#job-status .sentence")
    assert browser.post(f"/api/v1/jobs/{key}/finish").status_code == 409


def test_what_a_job_keeps_is_said_with_the_disk_it_lies_on(browser: TestClient, person: Who, task: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    key = start(person, task)
    with transaction() as session:
        claimed = jobs.claim(session, "gpu", "fast:4711", 30)
    assert claimed is not None and claimed.machine == "fast"

    def said() -> str:
        names, values = (get(browser, f"/jobs/{key}").texts(f"#job-settings .facts {part}") for part in ("dt", "dd"))
        return dict(zip(names, values, strict=True))["kept on disk"]

    assert said() == "nothing", "one folder for all: what is not there is nowhere"
    monkeypatch.setenv("FETTLE_STORAGE", "s3://bucket/fettle")
    settings.cache_clear()
    assert said() == "on fast", "with an object store each machine has a disk of its own"
    monkeypatch.setenv("FETTLE_MACHINE", "fast")
    settings.cache_clear()
    assert said() == "nothing"
