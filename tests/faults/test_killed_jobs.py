"""Evaluations, exports and runs of every method whose process is killed: F1 beyond the run of LoRA that most tests disturb."""

from signal import SIGKILL
from typing import Any

import pytest

from app import queue
from app.db import reading
from app.domain import evaluation as evaluations
from app.domain.evaluation import Evaluation, Prediction
from app.services import evaluations as scoring
from app.services import handing_out, jobs
from tests.engine.conftest import toy_rows
from tests.faults.site import RUN, Site, until
from tests.rows import add_rows
from worker.engine.folders import damage, fingerprint
from worker.evaluate import CHUNK

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]


def test_f1_a_killed_evaluation_goes_on_after_the_rows_that_are_stored(site: Site) -> None:
    count = 2 * CHUNK + 50
    version = add_rows(site.person, "many", [(values["input"], answer, "test") for values, answer in toy_rows(count)])
    site.worker(kill_rows=CHUNK)
    order: dict[str, Any] = {"model": site.base.id, "prompt_version": site.prompt, "dataset": version.reference}
    disturbed, calm = (scoring.create(site.person, **order).evaluation for _ in range(2))
    queue.wake("gpu")
    until((site.marks / "kill_rows").exists)
    before = latencies(disturbed)
    assert len(before) == CHUNK
    site.succeeded(disturbed.job_id), site.succeeded(calm.job_id)
    first, second = site.attempts(disturbed.job_id)
    assert (first.outcome, second.outcome) == ("lost", "succeeded") and "SIGKILL" in (first.reason or "")
    assert second.started_at - (first.ended_at or 0) < 15_000
    assert len(before) < len(after := latencies(disturbed)) and before.items() <= after.items(), "what was stored is not asked again"
    assert answers(disturbed) == answers(calm) and len(answers(calm)) == count
    assert scores(disturbed) == scores(calm)


def predictions(of: Evaluation) -> list[Prediction]:
    with reading() as session:
        return list(evaluations.predictions(session, of.id))


def latencies(of: Evaluation) -> dict[int, float | None]:
    """By row: nothing takes the same time twice."""
    return {row.example_id: row.latency_ms for row in predictions(of)}


def answers(of: Evaluation) -> list[dict[str, Any]]:
    """Everything that is kept of every row but the evaluation it belongs to and the time it took."""
    names = [column.name for column in Prediction.__table__.columns if column.name not in ("evaluation_id", "latency_ms")]
    return [{name: getattr(row, name) for name in names} for row in predictions(of)]


def scores(of: Evaluation) -> dict[str, Any]:
    """The scores but the times."""
    with reading() as session:
        found = session.get_one(Evaluation, of.id).scores
    return {name: value for name, value in (found or {}).items() if name != "latency_ms"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("p_tuning", {"encoder": "mlp"}),
        ("p_tuning", {"encoder": "lstm"}),
        ("prefix", {"projection": True, "learning_rate": 1e-3}),
        ("prompt_tuning", {}),
        ("full", {"learning_rate": 1e-3}),
        ("lora", {"variant": "pissa", "learning_rate": 1e-3}),
    ],
    ids=["p-tuning-mlp", "p-tuning-lstm", "prefix-projected", "prompt-tuning", "full", "pissa"],
)
def test_f1_a_killed_run_of_any_method_goes_on_from_its_checkpoint_on_the_same_curve(site: Site, method: str, parameters: dict[str, Any]) -> None:
    calm = site.worker("calm")
    site.succeeded(undisturbed := site.tune(method, **parameters))
    site.signal(calm, SIGKILL)
    calm.wait()
    site.save_every_step()
    site.worker(kill=37)
    site.succeeded(disturbed := site.tune(method, **parameters))
    assert site.outcomes(disturbed) == ["lost", "succeeded"] and "SIGKILL" in (site.attempts(disturbed)[0].reason or "")
    assert any("Went on from the checkpoint at step 36" in line for line in site.log(disturbed))
    losses, weights = site.curve(disturbed)
    assert (losses, weights) == site.curve(undisturbed) and len(losses) == RUN["max_steps"] and len(set(losses.values())) > RUN["max_steps"] / 2


@pytest.mark.long
def test_f1_an_export_that_is_killed_while_it_merges_ends_with_one_whole_model(site: Site) -> None:
    site.worker(kill_merge=True)
    site.succeeded(tuned := site.tune(max_steps=3))
    model = jobs.find(site.person, tuned).model
    assert model is not None
    key = handing_out.merge(site.person, model.id).job.id
    queue.wake("gpu")
    until((site.marks / "kill_merge").exists)
    assert [path.name.rpartition("-")[0] for path in site.storage.glob("exports/*/*/*")] == [".tmp-attempt-1"], "half a model"
    result = site.succeeded(key).result or {}
    assert site.outcomes(key) == ["lost", "succeeded"] and "SIGKILL" in (site.attempts(key)[0].reason or "")
    (folder,) = site.storage.glob("exports/*/*/*")
    assert damage(folder) is None and fingerprint(folder) == result["content_hash"]
    assert handing_out.folder_of(site.person, model.id, "merged")[1] == folder and result["same"] == result["rows"]
