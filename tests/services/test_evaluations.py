"""What an evaluation can be asked for."""

from typing import Any

import pytest

from app.db import transaction
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.rendering import Template
from app.errors import Invalid
from app.services import evaluations, experiments
from tests.rows import add_dataset, add_model, add_rows


@pytest.fixture
def place(person: Who) -> dict[str, Any]:
    """A model, and 40 labels."""
    rows = [(f"word{at} again", f"topic {at}", split) for split in ("train", "validation", "test") for at in range(40)]
    return {"model": add_model(person), "dataset": add_rows(person, "topics", rows).reference}


def wording(person: Who, instruction: str) -> str:
    with transaction() as session:
        return prompts.create(session, person, instruction, prompts.fields_of(Template(instruction=instruction))).reference


def test_many_labels_are_not_calibrated_where_the_prompt_names_them(person: Who, place: dict[str, Any]) -> None:
    """Each row is told of other labels: what the model favours without an input would be that of the first row's."""
    named, plain = wording(person, "One of {labels}."), wording(person, "Say the topic.")
    calibrated = {"scoring": "calibrated"}
    with pytest.raises(Invalid, match=r"names \{labels\} and there are 40 of them") as refused:
        evaluations.create(person, **place, prompt_version=named, scheme=calibrated)
    assert refused.value.code == "not_one_calibration" and "a prompt without {labels}" in refused.value.advice
    for scheme, prompt in ((calibrated, plain), ({"scoring": "normalised"}, named)):
        assert evaluations.create(person, **place, prompt_version=prompt, scheme=scheme).evaluation.scheme == scheme
    few = {**place, "dataset": add_dataset(person).reference}
    assert evaluations.create(person, **few, prompt_version=named, scheme=calibrated).job.state == "queued", "two labels are named to every row"


def test_nor_are_rungs(person: Who, place: dict[str, Any]) -> None:
    named, plain = wording(person, "One of {labels}."), wording(person, "Say the topic.")
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"technique": "zero_shot", "calibration": ["raw", "calibrated"]}, {}),
        ({"technique": "zero_shot"}, {"scoring": "calibrated"}),
        ({"technique": "lora"}, {"scoring": "calibrated"}),
    ]
    for rung, scheme in asked:
        with pytest.raises(Invalid) as refused:
            experiments.create(person, name="", **place, rungs=[rung], prompt_version=named, scheme=scheme)
        assert refused.value.code == "not_one_calibration" and experiments.recent(person)[0] == []
    for rung, scheme in asked:
        experiments.create(person, name="", **place, rungs=[rung], prompt_version=plain, scheme=scheme)
