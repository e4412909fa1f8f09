"""What rungs ran with, nothing left to a default: said in a report, and asked for again by its JSON.

A default may be another one in the next release, and a rung that was left to it would then be another rung.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.experiment import PROMPT_RUNGS
from app.domain.methods.soft import MOST_TOKENS
from app.services.ladders import CellRow, RungRow
from app.services.rungs import LISTS, MOST_SHOTS

Settings = dict[str, Any]


def settings_of(row: RungRow, one: CellRow) -> Settings:
    """What one cell of a rung ran with, by the names that a rung is asked with."""
    rung, own = row.rung, one.cell.settings
    wanted = rung.settings.get("wanted") or {}
    found: Settings = {name: rung.settings[name] for name in ("answer", "fit") if name in rung.settings}
    if not (rung.tunes or rung.technique in PROMPT_RUNGS):  # the linear baseline
        return found | {"prompt_version": one.prompt.reference, "parameters": {}}
    # Cells made before they kept it: of a tuned model that was there the prompt is its own, and how shots were drawn stands in what was asked for alone.
    shots = int(own.get("shots", 0 if rung.trains else len(one.prompt.shots)))
    found |= {"prompt_version": own.get("prompt_version") or one.prompt.reference, "shots": shots}
    if shots:  # those of a prompt itself are not drawn
        found["selection"] = (own.get("selection") or wanted.get("selection") or "balanced") if own.get("drawn", rung.trains) else None
    found |= {"constrained": bool(own.get("constraint")), **({"label_budget": own["label_budget"]} if own.get("label_budget") else {})}
    found |= {"calibration": own["calibration"]} if own.get("calibration") else {}  # else that of the comparison's scheme
    return found | ({"parameters": {**(own.get("parameters") or {}), **(_found_out(row, one) if rung.trains else {})}} if rung.tunes else {})


def request_of(row: RungRow) -> Settings:
    """The rung as it can be asked for again: a list is a list, and everything else what all of its cells ran with. What is more than can be asked for, the
    many shots or the long text of a prompt, follows from the prompt and is left to it."""
    rung, wanted = row.rung, row.rung.settings.get("wanted") or {}
    each = [settings_of(row, one) for one in row.cells]
    tuning = [one.pop("parameters", {}) for one in each]
    found: Settings = {"technique": rung.technique, "seeds": rung.seeds, **_common(wanted, each)}
    found |= {name: wanted[name] for name in LISTS if isinstance(wanted.get(name), list)}
    if _above(found.get("shots"), MOST_SHOTS):
        del found["shots"]
    if model := rung.settings.get("model"):
        found["model"] = model
    if rung.trains:
        parameters = _common(wanted.get("parameters") or {}, tuning)
        found["parameters"] = parameters | ({"virtual_tokens": None} if _above(parameters.get("virtual_tokens"), MOST_TOKENS) else {})
    return found | ({"label_curve": rung.settings["curve"]} if rung.settings.get("curve") else {})


def _above(value: Any, most: int) -> bool:
    return isinstance(value, int) and value > most


def _found_out(row: RungRow, one: CellRow) -> Settings:
    """Parameters that were left to the model, known once something was tuned. A rate follows from the model's width, so all cells have what one of them
    had; the length of a soft prompt follows from the text that its own cell starts from."""
    left = {name for name, value in one.cell.settings.get("parameters", {}).items() if value is None}
    results = [cell.tune_job.result or {} for cell in (one, *row.cells) if cell.tune_job]
    found = {
        "learning_rate": next((result["learning_rate"] for result in results if result.get("learning_rate")), None),
        "virtual_tokens": ((one.tune_job.result if one.tune_job else None) or {}).get("virtual_tokens"),
    }
    return {name: value for name, value in found.items() if value and name in left}


def _common(asked: Mapping[str, Any], each: Sequence[Settings]) -> Settings:
    """The lists that were asked for, in their order, by which cells are numbered; of everything else the one value there is. What differs without a list,
    such as the shots of several wordings that bring their own, cannot be said for all, and stays as it was asked."""
    known = dict.fromkeys(name for one in each for name in one)
    found: Settings = {}
    for name in dict.fromkeys([*(name for name in asked if name in known), *known]):
        values = [one[name] for one in each if name in one]
        if isinstance(asked.get(name), list) or any(value != values[0] for value in values):
            found |= {name: asked[name]} if name in asked else {}
        else:
            found[name] = values[0]
    return found
