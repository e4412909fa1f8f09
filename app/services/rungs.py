"""A rung as a person asks for it, and the cells that makes: each combination of its lists, under each of its seeds, fixed at acceptance."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from sqlalchemy.orm import Session

from app.domain import climbing, label_budget
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.endpoint import check_answer
from app.domain.experiment import BELOW, CALIBRATIONS, LINEAR, PROMPT_RUNGS, TECHNIQUES, Cell, Experiment, Rung
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.rendering import Shot, Template, check
from app.domain.scheme import Scheme
from app.domain.shots import SELECTIONS, Candidate, Fixed, draw
from app.errors import Invalid
from app.services import yardstick
from app.services.evaluations import check_calibrated, check_scheme, usable

LISTS = ("prompt_version", "shots", "selection", "calibration", "constrained")
"""What a rung may have several of: each combination is a cell of its grid. Tuning parameters may be lists too."""

TRAINING = ("parameters", "label_budget", "label_curve")
"""What only a rung can have that is tuned."""

MOST_SHOTS = 64
"""What can be asked for; a prompt may bring more of its own."""
MOST_CELLS = 64
MOST_SEEDS = 20

Wanted = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where rungs are added: the experiment, and what they share unless they say otherwise."""

    session: Session
    person: Who
    experiment: Experiment
    version: DatasetVersion
    base: Model
    prompt: PromptVersion

    @property
    def scheme(self) -> Scheme:
        return Scheme.model_validate(self.experiment.scheme)


def technique_of(wanted: Mapping[str, Any]) -> str:
    """Raises Invalid for one that there is not."""
    technique = str(wanted.get("technique", ""))
    if technique not in TECHNIQUES:
        raise Invalid("unknown_technique", f"There is no technique {technique!r}.", f"Choose from: {', '.join(TECHNIQUES)}.")
    return technique


def combinations(wanted: Wanted) -> list[Wanted]:
    """A rung's lists multiplied out: the same rung with one value for each. Raises Invalid for too many of them."""
    lists = {name: _distinct(wanted[name]) for name in LISTS if isinstance(wanted.get(name), list)}
    parameters = {name: _distinct(value) for name, value in (wanted.get("parameters") or {}).items() if isinstance(value, list)}
    empty = next((name for name, values in {**lists, **parameters}.items() if not values), None)
    if empty is not None:
        raise Invalid("empty_list", f"The list {empty} is empty.", "Give one value or more, or leave it out.", detail={"field": empty})
    count = prod(len(values) for values in (*lists.values(), *parameters.values()))
    if count > MOST_CELLS:
        raise Invalid("too_many_cells", f"These lists make {count:,} combinations.", f"A rung has at most {MOST_CELLS}: shorten a list.")
    found = []
    for chosen in product(*lists.values(), *parameters.values()):
        one = dict(zip([*lists, *parameters], chosen, strict=True))
        own = {name: one[name] for name in lists}
        found.append({**wanted, **own, "parameters": {**(wanted.get("parameters") or {}), **{name: one[name] for name in parameters}}})
    return found


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once. True is not 1; a list or an object, which no setting is, is left to whoever reads the setting."""
    return list({(isinstance(value, bool), value if isinstance(value, Hashable) else repr(value)): value for value in values}.values())


def add(place: Place, position: int, wanted: Wanted, *, baseline: bool) -> Rung:
    """A rung with its cells; the jobs of those that begin now are queued. `baseline`: the others are compared with it. Raises Invalid for what it cannot
    have."""
    technique, version = technique_of(wanted), place.version
    seeds = list(dict.fromkeys(int(seed) for seed in wanted.get("seeds") or [0]))
    if len(seeds) > MOST_SEEDS:
        raise Invalid("too_many_seeds", f"{len(seeds)} seeds were asked for.", f"A rung has at most {MOST_SEEDS}.", detail={"field": "seeds"})
    model = models.find(place.session, place.person, wanted["model"]) if wanted.get("model") is not None else place.base
    if technique in METHODS and model.prompt_version_id:
        place = replace(place, prompt=place.session.get_one(PromptVersion, model.prompt_version_id))  # what a tuned model that is there was tuned through
    settings = _shared(place, technique, wanted, model) | ({"baseline": True} if baseline else {})
    grid = combinations(wanted)
    if len(grid) > 1 and not version.splits.get("validation"):
        raise Invalid("no_validation", "A rung with lists is chosen on validation rows, and there are none.", "Give one value for each, or a validation split.")
    rung = Rung(experiment_id=place.experiment.id, position=position, technique=technique, settings={**settings, "seeds": seeds}, chosen=None)
    place.session.add(rung)
    place.session.flush()
    # A draw of shots costs one scoring, a tuning run its training: of several settings only the first seed is tuned before one is chosen.
    first = seeds[:1] if rung.trains and len(grid) > 1 else seeds
    make, made = (_tuned if rung.trains else _prompted), list[Cell]()
    for number, one in enumerate(grid):
        for seed in first:
            cell = make(place, rung, model, one, seed)
            cell.number = number
            place.session.add(cell)
            made.append(cell)
            if not (rung.trains or (cell.settings.get("drawn") and cell.settings["shots"])):
                break  # nothing is drawn or trained, so every seed would be the same
    if wanted.get("selection") and not any(cell.settings.get("shots") for cell in made):
        message = "A selection says how shots are drawn, and this rung has none."
        raise Invalid("no_shots_to_draw", message, "Say how many shots, or leave the selection out.", detail={"field": "selection"})
    rung.chosen = 0 if len(grid) == 1 else None
    place.session.flush()
    for cell in made:
        climbing.begin(place.session, place.person, place.experiment, rung, cell)
    return rung


def add_linear(place: Place, curve: list[int]) -> Rung | None:
    """The linear baseline, where there are labels to learn."""
    if len(place.version.label_texts()) < 2 or not place.version.splits.get("train") or place.scheme.shape not in ("auto", "labels"):
        return None
    settings = {"answer": LINEAR, "seeds": [0], "fit": "refuse", "curve": curve}
    rung = Rung(experiment_id=place.experiment.id, position=BELOW, technique=LINEAR, settings=settings, chosen=0)
    place.session.add(rung)
    place.session.flush()
    cell = Cell(rung_id=rung.id, number=0, seed=0, settings={}, prompt_version_id=place.prompt.id, model_id=place.base.id)
    place.session.add(cell)
    place.session.flush()
    climbing.begin(place.session, place.person, place.experiment, rung, cell)
    return rung


def _shared(place: Place, technique: str, wanted: Wanted, model: Model) -> Wanted:
    """What all cells of a rung share, which begin with this model. `wanted` is kept with its references fixed, to be asked for again."""
    version, session = place.version, place.session
    asked = wanted.get("answer")
    answer = asked or yardstick.answer_of(version, place.scheme)
    usable(version, "test", answer)
    curve = sorted(set(wanted.get("label_curve") or []))
    budgets = [*curve, *([wanted["label_budget"]] if wanted.get("label_budget") else [])]
    label_budget.check(version, budgets)
    if curve and technique not in METHODS:
        message = "A label curve is for rungs that are tuned: a prompt reads no more labels than its shots."
        raise Invalid("no_curve", message, "Give several numbers of shots instead.", detail={"field": "label_curve"})
    if curve and wanted.get("shots"):
        message = "A label curve is tuned with fewer rows than the shots are drawn from, so a rung with shots has none."
        raise Invalid("no_curve", message, "Leave the shots out, or the curve.", detail={"field": "label_curve"})
    settings: Wanted = {"fit": wanted["fit"], "curve": curve}
    if wanted.get("model") is not None:
        if technique in METHODS and (field := next((name for name in TRAINING if wanted.get(name)), None)):
            message = f"{model.name} is there already, so it is only scored: {field} is for rungs that are tuned."
            raise Invalid("only_scored", message, f"Leave {field} out, or leave the model out to tune one.", detail={"field": field})
        if technique in METHODS and model.method != technique:
            message = f"{model.name} was not tuned by {technique}."
            raise Invalid("not_this_method", message, "Choose a model of that method, or leave the model out to tune one.")
        try:
            check_answer(session, model, answer, version.label_texts(), place.prompt.mode)
        except Invalid:
            if asked:
                raise
            answer = "generate"
        settings["model"] = model.id
        if technique in PROMPT_RUNGS and model.id != place.base.id:
            settings |= {"named": model.shown, "signal": model.remote}
    references = {"prompt_version": _references(place, wanted.get("prompt_version"))}
    kept = {name: value for name, value in {"seeds": [0], **wanted, **references}.items() if value not in (None, {}, []) and name != "capped"}
    if "capped" in wanted:
        settings["capped"] = wanted["capped"]
    return {**settings, "answer": answer, "wanted": kept}


def _references(place: Place, given: Any) -> Any:
    """Prompt versions as ID@N, so that the same request is the same rung later."""
    if isinstance(given, list):
        return [_references(place, one) for one in given]
    return prompts.find(place.session, place.person, given).reference if given is not None else place.prompt.reference


def wordings(place: Place, wanted: Sequence[Wanted]) -> list[str]:
    """The prompt versions of all rungs, the experiment's own first, as ID@N."""
    given = (_references(place, rung.get("prompt_version")) for rung in wanted)
    return list(dict.fromkeys([place.prompt.reference, *(one for some in given for one in (some if isinstance(some, list) else [some]))]))


def _prompt_of(place: Place, wanted: Wanted) -> PromptVersion:
    own = prompts.find(place.session, place.person, wanted["prompt_version"]) if wanted.get("prompt_version") else place.prompt
    check(own.template(), place.version.variables)
    return own


def _weighing(place: Place, answer: str, wanted: Wanted, template: Template, *, remote: bool) -> Wanted:
    """A cell's own way of weighing likelihoods, where it is not the experiment's. Raises Invalid for one that it cannot have."""
    asked = wanted.get("calibration")
    if asked is not None and (asked not in CALIBRATIONS or (asked != "raw" and answer != "likelihood")):
        known = ", ".join(CALIBRATIONS)
        message = f"Answers cannot be weighed as {asked!r}." if asked not in CALIBRATIONS else "Only likelihoods can be calibrated."
        raise Invalid("no_such_calibration", message, f"Choose from: {known}, with answer = likelihood.", detail={"field": "calibration"})
    scheme = place.scheme if asked is None else place.scheme.model_copy(update={"scoring": asked})
    check_scheme(scheme, answer, remote=remote)
    check_calibrated(place.version, scheme, answer, template)
    return {} if scheme.scoring == place.scheme.scoring else {"calibration": scheme.scoring}


def _tuned(place: Place, rung: Rung, model: Model, wanted: Wanted, seed: int) -> Cell:
    """A cell that is tuned."""
    own = _prompt_of(place, wanted)
    parameters = parse(METHODS, rung.technique, {"fit": rung.settings["fit"], **(wanted.get("parameters") or {})})
    parameters.check_model(place.base.encoder_decoder)
    place.version.measure(parameters.validate_by)
    weighing = _weighing(place, rung.settings["answer"], wanted, own.template(), remote=False)
    bare = prompts.derive(place.session, place.person, own, [], f"{place.experiment.name}: without shots")
    settings: Wanted = {"parameters": parameters.model_dump(), "prompt_version": own.reference, "through": bare.id, **weighing}
    if wanted.get("label_budget"):
        settings["label_budget"] = wanted["label_budget"]
    count = int(wanted.get("shots") or 0)
    selection = _selection(own, count, wanted.get("selection"))
    constraint = yardstick.constraint(place.session, place.version, place.scheme, rung.settings["answer"]) if wanted.get("constrained") else None
    if count or constraint:
        shots = _drawn(place, count, seed, selection, settings.get("label_budget"))
        shown = prompts.derive(place.session, place.person, own, shots, f"{place.experiment.name}: {count} {'shot' if count == 1 else 'shots'}")
        settings |= {"shown": shown.id, "shots": count, **({"selection": selection} if count else {}), **({"constraint": constraint} if constraint else {})}
    return Cell(rung_id=rung.id, seed=seed, settings=settings, prompt_version_id=bare.id, model_id=model.id)


def _prompted(place: Place, rung: Rung, model: Model, wanted: Wanted, seed: int) -> Cell:
    """A cell that is a prompt with its shots: asked of the experiment's model, or of one that is there and was tuned before."""
    own = _prompt_of(place, wanted)
    fallback = len(own.shots) if rung.tunes or (rung.technique == "few_shot" and len(own.shots) > 1) else PROMPT_RUNGS[rung.technique]
    count = fallback if wanted.get("shots") is None else int(wanted["shots"])
    selection = _selection(own, count, wanted.get("selection"))
    drawn = count != len(own.shots) or bool(count and wanted.get("selection"))
    settings: Wanted = {"shots": count, "drawn": drawn, "prompt_version": own.reference, **({"selection": selection} if drawn and count else {})}
    settings |= _weighing(place, rung.settings["answer"], wanted, own.template(), remote=model.remote)
    if rung.tunes:
        settings["parameters"] = model.method_parameters
    if wanted.get("label_budget"):
        settings["label_budget"] = wanted["label_budget"]
    if wanted.get("constrained"):
        settings["constraint"] = yardstick.constraint(place.session, place.version, place.scheme, rung.settings["answer"])
    shots = _drawn(place, count, seed, selection, settings.get("label_budget")) if drawn else list(own.template().shots)
    name = f"{place.experiment.name}: {count} {'shot' if count == 1 else 'shots'}"
    prompt = prompts.derive(place.session, place.person, own, shots, name, settings.get("constraint"))
    check_answer(place.session, model, rung.settings["answer"], place.version.label_texts(), prompt.mode)
    return Cell(rung_id=rung.id, seed=seed, settings=settings, prompt_version_id=prompt.id, model_id=model.id)


def _selection(prompt: PromptVersion, shots: int, wanted: str | None) -> Fixed:
    """How a rung's shots are drawn where they are not the prompt's own. Raises Invalid for what a rung cannot have."""
    if shots and prompt.mode != "structured":
        raise Invalid(
            "no_place_for_shots",
            f"This is a {prompt.mode} prompt: its examples stand in its own text, so none can be put in.",
            "Compare it zero-shot, or choose a structured prompt.",
        )
    if wanted is not None and (wanted == "nearest" or wanted not in SELECTIONS):
        raise Invalid(
            "no_such_selection",
            "A rung is a prompt that is served as it was scored, so it has the same shots for every row: they cannot be the nearest to each."
            if wanted == "nearest"
            else f"There is no way of drawing shots called {wanted!r}.",
            "Choose random, balanced or diverse.",
        )
    return wanted or "balanced"  # type: ignore[return-value]  # one of the three


def _drawn(place: Place, count: int, seed: int, selection: Fixed, budget: int | None) -> list[Shot]:
    """A seeded draw from the train rows within the rung's label budget."""
    rows = label_budget.train_rows(place.session, place.version, budget, seed) if count else []
    found = draw((Candidate(row.position, row.input, row.answer) for row in rows), count, seed, selection)
    return [Shot(row.input, row.output) for row in found]
