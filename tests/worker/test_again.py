"""An experiment that is run again from its JSON gives the same numbers."""

from typing import Any

import pytest

from app.db import reading
from app.domain import evaluation as evaluations
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.model import Model
from app.services import experiments, reports
from worker import parent

SHORT = {"max_steps": 12, "batch_size": 8, "evaluations": 1, "learning_rate": 1e-2}


def numbers(person: Who, key: int) -> list[Any]:
    """Every prediction of every rung, likelihoods included."""
    with reading() as session:
        found = [evaluations.predictions(session, row.evaluation.id) for row in experiments.find(person, key).rows if row.evaluation]
        return [[(one.answer, one.correct, one.likelihoods) for one in rows] for rows in found]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_same_request_gives_the_same_numbers(person: Who, base: Model, toys: DatasetVersion) -> None:
    left = {name: value for name, value in SHORT.items() if name != "learning_rate"}
    rungs: list[dict[str, Any]] = [
        {"technique": "few_shot", "shots": 3, "seeds": [5]},
        {"technique": "prompt_tuning", "parameters": left},
        {"technique": "lora", "parameters": SHORT, "seeds": [2]},
    ]
    first = experiments.create(person, name="toys", dataset=toys.reference, model=base.id, rungs=rungs)
    while parent.run_one("gpu"):
        pass
    body = reports.request(experiments.find(person, first))
    parameters = body["rungs"][1]["parameters"]
    assert (parameters["learning_rate"], parameters["virtual_tokens"]) == (3e-2, 16), "what was used where nothing was said"
    again = experiments.create(person, **body | {"targets": None})
    while parent.run_one("gpu"):
        pass
    found = numbers(person, first)
    assert [len(rows) for rows in found] == [40, 40, 40] and found[0] != found[1] != found[2]
    assert numbers(person, again) == found
