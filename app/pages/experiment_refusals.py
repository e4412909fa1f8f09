"""Where on the form of a new experiment an error is shown."""

from collections.abc import Mapping
from typing import Any

from app.errors import FettleError
from app.pages.experiment_wishes import WISHES

REFUSALS = {
    "no_rungs": "rungs", "no_such_split": "dataset", "no_label_set": "dataset", "too_few_shots": "shots", "unknown_variable": "prompt_version",
    "not_a_foundation_model": "model", "not_this_method": "rungs", "no_place_for_shots": "prompt_version", "no_such_selection": "selection",
    "too_many_cells": "shots", "no_validation": "dataset", "bad_budget": "curve", "bad_parameter": "rates",
    "not_weighed": "calibration", "not_one_calibration": "calibration", "nothing_written": "extractor", "no_such_metric": "metric",
}  # fmt: skip
"""The form's field at which an error of the service is shown."""
CALLED = {"learning_rate": "rates", "max_steps": "steps", "label_curve": "curve"}
"""What the form calls the fields that the service calls otherwise."""

ALWAYS = (
    "dataset", "model", "prompt_version", "metric", "baseline", "name", "fit", "margin", "rungs", "shots", "draws", "selection", "shape", "extractor",
    "beside", "prompts_also", "seeds", "steps", "rates", "curve", *WISHES,
)  # fmt: skip
"""Fields that are drawn whatever the answers are."""


def field_of(error: FettleError, values: Mapping[str, str], judged: Mapping[str, Any], *, signal: bool) -> str:
    """Where an error is shown: at its field, or above the form (empty) when that is not drawn, so that no reason is ever left out. `judged` is what
    `experiment_scheme.shown` says of the values; `signal`: there is a large model to choose."""
    first = str(error.detail.get("field") or REFUSALS.get(error.code, "")).partition(".")[0]
    name = CALLED.get(first, first)
    return name if name in ALWAYS or _drawn(values, judged, signal=signal).get(name) else ""


def _drawn(values: Mapping[str, str], judged: Mapping[str, Any], *, signal: bool) -> dict[str, bool]:
    """Whether the template draws what it does not always draw."""
    shape, extractor, written = judged.get("shape"), values.get("extractor"), not judged["by_likelihood"]
    return {
        "signal": signal,
        "calibration": not written,
        "constrained": written and shape in ("labels", "json"),
        "pattern": extractor == "regex",
        "json_field": extractor == "json_field",
        "tolerance": shape == "number" or bool(values.get("tolerance")),
        "fields": shape == "json" or bool(values.get("fields")),
        "checks": written or bool(values.get("checks")),
    }
