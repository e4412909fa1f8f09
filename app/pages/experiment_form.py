"""The form of a new experiment: what is ticked, the lists that make a rung a grid, what it would take, and what is refused where."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.experiment import CALIBRATIONS, PROMPT_RUNGS, QUICK_ROWS, TITLES, VALIDATION_ROWS
from app.domain.fitting import POLICIES
from app.domain.methods import METHODS
from app.domain.model import Model
from app.domain.shots import SELECTIONS
from app.domain.targets import MARGIN
from app.errors import FettleError, Invalid, NotFound
from app.pages import experiment_scheme
from app.pages.experiment_refusals import field_of
from app.pages.experiment_wishes import WISHES, targets
from app.pages.formatting import about, compact, money
from app.pages.forms import number, one_of, prompt_choices, whole
from app.services import datasets, forecast, models, prompts, quick_look
from app.services.largest import largest
from app.services.rungs import MOST_SHOTS

MOST_MARGIN = 50.0
USUAL = (*PROMPT_RUNGS, "lora")
"""Ticked before anybody chooses."""
USUAL_DRAWS = 3
EVERY = "every"
"""The choice of a select that stands for all its others: they are chosen among on validation rows."""


def listed(text: str, one: Callable[[str], Any]) -> Any:
    """What is typed with commas between: one value, or a list of several."""
    values = list(dict.fromkeys(one(part.strip()) for part in text.split(",") if part.strip()))
    return values[0] if len(values) == 1 else values


def ticked(values: Mapping[str, str]) -> set[str]:
    """The techniques that are ticked; before the form was drawn, the usual ones (a tuned model takes the place of tuning)."""
    names = (*PROMPT_RUNGS, *METHODS)
    if values.get("drawn"):
        return {name for name in names if values.get(name)}
    return {name for name in USUAL if name in PROMPT_RUNGS or not values.get("tuned")}


def rungs(values: Mapping[str, str], tuned: Model | None) -> list[dict[str, Any]]:
    """The rungs as the service takes them. Raises Invalid for a number or a list that cannot be."""
    found: list[dict[str, Any]] = [_rung(name, values) for name in (*PROMPT_RUNGS, *METHODS) if name in ticked(values)]
    if values.get("beside", "").strip():
        beside = listed(values["beside"], lambda text: whole(text, "beside", 1, MOST_SHOTS))
        found += [{**without_curve(rung), "shots": beside} for rung in found if rung["technique"] in METHODS]
        if tuned is not None:
            found.append({"technique": tuned.method, "model": tuned.id, "shots": beside, **_answering(values)})
    if (other := values.get("other", "")) and other != values.get("model"):  # the model may have been chosen after it
        found += [{**rung, "model": other} for rung in found if rung.get("model") is None]
    if values.get("signal"):
        shots = _shots(values)
        own = [0, *(shots if isinstance(shots, list) else [shots])] if "few_shot" in ticked(values) else 0
        wordings = {"prompt_version": [values.get("prompt_version") or None, *also]} if (also := _also(values)) else {}
        found.append({"technique": "few_shot", "model": values["signal"], "shots": own, **wordings})
    return found if tuned is None else [*found, {"technique": tuned.method, "model": tuned.id, **_answering(values)}]


def without_curve(rung: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rung.items() if name != "label_curve"}


def _shots(values: Mapping[str, str]) -> Any:
    return listed(values.get("shots") or str(PROMPT_RUNGS["few_shot"]), lambda text: whole(text, "shots", 2, MOST_SHOTS))


def _also(values: Mapping[str, str]) -> list[str]:
    return [part.strip() for part in values.get("prompts_also", "").split(",") if part.strip()]


def places(wanted: Sequence[Mapping[str, Any]], tuned: Model | None) -> dict[str, int]:
    """The rungs that the others may be compared with, by what is ticked for them: which of the rungs asked for each is. Neither the signal nor shots beside
    a tuned rung are among them."""
    found: dict[str, int] = {}
    for at, rung in enumerate(wanted):
        if "model" not in rung:
            found.setdefault(rung["technique"], at)
    return found | ({"tuned": len(wanted) - 1} if tuned else {})


def _baseline(values: Mapping[str, str], known: Mapping[str, int]) -> int | None:
    chosen = values.get("baseline", "")
    if chosen and chosen not in known:
        message = "The rung that the others are to be compared with is not ticked."
        raise Invalid("no_such_baseline", message, "Tick it, or choose another one.", detail={"field": "baseline"})
    return known.get(chosen)


def _rung(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    rung: dict[str, Any] = {"technique": name}
    seeds = _seeds(values, "draws" if name in PROMPT_RUNGS else "seeds", USUAL_DRAWS if name in PROMPT_RUNGS else 1)
    if also := _also(values):
        rung["prompt_version"] = [values.get("prompt_version") or None, *also]
    rung |= _answering(values)
    if name in PROMPT_RUNGS:
        if PROMPT_RUNGS[name]:
            rung["seeds"] = seeds
        if name == "few_shot":
            rung["shots"] = _shots(values)
            if selection := values.get("selection"):
                rung["selection"] = [one for one in SELECTIONS if one != "nearest"] if selection == EVERY else selection
        return rung
    rung["seeds"] = seeds
    parameters: dict[str, Any] = {}
    if values.get("rates"):
        parameters["learning_rate"] = listed(values["rates"], lambda text: number(text, "rates", 1e-9, 1.0))
    if values.get("steps"):
        parameters["max_steps"] = whole(values["steps"], "steps", 1, 1_000_000)
    if values.get("curve"):
        curve = listed(values["curve"], lambda text: whole(text, "curve", 2, 10_000_000))
        rung["label_curve"] = sorted(curve) if isinstance(curve, list) else [curve]
    return {**rung, **({"parameters": parameters} if parameters else {})}


def _answering(values: Mapping[str, str]) -> dict[str, Any]:
    """How answers are held to their form and their likelihoods weighed: the same for every rung but the signal, whose endpoint may have neither."""
    found: dict[str, Any] = {}
    if constrained := values.get("constrained"):
        found["constrained"] = [False, True] if constrained == EVERY else True
    if calibration := values.get("calibration"):
        found["calibration"] = list(CALIBRATIONS) if calibration == EVERY else calibration
    return found


def _seeds(values: Mapping[str, str], field: str, usual: int) -> list[int]:
    return list(range(whole(values.get(field) or str(usual), field, 1, 20)))


def tuned_model(person: Who, key: str) -> Model | None:
    """A tuned model that shall take part as it is."""
    if not key:
        return None
    model = models.find(person, key).model
    if model.kind != "tuned":
        raise NotFound("tuned model", key)
    return model


def asked(person: Who, values: Mapping[str, str]) -> dict[str, Any]:
    """What the form asks `experiments.create` for. Raises Invalid naming the field."""
    quick = values.get("look") == "quick"
    by_likelihood = experiment_scheme.shown(person, values.get("dataset", ""), values)["by_likelihood"]
    values = {**values, _PASSED_OVER[by_likelihood]: ""}
    for reference in _also(values):
        try:
            prompts.find(person, reference)
        except NotFound:
            advice = "Write prompt versions as 3@2, with commas between."
            raise Invalid("no_such_prompt", f"There is no prompt {reference}.", advice, detail={"field": "prompts_also"}) from None
    tuned = tuned_model(person, values.get("tuned", ""))
    wanted = rungs({**values, "drawn": "yes"}, tuned)
    return {
        "name": values.get("name", ""),
        "dataset": values.get("dataset", ""),
        "model": values.get("model", ""),
        "rungs": wanted,
        "prompt_version": values.get("prompt_version") or None,
        "fit": one_of(values.get("fit") or "refuse", "fit", POLICIES),
        "margin": number(values.get("margin") or f"{100 * MARGIN:g}", "margin", 0, MOST_MARGIN) / 100,
        "targets": targets(values),
        "quick_look": quick,
        "scheme": experiment_scheme.scheme(values),
        "baseline": _baseline(values, places(wanted, tuned)),
    }


def context(person: Who, values: Mapping[str, str], error: FettleError | None) -> dict[str, Any]:
    """What the form is drawn from. Its state is its address: what changes is drawn again by the server."""
    views = [view for view in datasets.recent(person)[0] if view.version.splits.get("test")]
    chosen = next((view for view in views if values.get("dataset") in (str(view.dataset.id), view.version.reference)), views[0] if views else None)
    tuned, large, foundation = tuned_model(person, values.get("tuned", "")), largest(person), models.foundation(person)
    if large is not None and not values.get("drawn"):
        values = {"signal": str(large.id), **values}
    judged = experiment_scheme.shown(person, chosen.version.reference, values) if chosen else {"by_likelihood": True}
    values = {**values, _PASSED_OVER[judged["by_likelihood"]]: ""}
    model = values.get("model") or (str(foundation[0].id) if foundation else "")
    unfit = _unfit(person, chosen.version.reference, model, values) if chosen and model else {}
    try:
        wanted = rungs(values := _unticked(values, unfit), tuned)
    except Invalid as problem:
        error, wanted = error or problem, []
    refused = {} if error is None else {field_of(error, values, judged, signal=large is not None): f"{error.message} {error.advice}"}
    found: dict[str, Any] = {
        **judged,
        "values": values,
        "datasets": views,
        "dataset": chosen,
        "looked": datasets.looked_at(chosen.version) if chosen else {},
        "models": foundation,
        "model": model,
        "large": models.remote(person) if large else [],
        "prompts": prompt_choices(person, values.get("prompt_version", "")),
        "usual_shots": PROMPT_RUNGS["few_shot"],
        "usual_draws": USUAL_DRAWS,
        "methods": METHODS,
        "ticked": ticked(values),
        "tuned": tuned,
        "rungs": wanted,
        "baselines": [(name, tuned.name if tuned and name == "tuned" else _TITLES[name]) for name in places(wanted, tuned)],
        "tuning": _steps(chosen.version, wanted) if chosen else [],
        "error": error.as_dict() if error else None,
        "policies": POLICIES,
        "margin": f"{100 * MARGIN:g}",
        "wishes": WISHES,
        "selections": [(name, f"{name}: {words}") for name, words in SELECTIONS.items() if name != "nearest"],
        "calibrations": CALIBRATIONS,
        "every": EVERY,
        "most_drawn": max((_most(rung) for rung in wanted if rung["technique"] in PROMPT_RUNGS and "model" not in rung), default=None),
        "refused": refused,
        "wished": any(values.get(name) or name in refused for name in WISHES),
        "judged": any(values.get(name, "auto") not in ("", "auto") or name in refused for name in experiment_scheme.FIELDS if name != "metric"),
        "grids": any(values.get(name) or name in refused for name in GRID_FIELDS),
        "unfit": unfit,
    }
    takes = _takes(person, chosen.version.reference, model, wanted, values) if chosen and model and wanted else NOTHING_SAID
    return {**found, **takes}


_TITLES = TITLES | {name: method.title for name, method in METHODS.items()}

_PASSED_OVER = {True: "constrained", False: "calibration"}
"""What says nothing of answers by likelihood, and of answers that are written: its field is not shown, and what an earlier choice left in it goes."""

GRID_FIELDS = ("other", "calibration", "constrained", "beside", "prompts_also", "seeds", "steps", "rates", "curve")


def _most(rung: Mapping[str, Any]) -> int:
    shots = rung.get("shots", PROMPT_RUNGS[rung["technique"]])
    return max(shots) if isinstance(shots, list) else int(shots)


def _steps(version: DatasetVersion, wanted: list[dict[str, Any]]) -> list[int]:
    """Optimiser steps of each rung that is tuned, by its first setting."""
    own = [rung for rung in wanted if rung["technique"] in METHODS and "model" not in rung and "shots" not in rung]
    return [quick_look.steps_of(rung, version.splits.get("train", 0)) for rung in own]


def _unfit(person: Who, dataset: str, model: str, values: Mapping[str, str]) -> dict[str, str]:
    """Why a method does not fit this machine, with the prompt and what happens to rows that are too long as they are chosen."""
    asked = {"fit": values.get("fit") or "refuse"}
    return forecast.refusals(person, dataset=dataset, model=model, prompt_version=values.get("prompt_version") or None, parameters=asked)


def _unticked(values: Mapping[str, str], unfit: Collection[str]) -> Mapping[str, str]:
    """The form without the ticks of what cannot run here."""
    kept = ticked(values) - set(unfit)
    return {**values, "drawn": "yes", **{name: "on" if name in kept else "" for name in (*PROMPT_RUNGS, *METHODS)}} if unfit else values


NOTHING_SAID: Mapping[str, Any] = {"quick": "", "full": "", "takes": "", "cut": "", "scored": 0}


def _takes(person: Who, dataset: str, model: str, wanted: list[dict[str, Any]], values: Mapping[str, str]) -> Mapping[str, Any]:
    """How long each of the two buttons would take, how often the full run scores the test rows, and what else it takes, in words; nothing where the form
    is not complete."""
    try:
        hour = targets(values).machine_hour
        where: dict[str, Any] = {"dataset": dataset, "model": model, "prompt_version": values.get("prompt_version") or None}
        short = quick_look.capped(person, wanted, **where)
        quick = forecast.experiment(person, **where, rungs=short, validation_rows=QUICK_ROWS, machine_hour=hour, tested=False)
        full = forecast.experiment(person, **where, rungs=wanted, validation_rows=VALIDATION_ROWS, machine_hour=hour)
    except FettleError:
        return NOTHING_SAID
    price = "" if full.dollars == 0 else "; the endpoint\u2019s price is not known" if full.dollars is None else f", {money(full.dollars)}"
    basis = "measured on earlier jobs here" if full.measured else "rough: some of it was never measured here"
    takes = f"{full.jobs:,} jobs, about {compact(full.tokens)} tokens{price}. The times are {basis}."
    steps = next((rung["capped"] for rung in short if "capped" in rung), None)
    once = any(len(one.get("seeds", ())) < len(asked.get("seeds", ())) for one, asked in zip(short, wanted, strict=True))
    said = [*(["draws shots once"] if once else []), *([f"cuts tuning to {steps:,} steps"] if steps else [])]
    cut = f"{', ' if len(said) > 1 else ' and ' if said else ''}{' and '.join(said)}"
    return {"quick": about(quick.seconds), "full": about(full.seconds), "takes": takes, "cut": cut, "scored": full.scored}
