"""The Lab: a prompt beside the answer of one model. What its editor asks for is in editor.py; generation itself goes through /api/v1/generate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from app.domain.access import Who
from app.domain.fitting import POLICIES
from app.domain.generation import Parameters
from app.domain.shots import SELECTIONS
from app.doors import Person
from app.pages.formatting import number
from app.pages.render import fragment, page
from app.services import datasets, endpoints, gallery, lab, models, prompts
from app.services.datasets import DatasetView
from app.services.lab import Opened
from app.services.models import Lineage
from app.services.opening import opening
from app.services.readiness import engine
from app.settings import settings

router = APIRouter(prefix="/lab")

ORDER = (
    "temperature", "top_p", "top_k", "max_tokens", "min_tokens", "repetition_penalty", "frequency_penalty", "presence_penalty", "stop", "seed", "n", "logprobs",
    "choices", "regex", "json_schema",
)  # fmt: skip
TITLES = {
    "top_p": "Top-p",
    "top_k": "Top-k",
    "stop": "Stop sequences",
    "n": "Answers",
    "logprobs": "Token probabilities",
    "choices": "One of these texts",
    "regex": "Regular expression",
    "json_schema": "JSON schema",
}
KINDS = {"list": "list", "dict": "json", "str": "text", "float": "number"}
"""How a parameter is typed in, by a word of its type; whole numbers are the rest."""

ROW_SPLITS = ("validation", "train")
"""Splits whose rows may be tried one by one: never the test split."""

UNBOUNDED = 2**31
"""A limit above this is no range that a person reads."""


_ESCAPES = str.maketrans({"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"})
_NOTHING = "[]"


def listed(texts: Sequence[str]) -> str:
    """A list as it stands in a text field, one text a line; static/js/lab-parameters.js reads it back. Without any text it is not the same as none given."""
    if not texts:
        return _NOTHING
    return f"\\{_NOTHING}" if list(texts) == [_NOTHING] else "\n".join(text.translate(_ESCAPES) for text in texts)


@dataclass(frozen=True)
class Setting:
    """One generation parameter as the drawer shows it: what `Parameters` says about it, and the value of the opened prompt."""

    name: str
    title: str
    help: str
    kind: str
    low: float | None
    high: float | None
    default: float | None
    value: Any

    @property
    def text(self) -> str:
        """The value as it stands in a text field."""
        if self.value in (None, {}, ""):
            return ""
        if self.kind == "list":
            return listed(self.value)
        return json.dumps(self.value, indent=2, ensure_ascii=False) if self.kind == "json" else str(self.value)

    @property
    def range(self) -> str:
        if self.kind in ("text", "json"):
            return ""
        if self.kind == "list":
            return "One a line; \\n is a line end, \\t a tab, \\\\ a backslash; [] alone is none at all."
        if self.high is None:
            return f"{_plain(self.low)} or more."
        return f"{'Above ' if self.name == 'top_p' else ''}{_plain(self.low)} to {_plain(self.high)}; {_plain(self.default)} unless set."


def _plain(value: float | None) -> str:
    return number(value) if value is None else f"{value:,g}"


def settings_of(values: dict[str, Any]) -> list[Setting]:
    """The drawer's fields, from the one declaration that the API checks too."""
    found = []
    for name in ORDER:
        field = Parameters.model_fields[name]
        low = next((float(mark.ge if isinstance(mark, Ge) else mark.gt) for mark in field.metadata if isinstance(mark, Ge | Gt)), None)  # type: ignore[arg-type]
        high = next((float(mark.le) for mark in field.metadata if isinstance(mark, Le)), None)  # type: ignore[arg-type]
        kind = next((kind for word, kind in KINDS.items() if word in str(field.annotation)), "whole")
        title = TITLES.get(name) or name.replace("_", " ").capitalize()
        limit = high if high is not None and high < UNBOUNDED else None
        found.append(Setting(name, title, field.description or "", kind, low, limit, field.default, values.get(name)))
    return found


@router.get("")
def show(
    request: Request,
    person: Person,
    prompt: str | None = None,
    dataset: str | None = None,
    model: str | None = None,
    start: str | None = None,
    run: int | None = None,
    sample: str | None = None,
    new: bool = False,
) -> HTMLResponse:
    """The Lab. `prompt` opens a saved one, `run` one of the notebook, `sample` one of the gallery, `start` makes a first one for a dataset, `new` an empty
    one; without them the draft stands that was changed last."""
    found = opening(person, prompt=prompt, run=run, sample=sample, start=start)
    opened, model = found.opened, model or found.model
    chosen = models.find(person, model).model if model else None
    views, _ = datasets.recent(person)
    made = models.lineages(person)
    refusing = endpoints.refusing(person)
    given = {
        "prompt": _named(opened),
        "explicit": found.explicit or new,
        "variables": found.variables,
        "ticket": found.ticket,
        "weighed": found.weighed,
        "model": chosen.id if chosen else None,
        "dataset": datasets.find(person, dataset or start or "").version.reference if dataset or start else None,
        "engine": engine(),
        "defaults": opened.fields["defaults"],
    }
    return page(
        request,
        "lab/lab.html",
        person,
        "lab",
        fields=opened.fields,
        given=given,
        settings=settings_of(opened.fields["parameters"]),
        foundation=[_model(one, refusing) for one in made if one.model.kind == "foundation"],
        tuned=[_model(one, refusing) for one in made if one.model.kind == "tuned"],
        remote=[_model(one, refusing) for one in made if one.model.remote],
        datasets=[_dataset(view) for view in views if set(view.version.splits) & set(ROW_SPLITS)],
        own=next((view for view in views if view.dataset.source != "sample"), None),
        samples=lab.samples(person),
        groups=gallery.groups(),
        selections=SELECTIONS,
        policies=list(POLICIES.items()),
        choices=prompts.choices(person),
        **_saved(person, opened),
    )


def _model(one: Lineage, refusing: Mapping[int, str]) -> dict[str, Any]:
    """A model as a column offers it; `unweighed` is why it weighs no labels, empty where it does."""
    return {
        "id": one.model.id,
        "name": one.model.shown,
        "remote": one.model.remote,
        "unweighed": refusing.get(one.model.endpoint_id or 0, ""),
        "prompt": one.prompt.reference if one.prompt else "",
        "through": f"{one.prompt_name} v{one.prompt.number}" if one.prompt else "",
    }


def _dataset(view: DatasetView) -> dict[str, Any]:
    splits = [[split, view.version.splits[split]] for split in ROW_SPLITS if view.version.splits.get(split)]
    return {"reference": view.version.reference, "name": f"{view.dataset.name} v{view.version.number}", "splits": splits, "variables": view.version.variables}


def _named(opened: Opened) -> dict[str, Any] | None:
    if opened.prompt is None or opened.version is None:
        return None
    return {"id": opened.prompt.id, "name": opened.prompt.name, "version": opened.version.number, "reference": opened.reference}


def _saved(person: Who, opened: Opened) -> dict[str, Any]:
    """What the menu of saved prompts lists: every prompt, and all versions of the one that is open."""
    rows, _ = prompts.recent(person, limit=100)
    versions = prompts.versions(person, opened.prompt.id) if opened.prompt else []
    return {"saved": rows, "opened": opened, "versions": versions, "address": settings().address}


@router.get("/prompts")
def saved(person: Person, prompt: str) -> HTMLResponse:
    """The menu again, after something was saved."""
    return fragment("lab/_saved.html", **_saved(person, lab.opened(person, prompt)))


@router.get("/row")
def row(person: Person, dataset: str, split: str, offset: Annotated[int, Query(ge=0, le=2**31)] = 0) -> dict[str, Any]:
    """One row of a dataset as a prompt takes it: {values, gold: {text, dataset, split, place}}; gold is null for unlabelled rows."""
    return asdict(lab.row(person, dataset, split, offset))
