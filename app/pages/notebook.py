"""/lab/notebook: every run of one's own, by session; and /lab/code: how a program asks what stands in the Lab."""

from itertools import groupby
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel

from app.domain.generation import parameters_of
from app.domain.notebook import Run
from app.doors import Person
from app.errors import Invalid, NotFound
from app.pages.drafts import Wording
from app.pages.forms import Text
from app.pages.render import fragment, page, seen
from app.services import code, notebook

router = APIRouter(prefix="/lab")

Word = Annotated[str, Query(max_length=300)]

REASONS = {"stop": "", "length": "cut at max tokens", "cancelled": "stopped", "failed": "failed"}


@router.get("/notebook")
def index(request: Request, person: Person, session: Word = "", model: Word = "", after: int | None = None) -> HTMLResponse:
    """Runs newest first, those of one session together. Filters stay while one goes on to older runs."""
    found = notebook.look(person, session or None, model or None, after)
    kept = {name: value for name, value in (("session", session), ("model", model)) if value}
    sittings = [(key, list(runs)) for key, runs in groupby(found.runs, key=lambda run: run.session)]
    older = f"/lab/notebook?{urlencode({**kept, 'after': found.following})}" if found.following else None
    shown: dict[str, Any] = {"session": session, "model": model, "paged": after is not None, "older": older, "newest": f"/lab/notebook?{urlencode(kept)}"}
    shown["here"] = request.url.query
    return page(request, "prompts/notebook.html", person, "lab", found=found, sittings=sittings, title=title, reasons=REASONS, **shown)


def title(run: Run) -> str:
    """What a run is called: the input it was given, else what its prompt begins with."""
    wording = run.prompt
    first = [run.variables.get("input"), *run.variables.values(), wording.get("instruction"), wording.get("text")]
    turns = [turn.get("content") for turn in wording.get("messages") or []]
    return next((" ".join(text.split())[:140] for text in (*first, *reversed(turns)) if text and text.strip()), "an empty prompt")


@router.post("/notebook/{key}/delete")
def remove(person: Person, key: int, back: Text = "") -> Response:
    """Delete one run, and go back to where it was listed."""
    notebook.remove(person, key)
    return seen(f"/lab/notebook?{back}")


@router.post("/notebook/clear")
def clear(person: Person, session: Text = "") -> Response:
    """Delete one session, or everything."""
    notebook.clear(person, session or None)
    return seen("/lab/notebook")


class Present(BaseModel):
    """What stands in a column of the Lab: the editor's prompt, or a saved version."""

    model: int | str
    prompt: Wording | None = None
    prompt_version: str | None = None
    variables: dict[str, str] = {}
    parameters: dict[str, Any] = {}


@router.post("/code")
def snippets(person: Person, body: Present) -> HTMLResponse:
    """The snippets; what cannot be asked is told in their place."""
    values = {**body.prompt.model_dump(), "parameters": {}} if body.prompt else None
    try:
        found = code.snippets_for(person, body.model, values, body.variables, parameters_of(body.parameters), body.prompt_version)
    except (Invalid, NotFound) as error:
        return fragment("prompts/_code.html", error=error.as_dict(), snippets=[])
    return fragment("prompts/_code.html", error=None, snippets=found)
