"""Sliders under a verdict: two verdicts that are compared differ in nothing but what somebody moved."""

from typing import Any

import pytest

from app.domain.access import Who
from app.domain.targets import Targets
from app.services import experiments, what_if
from app.services.what_if import STEPS, Slider, WhatIf
from tests.rows import add_dataset, add_model, climb_by

FEW: dict[str, Any] = {"technique": "few_shot", "shots": 8}
LORA: dict[str, Any] = {"technique": "lora"}


def compared(person: Who, *rungs: dict[str, Any], tuned_ms: float = 20.0, **targets: Any) -> int:
    """Equal rungs, of which prompts take 400 ms: by ladder order the first is the cheapest, by price at many requests the tuned one."""
    model, version = add_model(person), add_dataset(person, train=200, test=600)
    key = experiments.create(person, name="", dataset=version.reference, model=model, rungs=rungs, targets=Targets(**targets))
    climb_by(lambda rung, cell: 540, latency_ms=lambda rung: tuned_ms if rung.tunes else 400.0)
    return key


def slider(found: WhatIf, name: str) -> Slider:
    return next(one for one in found.sliders if one.name == name)


def chosen(found: WhatIf) -> int | None:
    assert found.recommendation is not None
    return found.recommendation.position


def test_moved_sliders_recompute_the_verdict_and_say_where_it_flips(person: Who) -> None:
    key = compared(person, FEW, LORA, machine_hour=36.0, label_price=0.5, requests_a_month=1000)
    usual = what_if.ask(person, key, {})
    assert chosen(usual) == 0 and usual.priced and not usual.changed
    volume = slider(usual, "requests_a_month")
    assert volume.value == 1000 and not volume.moved and [flip.rung for flip in volume.flips] == ["LoRA"]
    flip = volume.flips[0]
    dear = what_if.ask(person, key, {"requests_a_month": flip.index})
    assert dear.changed and chosen(dear) == 1 and slider(dear, "requests_a_month").moved
    below = what_if.ask(person, key, {"requests_a_month": flip.index - 1})
    assert not below.changed and chosen(below) == 0


def test_what_is_not_set_stays_so_whatever_else_is_moved(person: Who) -> None:
    """With a price of the machine alone the ladder's order stands for cost: no volume comes in by the back door."""
    key = compared(person, FEW, LORA, machine_hour=36.0)
    for moved in ({}, {"margin": 10}):
        found = what_if.ask(person, key, moved)
        assert chosen(found) == 0 and not found.changed and found.priced
        volume, price, _ = found.sliders
        assert (volume.value, volume.flips, volume.needs) == (None, [], "label_price")
        assert (price.value, price.flips, price.needs) == (None, [], "requests_a_month")
    one = what_if.ask(person, key, {"requests_a_month": len(STEPS["requests_a_month"]) - 1})
    assert not one.changed and slider(one, "requests_a_month").needs == "label_price" and slider(one, "label_price").needs == ""
    both = what_if.ask(person, key, {"requests_a_month": len(STEPS["requests_a_month"]) - 1, "label_price": 0})
    assert both.changed and chosen(both) == 1 and not any(one.needs for one in both.sliders)


def test_a_slider_without_a_value_says_from_its_first_place_on_what_setting_it_changes(person: Who) -> None:
    key = compared(person, FEW, LORA, machine_hour=36.0, label_price=0.0)
    found = what_if.ask(person, key, {})
    volume = slider(found, "requests_a_month")
    assert chosen(found) == 0 and volume.value is None and (volume.flips[0].index, volume.flips[0].rung) == (0, "LoRA")
    assert chosen(what_if.ask(person, key, {"requests_a_month": 0})) == 1


@pytest.mark.parametrize("rungs", [[FEW, LORA], [{"technique": "zero_shot"}, {"technique": "one_shot"}]])
def test_without_a_price_of_the_machine_nothing_waits_for_another_slider(person: Who, rungs: list[dict[str, Any]]) -> None:
    found = what_if.ask(person, compared(person, *rungs), {"requests_a_month": 9})
    assert not found.priced and not found.changed and not any(one.needs for one in found.sliders)


def test_prompts_without_labels_need_no_price_of_one(person: Who) -> None:
    found = what_if.ask(person, compared(person, {"technique": "zero_shot"}, {"technique": "zero_shot", "answer": "generate"}, machine_hour=36.0), {})
    assert found.priced and [one.needs for one in found.sliders] == ["", "", ""]
