"""Rungs that ran on another device than most: their quality is compared, their times and what these cost are not."""

from typing import Any

import pytest

from app.db import transaction
from app.domain.access import Who
from app.domain.evaluation import Evaluation
from app.domain.experiment import Cell, Rung
from app.domain.job import Job
from app.domain.targets import Targets
from app.services import experiments, reports
from tests.rows import add_dataset, add_model, climb_by


@pytest.fixture
def key(person: Who) -> int:
    """Three rungs of which LoRA was tuned and asked on a GPU, and is the fastest there."""
    rungs: list[dict[str, Any]] = [{"technique": "zero_shot"}, {"technique": "one_shot"}, {"technique": "lora"}]
    targets = Targets(machine_hour=36.0, requests_a_month=1000, label_price=0.0)
    found = experiments.create(person, name="two places", dataset=add_dataset(person).reference, model=add_model(person), rungs=rungs, targets=targets)
    climb_by(lambda rung, cell: 15 + 5 * rung.position, latency_ms=lambda rung: 2.0 if rung.tunes else 20.0)
    climb_by(lambda rung, cell: 20, "light")
    with transaction() as session:
        for cell in session.query(Cell).join(Rung, Rung.id == Cell.rung_id).filter(Rung.technique == "lora"):
            for one in (cell.validation_id, cell.evaluation_id):
                row = session.get_one(Evaluation, one)
                row.scores = {**(row.scores or {}), "measured": {"device": "cuda:0", "dtype": "bfloat16"}}
            job = session.get_one(Job, cell.tune_job_id)
            job.result = {**(job.result or {}), "device": "cuda"}
    return found


def test_what_a_rung_from_elsewhere_costs_is_not_known(person: Who, key: int) -> None:
    view = experiments.find(person, key)
    zero, one, lora = view.rows
    assert (zero.elsewhere, one.elsewhere, lora.elsewhere, lora.trained_elsewhere) == ("", "", "cuda:0 bfloat16", "cuda")
    assert zero.request_cost == pytest.approx(20 / 3_600_000 * 36) and lora.request_cost is None
    assert view.linear is not None and view.linear.request_cost is not None and not view.linear.elsewhere, "it runs on a processor wherever the others do"
    assert view.recommendation is not None and not any("twelve months" in reason for reason in view.recommendation.reasons)
    rows = {row["rung"]: row for row in reports.table(view)}
    assert (rows["LoRA"]["cost_per_1000"], rows["LoRA"]["elsewhere"], rows["zero-shot"]["elsewhere"]) == (None, "cuda:0 bfloat16", None)


def test_a_run_tuned_elsewhere_and_asked_here_has_a_price_but_for_its_tuning(person: Who, key: int) -> None:
    with transaction() as session:
        for row in session.query(Evaluation).filter(Evaluation.scores.is_not(None)):
            row.scores = {**(row.scores or {}), "measured": {"device": "cpu", "dtype": "float32"}}
    lora = experiments.find(person, key).rows[2]
    assert lora.request_cost == pytest.approx(2 / 3_600_000 * 36) and (lora.elsewhere, lora.trained_elsewhere) == ("", "cuda")
