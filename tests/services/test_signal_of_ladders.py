"""The signal asks the large model with every wording of the experiment, takes the best on validation rows, and says which."""

from typing import Any

import pytest

from app.db import transaction
from app.domain.access import Who, owned
from app.domain.endpoint import Endpoint
from app.domain.model import Model
from app.services import experiments, prompts
from tests.rows import add_dataset, add_model, climb_by


@pytest.fixture
def large(person: Who) -> int:
    with transaction() as session:
        endpoint = Endpoint(**owned(person), name="there", url="http://h/v1", origin="http://h", sealed_key=None, prices={}, probe=None, tested_at=None)
        session.add(endpoint)
        session.flush()
        about: dict[str, Any] = {"name": "m-70b", "kind": "remote", "folder": "", "content_hash": "", "parameters": 0, "alias": "there/m-70b"}
        model = Model(**owned(person), **about, endpoint_id=endpoint.id, remote_name="m-70b")
        session.add(model)
        session.flush()
        return model.id


def test_the_best_of_all_wordings_is_the_signal(person: Who, large: int) -> None:
    model, version = add_model(person), add_dataset(person)
    one, other = (prompts.create(person, name, {"mode": "structured", "instruction": name}).reference for name in ("Say which.", "Billing or delivery?"))
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot", "prompt_version": [one, other]},
        {"technique": "lora"},
        {"technique": "few_shot", "model": large, "shots": [0, 4], "answer": "generate"},
    ]
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, prompt_version=one)
    signal = experiments.find(person, key).rows[0]
    assert len(signal.cells) == 4 and {cell.cell.settings["prompt_version"] for cell in signal.cells} == {one, other}
    for queue in ("light", "gpu", "light"):
        climb_by(lambda rung, cell: 29 if rung.position == 0 and cell.number == 3 else 18, queue)
    view = experiments.find(person, key)
    assert view.signal is not None and not view.signal.missing
    assert view.rows[0].wording == other and view.signal.sentence.startswith(f"{view.rows[0].title}, prompt {other}, is shown to beat")
    assert view.rows[2].wording == "", "a rung with one wording has nothing to say of it"


def test_a_signal_that_says_its_wording_keeps_it(person: Who, large: int) -> None:
    model, version = add_model(person), add_dataset(person)
    one, other = (prompts.create(person, name, {"mode": "structured", "instruction": name}).reference for name in ("Say which.", "Billing or delivery?"))
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot", "prompt_version": [one, other]},
        {"technique": "zero_shot", "model": large, "prompt_version": other, "answer": "generate"},
    ]
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, prompt_version=one)
    assert [cell.cell.settings["prompt_version"] for cell in experiments.find(person, key).rows[0].cells] == [other]
