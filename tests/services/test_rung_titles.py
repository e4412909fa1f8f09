"""What the rungs of a comparison are called: by what is done, and no two alike, because verdicts name them so."""

from typing import Any

import pytest

from app.domain.access import Who
from app.services import experiments, prompts
from tests.rows import add_dataset, add_model, climb_by

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def titles(person: Who, *rungs: dict[str, Any], model: int | None = None, **more: Any) -> list[str]:
    key = experiments.create(person, name="", dataset=add_dataset(person).reference, model=model or add_model(person), rungs=rungs, **more)
    return [row.title for row in experiments.find(person, key).rows]


def test_a_prompt_rung_is_called_by_its_shots(person: Who) -> None:
    rungs: list[dict[str, Any]] = [
        {"technique": "zero_shot"},
        {"technique": "zero_shot", "shots": 5},
        {"technique": "one_shot"},
        {"technique": "one_shot", "shots": 8},
    ]
    assert titles(person, *rungs) == ["zero-shot", "5-shot", "one-shot", "8-shot"]


@pytest.mark.parametrize(
    ("rungs", "said"),
    [
        ([{"label_budget": 8}, {"label_budget": 16}, {}], ["LoRA, 8 labels", "LoRA, 16 labels", "LoRA"]),
        ([{"parameters": {"rank": 4}}, {}], ["LoRA, rank 4", "LoRA, rank 16"]),
        (
            [{"parameters": {"learning_rate": [1e-4, 1e-3]}}, {"parameters": {"rank": [4, 8]}}],
            ["LoRA, 2 settings, learning rate 0.0001 or 0.001, rank 16", "LoRA, 2 settings, learning rate as usual, rank 4 or 8"],
        ),
        ([{}, {}], ["LoRA, no. 1", "LoRA, no. 2"]),
        ([{"seeds": [1]}, {}], ["LoRA, seed 1", "LoRA, seed 0"]),
        ([{"seeds": [1, 2]}, {}, {"seeds": [0]}], ["LoRA, no. 1", "LoRA, no. 2", "LoRA, no. 3"]),
        ([{"seeds": [0, 1]}, {"seeds": [2]}], ["LoRA, seeds 0 and 1", "LoRA, seed 2"]),
        ([{"seeds": [0, 1]}, {"parameters": {"rank": 4}}], ["LoRA, rank 16", "LoRA, rank 4"]),
        ([{}], ["LoRA"]),
    ],
)
def test_two_tuned_rungs_say_what_differs(person: Who, rungs: list[dict[str, Any]], said: list[str]) -> None:
    found = titles(person, *({"technique": "lora", **one} for one in rungs))
    assert found == said


def test_a_verdict_names_one_rung(person: Who) -> None:
    rungs: list[dict[str, Any]] = [{"technique": "lora", "parameters": {"rank": rank}} for rank in (4, 8)]
    key = experiments.create(person, name="", dataset=add_dataset(person).reference, model=add_model(person), rungs=rungs)
    names = climb_by(lambda rung, cell: 29 if rung.position else 16)
    assert sorted(names) == [f"LoRA, rank {rank}{of}: tickets" for rank in (4, 8) for of in (", test rows", ", validation rows", "")]
    view = experiments.find(person, key)
    assert view.recommendation is not None and "LoRA, rank 8" in view.recommendation.verdict


def test_two_wordings_as_rungs_of_their_own_are_told_apart(person: Who) -> None:
    one, other = (prompts.create(person, name, {"mode": "structured", "instruction": name}).reference for name in ("Say.", "Which?"))
    found = titles(person, {"technique": "zero_shot", "prompt_version": one}, {"technique": "zero_shot", "prompt_version": other})
    assert found == [f"zero-shot, prompt {one}", f"zero-shot, prompt {other}"]
