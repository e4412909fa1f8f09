"""The Tune room: the queue, a form drawn from the method, and a job's page in each of its states."""

import json
import re

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending, starting
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain import model as models
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.job import Job
from app.domain.methods import METHODS
from app.services import experiments
from app.services import jobs as services
from app.services import queues as services_of_queues
from app.settings import settings
from tests.dom import Dom, get
from tests.queries import queries
from tests.rows import add_dataset, add_model, answer_evaluation, claim


@pytest.fixture
def task(person: Who) -> tuple[int, str]:
    """A model and a dataset of 40 train and 20 validation rows."""
    return add_model(person), add_dataset(person, train=40, validation=20).reference


def queue(person: Who, task: tuple[int, str], **parameters: object) -> int:
    return services.start_tune(person, model=task[0], dataset=task[1], method="lora", parameters=parameters, prompt_version=None, seed=3).job.id


def take() -> Job:
    with transaction() as session:
        return claim(session)


def enter(job: Job, phase: str, total: int | None = None) -> None:
    with transaction() as session:
        jobs.enter(session, job.id, job.lease_token or "", phase, total)


def record(job: Job, points: list[tuple[int, dict[str, float]]], lines: list[str] | None = None, **progress: object) -> None:
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, points, lines or [], [], **progress)


def train(job: Job) -> None:
    """The job in the middle of its training, validated three times."""
    for phase in ("load", "preflight"):
        enter(job, phase)
    enter(job, "train", 6)
    record(job, [(0, {"validation_accuracy": 0.5}), (1, {"loss": 2.0}), (2, {"loss": 1.5, "validation_accuracy": 0.8})], ["started", "half way"])
    record(job, [(3, {"loss": 1.2, "validation_accuracy": 0.75})], step=3, total_steps=6, eta_seconds=370.0)


def finish(job: Job) -> int:
    enter(job, "save")
    with transaction() as session:
        model = models.register_tuned(
            session, job.person(), name="tickets lora", folder="x", content_hash="1" * 64, parameters=135_000_000, base_model_id=job.settings["model"],
            method="lora", method_parameters={}, trainable_parameters=921_600, training_seconds=218.0, job_id=job.id,
        )  # fmt: skip
        ending.succeed(
            session,
            job.id,
            job.lease_token or "",
            {"model": model.id, "best_value": 0.8, "learning_rate": 0.0016, "versions": {"torch": "2.13.0"}, "threads": 4},
        )
        return model.id


def worker_is_there() -> None:
    with transaction() as session:
        workers.present(session, "test-worker/gpu", "worker", "gpu", [{"name": "cpu:0"}], {})


def test_the_queue_and_the_history_are_two_tables_that_ask_again(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    assert "Nothing was run yet" in get(browser, "/jobs").text(".empty")
    first, second = queue(person, task), queue(person, task)
    job = take()
    train(job)
    page = get(browser, "/jobs")
    assert page.texts("tbody th a") == ["LoRA on tickets", "LoRA on tickets"]
    assert page.texts("tbody .badge") == ["running", "queued"]
    assert page.text(".how-far") == "train 3 of 6" and page.text(f"#job-{second} .progress") == "next"
    finish(job)
    part = browser.get("/jobs", headers={"HX-Request-Type": "partial"})
    assert "<html" not in part.text
    tables = Dom(part.text)
    assert tables.texts(f"#job-{first} td")[:2] == ["succeeded", "validation 0.800"] and tables.text(f"#job-{second} .progress") == "next"


def test_history_can_be_narrowed_to_what_failed(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    queue(person, task)
    queue(person, task)
    job = take()
    with transaction() as session:
        ending.fail(session, job.id, job.lease_token or "", {"code": "x", "message": "Out of memory.", "advice": ""})
    page = get(browser, "/jobs?state=failed")
    assert page.texts("h2")[0] == "Failed" and page.texts("tbody tr td:nth-of-type(2)") == ["Out of memory."]


def test_twice_the_jobs_take_the_same_number_of_queries(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    counts = []
    for _ in range(2):
        queue(person, task)
        finish(take())
        queue(person, task)
        queue(person, task)
        with queries() as sent:
            get(browser, "/jobs")
        counts.append(len(sent))
        take()
        take()
    assert counts[0] == counts[1]


def test_the_page_of_a_job_that_is_over_learns_that_it_was_started_again(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = queue(person, task)
    assert not get(browser, f"/jobs/{key}").all("[hx-get*=still]"), "a stream follows it"
    services.cancel(person, key)
    asks = get(browser, f"/jobs/{key}").one("[hx-get*=still]").get("hx-get") or ""
    answer = browser.get(asks)
    assert answer.status_code == 204 and "hx-refresh" not in answer.headers
    services.retry(person, key)
    assert browser.get(asks).headers["hx-refresh"] == "true"


def test_no_queue_hides_another_however_long_it_is(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    for _ in range(services_of_queues.SHOWN + 5):
        queue(person, task)
    with transaction() as session:
        light = [jobs.add(session, person, "evaluate", f"remote {number}", {"answer": "generate"}, light=True).id for number in range(2)]
    page = get(browser, "/jobs")
    assert page.texts("section h2")[:2] == ["Queue 55 waiting", "Queue for endpoints 2 waiting"]
    assert page.texts("[aria-labelledby=queue-light] tbody th a") == ["remote 0", "remote 1"] and "5 more wait behind these." in page.text("main")
    browser.post("/jobs/queues/light/pause")
    paused = get(browser, "/jobs").text("[aria-labelledby=queue-light]")
    assert "2 waiting" in paused and "Nothing runs and nothing waits" not in paused
    services.cancel(person, light[0])
    assert len(get(browser, "/jobs").texts("[aria-labelledby=queue-light] tbody tr")) == 1


def test_an_end_is_told_however_many_jobs_run(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    del browser
    for _ in range(services_of_queues.TOLD + 1):
        queue(person, task)
    first = take()
    for _ in range(services_of_queues.TOLD):
        take()
    finish(first)
    told = services_of_queues.strip(person)
    assert len(told.running) == services_of_queues.TOLD and [job.id for job in told.ended] == [first.id]


def test_every_field_of_every_method_is_drawn_with_its_help_bounds_and_default(browser: TestClient, task: tuple[int, str]) -> None:
    for name, method in METHODS.items():
        page = get(browser, f"/jobs/new?method={name}")
        assert method.summary in page.text("main") and method.paper in [link.get("href") for link in page.all("a")]
        for field, info in method.model_fields.items():
            assert info.description and info.description in page.text(f"#{field}-help")
    rate = page.one("#learning_rate")
    assert (rate.get("value"), rate.get("min"), rate.get("max")) == ("", "0", "1") and not page.all("#rank")


def test_the_form_says_how_many_steps_and_marks_what_was_changed(browser: TestClient, task: tuple[int, str]) -> None:
    del task
    assert "6 steps: 40 train rows, 16 a step, 2 passes. The 20 validation rows are scored 5 times on the way." in get(browser, "/jobs/new").text(".sentence")
    page = get(browser, "/jobs/new?method=lora&drawn=lora&batch_size=8&epochs=2.0")
    assert page.text(".sentence").startswith("10 steps")
    assert [label.text for label in page.all("label") if "(changed)" in (label.text or "")] == ["Batch size (changed)"]
    other = get(browser, "/jobs/new?method=full&drawn=lora&batch_size=8&dropout=0.05")
    assert not other.all("#dropout") and other.one("#batch_size").get("value") == "8"


def test_a_refused_value_comes_back_at_its_field(browser: TestClient, task: tuple[int, str]) -> None:
    fields = {"model": str(task[0]), "dataset": task[1], "method": "lora", "drawn": "lora", "learning_rate": "5", "rank": "8", "seed": "1"}
    response = browser.post("/jobs", data=fields)
    page = Dom(response.text)
    assert response.status_code == 422 and page.text("#learning_rate-error") == "It should be less than or equal to 1."
    assert page.one("#learning_rate").get("value") == "5" and page.one("#rank").get("value") == "8"
    page = Dom(browser.post("/jobs", data={**fields, "learning_rate": "0.001", "seed": "x"}).text)
    assert "not a number" in page.text("#seed-error")


def test_a_started_job_waits_on_its_page(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    fields = {"model": str(task[0]), "dataset": task[1], "method": "lora", "drawn": "lora", "rank": "8", "epochs": "2", "max_steps": "", "seed": "4"}
    place = browser.post("/jobs", data=fields).headers["location"]
    page = get(browser, place)
    assert page.text("#job-status .sentence") == (
        "Waiting, next in the queue. No worker answers, and the queue service (Redis) does not answer either: run fettle worker. The job is safe."
    )
    assert page.texts("#job-settings ins") == ["8"] and services.find(person, 1).job.settings["seed"] == 4
    worker_is_there()
    queue(person, task)
    take()
    assert get(browser, "/jobs/2").text("#job-status .sentence") == "Waiting, next in the queue. The CPU is with job 1."


def test_a_running_job_is_whole_before_any_script_runs(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    worker_is_there()
    key = queue(person, task, early_stopping=3)
    job = take()
    train(job)
    page = get(browser, f"/jobs/{key}")
    assert page.text("#job-status .sentence") == (
        "Training, step 3 of 6, about 6 min left, on cpu:0. Validation stopped improving 1 evaluation ago; it stops early after 2 more without a better accuracy."
    )
    assert [item.get("data-state") for item in page.all(".phases li")] == ["done", "done", "done", "now", "next"]
    assert '"untuned"' in page.text("#accuracy script") and "[2, 0.8]" in page.text("#accuracy script") and '"total": 6' in page.text("#accuracy script")
    assert page.text("#log").endswith("half way")
    assert page.texts(".figure dd:nth-of-type(1)") == ["0.800 [0.584, 0.919]", "+30.0 points"]
    assert page.one("[hx-sse\\:connect]").get("hx-sse:connect") == f"/jobs/{key}/events?after={services.find(person, key).job.event}"
    enter(job, "evaluate", 20)
    record(job, [], step=5, total_steps=20, eta_seconds=None)
    page = get(browser, f"/jobs/{key}")
    assert page.text("#job-status .sentence").startswith("Validating, row 5 of 20, on cpu:0.")
    assert [item.get("data-state") for item in page.all(".phases li")][3] == "now" and "50 %" in page.text(".phases")


def test_a_silent_worker_is_said_and_so_is_a_stop(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = queue(person, task)
    train(take())
    with transaction() as session:
        row = session.get_one(Job, key)
        row.heartbeat_at = (row.heartbeat_at or 0) - 34_000
    said = get(browser, f"/jobs/{key}").text("#job-status .sentence")
    assert re.search(r"No heartbeat for (3[4-9]|4\d) s; if the worker stays away, the job goes on by itself", said), said
    assert browser.post(f"/jobs/{key}/cancel").status_code == 303
    page = get(browser, f"/jobs/{key}")
    assert page.text("#job-status .sentence").startswith("Stopping after the present step.") and page.text("#job-actions [aria-disabled]") == "Stopping"


def test_a_done_job_shows_what_came_out_and_what_to_do_with_it(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = queue(person, task)
    job = take()
    train(job)
    model = finish(job)
    page = get(browser, f"/jobs/{key}")
    assert page.text("#job-status .sentence").startswith("Done in ") and not page.all("[hx-sse\\:connect]")
    assert page.texts("#job-actions a") == ["Clone", "Add to ladder", "Serve", "Try in Lab"]
    assert get(browser, page.href("#job-actions a:nth-of-type(3)")).text("#serve h2") == "From a program"
    assert page.href("#job-actions .primary") == f"/lab?model={model}" and f"tuned={model}" in page.href("#job-actions a:nth-of-type(2)")
    assert "922k of 135M" in page.text("#job-results") and "2.13.0" in page.texts("#job-settings dd")
    assert "0.0016, the default for this model's width" in page.texts("#job-settings dd")


def test_an_attempt_says_where_it_went_on(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = queue(person, task)
    for line in (None, "", starting.went_on(1200), None):
        job = take()
        with transaction() as session:
            told = [] if line is None else [f"{starting.MEASURED}0.20 s, 64 tokens; peak memory 90 MB. All 2000 steps: about 400 s.", *([line] if line else [])]
            metrics.record(session, key, job.lease_token or "", job.attempt, [], told)
            ending.give_back(session, key, job.lease_token or "", "the worker leaves", counts=False)
    said = get(browser, f"/jobs/{key}").texts("#job-attempts td.full")
    assert [one.removesuffix(" the worker leaves") for one in said] == [
        "handed back", "handed back; began anew", "handed back; went on from the checkpoint at step 1,200", "handed back",
    ]  # fmt: skip


def test_a_failed_job_says_why_and_a_cancelled_one_can_be_retried(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = queue(person, task)
    job = take()
    train(job)
    with transaction() as session:
        ending.fail(session, key, job.lease_token or "", {"code": "loss_not_finite", "message": "The loss became nan.", "advice": "Lower the learning rate."})
    page = get(browser, f"/jobs/{key}")
    assert page.text("#job-status .sentence").endswith(", at step 3 of 6.") and page.text("#job-status .message") == "The loss became nan."
    assert "train failed" in page.text(".phases") and "The loss became nan." in page.text("#job-attempts")
    assert browser.post(f"/jobs/{key}/retry").headers["location"] == f"/jobs/{key}"
    assert browser.post(f"/jobs/{key}/cancel").status_code == 303
    page = get(browser, f"/jobs/{key}")
    assert page.text("#job-actions .primary") == "Retry"
    again = browser.post(f"/jobs/{key}/cancel")
    assert again.status_code == 409 and "already cancelled" in again.text


def test_a_clone_is_the_form_with_the_same_values_or_the_same_job_again(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = queue(person, task, rank=4, learning_rate=1e-5)
    page = get(browser, f"/jobs/new?like={key}")
    assert page.one("#rank").get("value") == "4" and page.one("#learning_rate").get("value") == "0.00001" and page.one("#seed").get("value") == "3"
    assert page.one("#prompt_version option[selected]").text == "Default v1"
    place = browser.post(f"/jobs/{key}/clone").headers["location"]
    assert services.find(person, int(place.rpartition("/")[2])).job.settings == services.find(person, key).job.settings


def test_an_evaluation_job_shows_its_scores_and_its_ladder(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    ladder = experiments.create(person, name="rungs", dataset=task[1], model=task[0], rungs=[{"technique": "zero_shot"}])
    job = take()
    answer_evaluation(job, 24)
    page = get(browser, f"/jobs/{job.id}")
    assert page.texts(".figure dd:nth-of-type(1)")[0].startswith("0.800 [0.5") and not page.all(".chart")
    assert page.href("#job-actions .primary") == f"/experiments/{ladder}" and "likelihood of each label" in page.text("#job-settings")


@pytest.fixture
def small(person: Who) -> int:
    """A model whose files are there: a Llama of two layers, by its headers alone."""
    folder = settings().models_folder / "small"
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000}
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    sizes = {"self_attn.q_proj": [64, 64], "self_attn.k_proj": [32, 64], "self_attn.v_proj": [32, 64], "self_attn.o_proj": [64, 64], "mlp.up_proj": [128, 64]}
    shapes = {f"model.layers.{layer}.{name}.weight": shape for layer in range(2) for name, shape in sizes.items()}
    shapes["model.embed_tokens.weight"] = [1000, 64]
    head = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    return add_model(person, "Small", "small")


def worker_with(memory: int) -> None:
    with transaction() as session:
        workers.present(session, "test-worker/gpu", "worker", "gpu", [{"name": "cpu:0", "title": "2 CPU cores", "memory": memory}], {})


def test_the_form_says_what_is_trained_and_needed_and_who_has_it(browser: TestClient, task: tuple[int, str], small: int) -> None:
    place = f"/jobs/new?model={small}&dataset={task[1]}&method="
    page = get(browser, place + "lora")
    trained = 2 * 16 * (128 + 96 + 96 + 128 + 192)
    assert f"Trains {trained:,} of 104,960 parameters (19.5 %)." in page.text(".sentence")
    assert page.text(".sentence").endswith("no worker answers, so whether that fits is not known.")
    worker_with(23 * 10**9)
    page = get(browser, place + "full")
    assert "Trains 104,960 of 104,960 parameters (all). Needs about 4" in page.text(".sentence")
    assert page.text(".sentence").endswith("; the worker has 23 GB on cpu:0.") and not page.all(".notice")
    assert page.one("#learning_rate").get("placeholder") is not None
    unknown = get(browser, f"/jobs/new?model={task[0]}&dataset={task[1]}&method=lora").text(".sentence")
    assert "cannot be read from here" in unknown and "The worker has 23 GB on cpu:0." in unknown


def test_a_searchs_form_says_what_its_largest_trial_needs(browser: TestClient, task: tuple[int, str], small: int) -> None:
    place = f"/jobs/new?model={small}&dataset={task[1]}&method=lora&search_how=grid&search_space_rank=4,+32&search_space_learning_rate=0.001"
    trained = 2 * 32 * (128 + 96 + 96 + 128 + 192)
    said = get(browser, place).text(".sentence")
    assert "The search takes about" in said and f"The largest trial trains {trained:,} of 104,960 parameters (39.0 %). Needs about" in said


def test_what_is_too_large_is_warned_of_with_a_change_that_would_fit(browser: TestClient, task: tuple[int, str], small: int) -> None:
    worker_with(617_400_000)
    page = get(browser, f"/jobs/new?model={small}&dataset={task[1]}&method=prompt_tuning")
    said = "This may be more than the 617.4 MB of cpu:0: a run can take half as much again as is estimated."
    assert page.text(".notice .message") == f"{said} With accumulation 4 it would fit."
    worker_with(1000)
    page = get(browser, f"/jobs/new?model={small}&dataset={task[1]}&method=lora")
    assert "No smaller step fits either" in page.text(".notice .message")


def test_an_impossible_field_is_disabled_and_refused_with_its_reason(browser: TestClient, task: tuple[int, str]) -> None:
    page = get(browser, "/jobs/new?method=prefix")
    assert page.one("#checkpointing").get("disabled") is not None and "Not with this method: A prefix reaches" in page.text("#checkpointing-help")
    assert get(browser, "/jobs/new?method=lora").one("#checkpointing").get("disabled") is None
    fields = {"model": str(task[0]), "dataset": task[1], "method": "prefix", "drawn": "lora", "checkpointing": "yes", "seed": "1"}
    response = browser.post("/jobs", data=fields)
    assert response.status_code == 422 and Dom(response.text).text("#checkpointing-error").startswith("A prefix reaches the layers")


def test_a_failure_offers_the_change_that_was_tried_and_fits(browser: TestClient, person: Who, task: tuple[int, str]) -> None:
    key = queue(person, task, rank=4)
    job = take()
    error = {"code": "out_of_memory", "message": "Does not fit.", "advice": "", "suggestion": {"accumulation": 4, "checkpointing": True}}
    with transaction() as session:
        ending.fail(session, key, job.lease_token or "", error)
    page = get(browser, f"/jobs/{key}")
    assert page.text("#job-status .primary") == "Start with accumulation 4 and activation checkpointing" and not page.all("#job-actions .primary")
    form = get(browser, page.href("#job-status .quiet"))
    assert (form.one("#accumulation").get("value"), form.one("#checkpointing option[selected]").get("value"), form.one("#rank").get("value")) == (
        "4",
        "yes",
        "4",
    )
    given = {str(field.get("name")): str(field.get("value")) for field in page.all("#job-status input")}
    place = browser.post(f"/jobs/{key}/clone", data=given).headers["location"]
    changed = services.find(person, int(place.rpartition("/")[2])).job.settings["parameters"]
    assert (changed["accumulation"], changed["checkpointing"], changed["rank"]) == (4, True, 4)


def test_a_foreign_job_is_no_job(browser: TestClient) -> None:
    assert get(browser, "/jobs/99", 404).text("h1") == "Not found"
    assert browser.get("/jobs/99/events").status_code == 404


def test_whether_the_train_rows_fit_is_said_or_why_nobody_knows(browser: TestClient, task: tuple[int, str]) -> None:
    place = get(browser, f"/jobs/new?model={task[0]}&dataset={task[1]}&max_length=64").one("[hx-get^='/jobs/fit']").get("hx-get") or ""
    assert "max_length=64" in place
    said = browser.get(place, headers={"HX-Request-Type": "partial"}).text
    assert "Whether the train rows fit is not known yet: The engine process is not running" in said
