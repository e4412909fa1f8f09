"""The Lab: a structured prompt beside the answer of one model. The page's own requests; generation itself goes through /api/v1/generate."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from app.domain.access import Who
from app.domain.generation import Parameters
from app.domain.rendering import Template
from app.doors import Person
from app.errors import Invalid
from app.pages.formatting import number
from app.pages.render import fragment, page
from app.services import datasets, jobs, lab, models, pasted, prompts
from app.services.datasets import DatasetView
from app.services.lab import Opened, Seen
from app.services.models import Lineage

router = APIRouter(prefix="/lab")

ORDER = ("temperature", "top_p", "top_k", "max_tokens", "min_tokens", "repetition_penalty", "seed", "stop")
TITLES = {"top_p": "Top-p", "top_k": "Top-k", "stop": "Stop sequences"}
ROW_SPLITS = ("validation", "train")
"""Splits whose rows may be tried one by one: never the test split."""

UNBOUNDED = 2**31
"""A limit above this is no range that a person reads."""


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
    def range(self) -> str:
        if self.kind == "list":
            return "One a line; \\n is a line end."
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
        kind = "list" if name == "stop" else "number" if field.annotation is float else "whole"
        title = TITLES.get(name) or name.replace("_", " ").capitalize()
        limit = high if high is not None and high < UNBOUNDED else None
        found.append(Setting(name, title, field.description or "", kind, low, limit, field.default, values.get(name)))
    return found


@router.get("")
def show(
    request: Request, person: Person, prompt: str | None = None, dataset: str | None = None, model: str | None = None, start: str | None = None
) -> HTMLResponse:
    """The Lab. `prompt` opens a saved one, `start` makes a first one for a dataset; without them the browser's draft stands."""
    opened = lab.opened(person, prompt) if prompt else lab.first_prompt(person, start) if start else lab.blank()
    chosen = models.find(person, model).model if model else None
    views, _ = datasets.recent(person)
    made = models.lineages(person)
    given = {
        "prompt": _named(opened),
        "explicit": bool(prompt or start),
        "model": chosen.id if chosen else None,
        "dataset": datasets.find(person, dataset or start or "").version.reference if dataset or start else None,
        "engine": bool(jobs.health()["engine"]),
    }
    return page(
        request,
        "lab/lab.html",
        person,
        "lab",
        fields=opened.fields,
        given=given,
        settings=settings_of(opened.fields["parameters"]),
        foundation=[_model(one) for one in made if one.model.kind == "foundation"],
        tuned=[_model(one) for one in made if one.model.kind == "tuned"],
        remote=[_model(one) for one in made if one.model.remote],
        datasets=[_dataset(view) for view in views if set(view.version.splits) & set(ROW_SPLITS)],
        own=next((view for view in views if view.dataset.source != "sample"), None),
        samples=lab.samples(person),
        **_saved(person, opened),
    )


def _model(one: Lineage) -> dict[str, Any]:
    return {
        "id": one.model.id,
        "name": one.model.slug if one.model.remote else one.model.name,
        "remote": one.model.remote,
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
    return {"saved": [(row, version) for row, version in rows if version.mode == "structured"], "opened": opened, "versions": versions}


@router.get("/prompts")
def saved(person: Person, prompt: str) -> HTMLResponse:
    """The menu again, after something was saved."""
    return fragment("lab/_saved.html", **_saved(person, lab.opened(person, prompt)))


@router.get("/shots")
def shots(person: Person, dataset: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Shots drawn from the train split, the same for the same seed."""
    drawn = datasets.draw_shots(person, dataset, max(0, min(count, 200)), seed)
    return {"shots": [{"input": shot.input, "output": shot.output} for shot in drawn]}


@router.get("/row")
def row(person: Person, dataset: str, split: str, offset: Annotated[int, Query(ge=0, le=2**31)] = 0) -> dict[str, Any]:
    """One row of a dataset as a prompt takes it: {values, answers}. What counts as right comes first as its display text; null for unlabelled rows."""
    found = lab.row(person, dataset, split, offset)
    return {"values": found.values, "answers": list(found.answers) or None}


class Draft(BaseModel):
    """What stands in the editor."""

    model_config = ConfigDict(extra="ignore")

    prompt: Template
    variables: dict[str, str] = Field({}, max_length=500)


@router.post("/preview")
def preview(person: Person, draft: Draft) -> HTMLResponse:
    """The prompt as the model sees it. A prompt that cannot be rendered is no failed request: the part says what is wrong."""
    engine = bool(jobs.health()["engine"])
    del person
    try:
        seen = lab.seen(draft.prompt, draft.variables)
    except Invalid as error:
        return fragment("lab/_preview.html", error=error.as_dict(), parts=[], sections=[], stop=[], engine=engine)
    return fragment("lab/_preview.html", error=None, parts=_parts(seen), sections=seen.sections, stop=seen.rendered.stop, engine=engine)


def _parts(seen: Seen) -> list[dict[str, Any]]:
    """The text's parts; `begins` names a section where a new one starts."""
    before = ("", *seen.sections)
    return [
        {"text": part.text, "trusted": part.trusted, "begins": name if name != last else ""}
        for part, name, last in zip(seen.rendered.parts, seen.sections, before, strict=False)
    ]


class Pasted(BaseModel):
    text: str = Field(max_length=1_000_000)


@router.post("/paste")
def paste(person: Person, body: Pasted) -> dict[str, Any]:
    """A prompt out of somebody else's JSON."""
    del person
    return pasted.read(body.text)
