"""A job's samples on its page: the same rows, the untuned model and some of the steps since, live and as JSON."""

import json
from itertools import pairwise

import anyio
import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import ending
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.job import Job
from app.pages import job_events
from app.pages.job_samples import MOST, chosen
from app.services import jobs as services
from app.settings import settings
from tests.dom import Dom, get
from tests.pages.test_job_events import listen, parse
from tests.rows import add_dataset, add_model, claim

LONG = "word " * 60


@pytest.fixture
def job(person: Who, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(job_events, "POLL_SECONDS", 0.01)
    services.start_tune(
        person, model=add_model(person), dataset=add_dataset(person).dataset_id, method="lora", parameters={}, prompt_version=None, seed=0
    )  # fmt: skip
    with transaction() as session:
        return claim(session)


def tell(job: Job, step: int, accuracy: float | None, *texts: str, loss: float = 1.0) -> None:
    """A validation with its samples: rows 3, 5, 8, ... of the validation split."""
    golds = ["billing", "delivery"]
    samples = [
        {"step": step, "row": row, "input": f"message {row} {LONG if row == 5 else ''}", "gold": golds[at % 2], "text": text}
        for at, (row, text) in enumerate(zip((3, 5, 8, 11, 12), texts, strict=False))
    ]
    points = [] if accuracy is None else [(step, {"validation_accuracy": accuracy, "validation_loss": loss})]
    with transaction() as session:
        metrics.record(session, job.id, job.lease_token or "", 1, points, [], samples, step=step, total_steps=99)


def succeed(job: Job) -> None:
    with transaction() as session:
        ending.succeed(session, job.id, job.lease_token or "", {})


def test_the_table_sets_gold_base_and_steps_side_by_side_and_names_what_is_right(browser: TestClient, job: Job) -> None:
    page = get(browser, f"/jobs/{job.id}")
    assert "5 validation rows are answered before the first step" in page.text("#job-samples") and not page.all(".samples")
    tell(job, 0, 0.5, " the bill\nInput: more", "")
    tell(job, 4, 0.9, " Billing", " something else")
    tell(job, 8, 0.8, " billing\n", " delivery")
    page = get(browser, f"/jobs/{job.id}")
    assert page.texts(".samples thead th") == ["Row", "Gold", "base", "step 4 best", "step 8"]
    assert page.texts(".samples tbody tr:nth-child(1) td") == ["billing", "the bill Input: more", "Billing right", "billing right"]
    assert page.texts(".samples tbody tr:nth-child(2) td") == ["delivery", "(nothing)", "something else", "delivery right"]
    assert "the same 2 validation rows" in page.text("#job-samples .section-head")


def test_a_point_of_the_curve_opens_the_samples_of_its_step_and_says_whether_its_checkpoint_is_there(browser: TestClient, job: Job) -> None:
    for step in range(0, 100, 10):
        tell(job, step, 0.5, "a")
    folder = settings().storage_folder / "jobs" / str(job.id) / "attempt-1"
    for step in (70, 90):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
    spec = json.loads(get(browser, f"/jobs/{job.id}").one("figure[data-chart]#accuracy script").text_content())
    assert spec["href"] == "?step={x}#panel-samples"
    page = get(browser, f"/jobs/{job.id}?step=44")
    assert "&step=44" in str(page.one("[hx-sse\\:connect]").get("hx-sse:connect"))
    assert page.texts(".samples thead th.asked") == ["step 40"], "the newest samples at that step"
    heads = page.texts(".samples thead th")[2:]
    assert len(heads) == MOST and heads[:2] == ["base", "step 10 best"] and "step 40" in heads and heads[-1] == "step 90 checkpoint kept"
    assert page.texts('.samples thead th[aria-current="true"]') == ["step 40"]
    assert not get(browser, f"/jobs/{job.id}").all(".samples .asked")


def test_a_long_text_is_cut_and_unfolds(browser: TestClient, job: Job) -> None:
    tell(job, 0, 0.5, "x", "y " * 100)
    page = get(browser, f"/jobs/{job.id}")
    row = page.one(".samples tbody tr:nth-child(2)")
    summaries = [summary.text_content() for summary in row.cssselect("summary")]
    assert len(summaries) == 2 and all(len(text) <= 91 and text.endswith("…") for text in summaries)
    assert f"message 5 {LONG}".strip() in row.cssselect("th")[0].text_content()
    assert not page.all(".samples tbody tr:nth-child(1) details")


def test_equal_measures_are_decided_by_the_loss_as_in_the_run(browser: TestClient, job: Job) -> None:
    tell(job, 0, 0.5, "a")
    tell(job, 4, 0.9, "b", loss=0.4)
    tell(job, 8, 0.9, "c", loss=0.3)
    tell(job, 12, 0.9, "d", loss=0.3)
    page = get(browser, f"/jobs/{job.id}")
    assert page.texts(".samples thead th")[2:] == ["base", "step 4", "step 8 best", "step 12"]
    assert "step 8," in page.text("#job-results")


def test_many_steps_are_thinned_out_but_base_best_and_newest_stay(browser: TestClient, job: Job) -> None:
    for step in range(0, 40, 2):
        tell(job, step, 0.9 if step == 6 else 0.5, "x")
    page = get(browser, f"/jobs/{job.id}")
    heads = page.texts(".samples thead th")[2:]
    assert len(heads) == MOST and (heads[0], heads[-1]) == ("base", "step 38") and "step 6 best" in heads
    assert "6 of 20 shown" in page.text("#job-samples .section-head")


@pytest.mark.parametrize("count", [1, 2, 6, 7, 8, 20, 101])
@pytest.mark.parametrize("best", [None, 0, 10, 40, 999])
def test_columns_are_few_ordered_and_keep_the_ends(count: int, best: int | None) -> None:
    steps = list(range(0, 10 * count, 10))
    kept = chosen(steps, best)
    assert kept == sorted(set(kept)) and set(kept) <= set(steps)
    assert len(kept) == min(MOST, count) and (kept[0], kept[-1]) == (steps[0], steps[-1])
    assert best not in steps or best in kept
    if count == 101 and best is None:
        gaps = [after - before for before, after in pairwise(kept)]
        assert max(gaps) <= 2.2 * min(gaps)


def test_samples_arrive_live_and_only_when_there_are_new_ones(browser: TestClient, person: Who, job: Job) -> None:
    tell(job, 0, 0.5, "first")
    after = services.find(person, job.id).job.event
    tell(job, 4, 0.9, "billing")
    succeed(job)
    assert "&step=" not in browser.get(f"/jobs/{job.id}").text
    told, asked = (parse(browser.get(f"/jobs/{job.id}/events?after={after}{more}").text) for more in ("", "&step=3"))
    tables = [Dom(message["data"]) for message in told if "#job-samples" in message["data"]]
    (kept,) = [Dom(message["data"]) for message in asked if "#job-samples" in message["data"]]
    assert kept.texts("thead th.asked") == ["base"], "what somebody came for stays marked"
    assert len(tables) == 1 and tables[0].texts("thead th") == ["Row", "Gold", "base", "step 4 best"]
    assert get(browser, f"/jobs/{job.id}").all("#job-samples")
    heard, _, over = anyio.run(listen, person, job.id, services.find(person, job.id).job.event, None)
    assert over and not any("#job-samples" in data for _, data in heard)


def test_a_stream_that_breaks_after_a_point_still_brings_the_samples(person: Who, job: Job) -> None:
    tell(job, 0, 0.5, "first")
    succeed(job)
    heard, after, _ = anyio.run(listen, person, job.id, 0, 1)
    assert [event for event, _ in heard] == ["metric"]
    heard, after, over = anyio.run(listen, person, job.id, after, None)
    assert over and sum("#job-samples" in data for _, data in heard) == 1


def test_what_a_model_wrote_cannot_write_html_into_the_page(browser: TestClient, job: Job) -> None:
    tell(job, 0, 0.5, "<img src=x onerror=alert(1)>")
    assert "<img src=x" not in browser.get(f"/jobs/{job.id}").text
    assert "<img src=x onerror=alert(1)>" in get(browser, f"/jobs/{job.id}").text(".samples")


def test_a_job_without_validation_rows_says_so_and_an_old_one_says_nothing(browser: TestClient, person: Who, job: Job) -> None:
    succeed(job)
    assert get(browser, f"/jobs/{job.id}").text("#job-samples") == "Samples This run left no samples."
    bare = add_dataset(person, "bare", validation=0)
    made = services.start_tune(person, model=1, dataset=bare.reference, method="lora", parameters={}, prompt_version=None, seed=0).job
    assert "no validation rows" in get(browser, f"/jobs/{made.id}").text("#job-samples")


def test_the_page_follows_the_measure_that_was_chosen(browser: TestClient, person: Who) -> None:
    chosen_by = {"validate_by": "exact_match"}
    data = add_dataset(person, validation=100).reference
    services.start_tune(person, model=add_model(person), dataset=data, method="lora", parameters=chosen_by, prompt_version=None, seed=0)
    with transaction() as session:
        job = claim(session)
        points = [(step, {"validation_exact_match": value, "validation_loss": 1.0}) for step, value in ((0, 0.0), (4, 0.5), (8, 0.25))]
        metrics.record(session, job.id, job.lease_token or "", 1, points)
    page = get(browser, f"/jobs/{job.id}")
    assert page.text("#exact_match figcaption strong") == "Validation exact match" and "[4, 0.5]" in page.text("#exact_match script")
    assert page.texts(".figure dt")[:2] == ["Best validation exact match", "Against untuned"]
    assert page.texts(".figure dd:nth-of-type(1)")[:2] == ["0.500", "+50.0 points"], "how many rows it is taken on is not known yet"
    with transaction() as session:
        ending.succeed(session, job.id, job.lease_token or "", {"best_value": 0.5, "validated_rows": 64})
    page = get(browser, f"/jobs/{job.id}")
    assert page.texts(".figure dd:nth-of-type(1)")[0] == "0.500 [0.381, 0.619]" and "64 validation rows" in page.text("#job-results")


def test_a_measure_that_cannot_be_is_refused_at_its_field(browser: TestClient, person: Who) -> None:
    bare = add_dataset(person, "bare", validation=0).reference
    fields = {"model": str(add_model(person)), "dataset": bare, "method": "lora", "drawn": "lora", "validate_by": "exact_match", "seed": "1"}
    response = browser.post("/jobs", data=fields)
    page = Dom(response.text)
    assert response.status_code == 422 and "there are no validation rows" in page.text("#validate_by-error")
    assert page.one("#validate_by option[selected]").get("value") == "exact_match"
