"""Home: a line and a next step for each task, what happened since, and one banner a cause."""

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.experiment import Experiment
from app.domain.job import Job
from app.pages.home import VISIT
from app.services import experiments, prompts
from app.services import home as services
from tests.dom import Dom, get
from tests.queries import queries
from tests.rows import add_dataset, add_model, claim, climb, make_fit


def ladder(person: Who, *techniques: str) -> int:
    model, version = add_model(person), add_dataset(person)
    return experiments.create(person, name="tickets", dataset=version.dataset_id, model=model, rungs=[{"technique": technique} for technique in techniques])


def test_an_empty_home_says_how_to_begin(browser: TestClient) -> None:
    page = get(browser, "/")
    assert page.text(".empty h2") == "No tasks yet"
    assert page.href(".empty .button.primary") == "/datasets/new"
    assert not page.all("table.tasks") and page.text(".lede") == "Welcome, Grace."


def test_a_task_goes_from_no_test_split_to_a_prompt_to_the_ladder(browser: TestClient, person: Who) -> None:
    add_dataset(person, "bare", test=0)
    add_dataset(person, "tickets")
    page = get(browser, "/")
    assert page.texts("tbody th a") == ["tickets", "bare"]
    assert page.texts("tbody .badge") == ["no prompt tried", "no test split"]
    assert [link.get("href") for link in page.all("td.full a")] == ["/lab?dataset=2@1", "/datasets/1"]
    prompts.create(person, "Mine", {"instruction": "Sort it."})
    page = get(browser, "/")
    assert page.texts("tbody .badge")[0] == "not compared"
    assert page.all("td.full a")[0].get("href") == "/experiments/new?dataset=2@1"


def test_a_running_ladder_is_followed_and_its_table_asks_again(browser: TestClient, person: Who) -> None:
    key = ladder(person, "zero_shot", "few_shot")
    climb(20)
    page = get(browser, "/")
    assert page.text("tbody .badge") == "running" and page.href("td.full a") == f"/experiments/{key}"
    assert "1 of 2 rungs done" in page.text("td.full") and "60 rows, 2 labels" in page.text("tbody th") and page.texts("tbody td")[0] == "–"
    assert page.one("#tasks").get("hx-get") == "/"
    part = browser.get("/", headers={"HX-Request-Type": "partial"})
    assert part.text.lstrip().startswith("<div") and "<html" not in part.text and Dom(part.text).one("table.tasks") is not None


def test_a_finished_ladder_shows_the_recommended_rung_with_its_interval_and_the_verdict(browser: TestClient, person: Who) -> None:
    ladder(person, "zero_shot", "few_shot")
    climb(12, 28)
    page = get(browser, "/")
    assert page.text("tbody .badge") == "compared" and page.texts("tbody td")[0] == "8-shot"
    assert page.texts("tbody td.num")[0].startswith("0.933 [0.")
    assert page.text("td.full a") == "See the verdict" and "Use 8-shot." in page.text("td.full")
    assert page.one("#tasks").get("hx-get") is None and "made to fit" not in page.text("#tasks")
    make_fit(3)
    assert get(browser, "/").texts("tbody td.num")[0].endswith("] 3 made to fit")


def test_a_failed_rung_is_named_with_its_reason(browser: TestClient, person: Who) -> None:
    ladder(person, "zero_shot")
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "full", "message": "The disk is full.", "advice": ""})
    page = get(browser, "/")
    assert page.text("tbody .badge") == "1 failed" and "zero-shot: The disk is full." in page.text("td.full")


def test_a_ladder_without_a_comparison_is_to_be_run_again(browser: TestClient, person: Who) -> None:
    ladder(person, "zero_shot", "few_shot")
    with transaction() as session:
        for job in session.query(Job).all():
            ending.cancel(session, job)
    page = get(browser, "/")
    assert page.text("tbody .badge") == "not compared" and page.href("td.full a") == "/experiments/new?dataset=1@1"
    assert "the last one was cancelled" in page.text("td.full")


def test_what_ended_since_the_last_visit_is_told_for_the_whole_visit(browser: TestClient, person: Who) -> None:
    get(browser, "/")
    browser.cookies.delete(VISIT)
    ladder(person, "zero_shot", "one_shot")
    climb(10)
    with transaction() as session:
        job = claim(session)
        ending.fail(session, job.id, job.lease_token or "", {"code": "full", "message": "The disk is full.", "advice": ""})
    for _ in range(2):
        lede = get(browser, "/").text(".lede")
        assert lede.startswith("Since your last visit") and "1 job done, 1 failed: The disk is full." in lede


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.queue.is_reachable", lambda: True)


def banners(page: Dom) -> list[str]:
    return page.texts(".notice .message")


def present() -> None:
    with transaction() as session:
        workers.present(session, "vm/gpu", "worker", "gpu", [], {})
        workers.present(session, "vm/interactive", "engine", "interactive", [], {})


def test_a_silent_broker_is_one_banner_and_hides_no_dead_worker(browser: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.queue._reached", (float("-inf"), True))
    ladder(person, "zero_shot")
    present()
    page = get(browser, "/")
    assert banners(page) == ["The queue service (Redis) does not answer."] and "Your 2 jobs are safe." in page.text(".notice")
    with transaction() as session:
        session.query(workers.Worker).filter_by(queue="gpu").update({"heartbeat_at": workers.Worker.heartbeat_at - 185_000})
    assert banners(get(browser, "/")) == ["The queue service (Redis) does not answer.", "No worker has answered for 3 min."]


def test_an_open_home_tells_what_breaks_and_what_ends(browser: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.queue.is_reachable", lambda: True)
    get(browser, "/")
    browser.cookies.delete(VISIT)
    ladder(person, "zero_shot")
    present()
    page = get(browser, "/")
    assert banners(page) == [] and page.text("#ended") == "" and "no job has ended" in page.text("#since")
    monkeypatch.setattr("app.queue.is_reachable", lambda: False)
    climb(10)
    part = Dom(browser.get(page.one("#now").get("hx-get") or "").text)
    places = {one.get("hx-target") or "": one for one in part.all("hx-partial")}
    assert set(places) == {"#troubles", "#since", "#ended"} and all(len(page.all(target)) == 1 for target in places)
    assert banners(part) == ["The queue service (Redis) does not answer."]
    assert len(part.texts(".ended li")) == 2 and "2 jobs done" in part.texts("hx-partial")[1]
    assert part.one("hx-partial .ended") is not None and not part.all("hx-partial .now-work")


@pytest.mark.usefixtures("answering")
def test_missing_workers_and_models_each_have_a_banner_with_the_fix(browser: TestClient, person: Who) -> None:
    page = get(browser, "/")
    assert banners(page) == ["No worker is running.", "No engine process is running.", "There is no model yet."]
    assert page.texts(".notice code") == ["fettle worker", "fettle engine", "fettle models starter"]
    add_model(person)
    present()
    assert banners(get(browser, "/")) == []


@pytest.mark.usefixtures("answering")
def test_a_worker_that_fell_silent_says_for_how_long(person: Who) -> None:
    with transaction() as session:
        workers.present(session, "vm/gpu", "worker", "gpu", [], {})
        session.query(workers.Worker).update({"heartbeat_at": workers.Worker.heartbeat_at - 185_000})
    found = next(one for one in services.trouble(person) if one.code == "no_worker")
    assert found.message == "No worker has answered for 3 min." and not found.bad


def test_the_strip_is_a_fragment_of_its_own(browser: TestClient, person: Who) -> None:
    ladder(person, "zero_shot")
    response = browser.get("/live")
    assert response.status_code == 200 and "<html" not in response.text and "queue 2" in response.text


def test_home_shows_what_runs_and_waits_and_what_there_is_to_run_on(browser: TestClient, person: Who) -> None:
    ladder(person, "zero_shot", "few_shot", "one_shot")
    with transaction() as session:
        job = claim(session)
        workers.present(session, "vm:1/gpu", "worker", "gpu", [{"name": "cuda:0", "memory": 24_000_000_000, "used": 6_000_000_000}], {})
        jobs.enter(session, job.id, job.lease_token or "", "evaluate", 40)
        jobs.write(session, job.id, job.lease_token or "", step=10)
    page = get(browser, "/")
    assert page.one("#now").get("hx-get") == "/now?before=0"
    part = Dom(browser.get("/now").text)
    assert browser.get(f"/now?before={10**20}").status_code == 422
    assert [text.split("job")[1].split()[1] for text in part.texts("li")] == ["evaluate", "next", "waiting", "waiting"] and "25 %" in part.texts("li")[0]
    assert part.texts("dd")[0] == "6 GB of 24 GB" and part.texts("dt") == ["cuda:0 vm", "Disk"] and part.one("time.age") is not None


def test_what_ended_since_the_last_visit_is_listed(browser: TestClient, person: Who) -> None:
    get(browser, "/")
    browser.cookies.delete(VISIT)
    ladder(person, "zero_shot")
    climb(10)
    assert [text.split()[0] for text in get(browser, "/").texts(".ended li")] == ["succeeded", "succeeded"], "its validation rows and its test rows"


def test_home_takes_as_many_queries_with_more_jobs(browser: TestClient, person: Who) -> None:
    counts: list[int] = []
    ladder(person, "zero_shot", "few_shot")
    for more in (0, 30):
        for _ in range(more):
            add_job(person)
        with queries() as sent:
            browser.get("/now")
        counts.append(len(sent))
    assert counts[0] == counts[1]


def test_home_takes_as_many_queries_with_more_comparisons(browser: TestClient, person: Who) -> None:
    """A verdict takes every answer of every rung: it is worked out when something has changed, and not at every look."""
    model, sent_at = add_model(person), []
    for name in ("tickets", "mail", "letters"):
        version = add_dataset(person, name)
        experiments.create(person, name=name, dataset=version.dataset_id, model=model, rungs=[{"technique": "zero_shot"}, {"technique": "few_shot"}])
        climb(12, 28)
        first = get(browser, "/").texts("tbody td.full")
        with queries() as sent:
            assert get(browser, "/").texts("tbody td.full") == first
        sent_at.append(len(sent))
    assert len(set(sent_at)) == 1, sent_at
    assert get(browser, "/").texts("tbody .badge") == ["compared"] * 3


def test_a_verdict_on_home_follows_what_changes(browser: TestClient, person: Who) -> None:
    key = ladder(person, "zero_shot", "few_shot")
    climb(12)
    assert get(browser, "/").text("tbody .badge") == "running"
    climb(28, 12)
    page = get(browser, "/")
    assert page.text("tbody .badge") == "compared" and page.texts("tbody td")[0] == "8-shot"
    with transaction() as session:
        session.get_one(Experiment, key).margin = 0.9
    assert get(browser, "/").texts("tbody td")[0] == "zero-shot", "under such a margin the cheaper rung will do"


def add_job(person: Who) -> None:
    with transaction() as session:
        jobs.add(session, person, "tune", "a tune", {})
