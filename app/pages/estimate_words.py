"""What a tuning job would take, in sentences. Pure."""

from app.domain.dataset import DatasetVersion
from app.domain.methods.base import MethodParameters, in_words
from app.pages.formatting import compact, count, percent, size
from app.services.estimates import Estimate


def run(parameters: MethodParameters, version: DatasetVersion) -> str:
    """How long the run will be, in steps: time is not known before the first ones are measured."""
    rows, held_out = version.splits.get("train", 0), version.splits.get("validation", 0)
    steps = parameters.total_steps(rows)
    passes = steps * parameters.batch_size / rows if parameters.max_steps else parameters.epochs
    sentence = f"{steps:,} {'step' if steps == 1 else 'steps'}: {rows:,} train rows, {parameters.batch_size} a step, {_passes(passes)}."
    scored = f" The {held_out:,} validation rows are scored {parameters.evaluations} {'time' if parameters.evaluations == 1 else 'times'} on the way."
    return sentence + (scored if held_out else " There is no validation split to watch.")


def _passes(passes: float) -> str:
    return f"{passes:.2f}".rstrip("0").rstrip(".") + (" pass" if passes == 1 else " passes")


def cost(found: Estimate) -> str:
    """Trained parameters and memory, of a search those of its largest trial.

    "Trains 4,884,480 of 134,515,008 parameters (3.6 %). Needs about 2.1 GB; the worker has 23 GB."
    """
    if found.trainable is None or found.total is None:
        return f"The model's files cannot be read from here, so what it trains and needs is not known before the start. {_room(found)}"
    trained = count(found.trainable) if found.exact else f"about {compact(found.trainable)}"
    share = found.trainable / found.total
    part = "all" if share == 1 else percent(share, 1 if share >= 0.0005 else 4)
    who = "Trains" if found.trials == 1 else "The largest trial trains"
    return f"{who} {trained} of {count(found.total)} parameters ({part}). Needs about {size(found.memory_bytes)}; {_room(found, start=False)}"


def _room(found: Estimate, *, start: bool = True) -> str:
    said = f"the worker has {size(found.device_bytes)} on {found.device}." if found.device else "no worker answers, so whether that fits is not known."
    if not found.device and start:
        said = "no worker answers: run `fettle worker`."
    return said[0].upper() + said[1:] if start else said


def warning(found: Estimate) -> str:
    """What would not fit, and the change that would; empty when it fits or nobody knows."""
    if found.fits is not False:
        return ""
    too_much = f"This may be more than the {size(found.device_bytes)} of {found.device}: a run can take half as much again as is estimated."
    if found.suggestion is None:
        return f"{too_much} No smaller step fits either: choose a smaller model or another method."
    return f"{too_much} With {in_words(found.suggestion)} it would fit."
