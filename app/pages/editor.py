"""What the Lab's editor asks for while somebody writes: a look at the prompt, another mode, shots, a prompt out of pasted JSON."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from app.domain.prompt import fields_of, template_of
from app.domain.rendering import Mode, Template
from app.domain.shots import Candidate, Selection
from app.doors import Person
from app.errors import FettleError, Invalid, NotFound
from app.pages.render import fragment
from app.services import lab, pasted, shots
from app.services.lab import Seen
from app.services.readiness import engine

router = APIRouter(prefix="/lab")

MOST_SHOTS = 200


class ShotWords(BaseModel):
    input: str
    output: str


class TurnWords(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class Words(BaseModel):
    """A prompt's wording as the editor has it."""

    model_config = ConfigDict(extra="ignore")

    mode: Mode = "structured"
    instruction: str = ""
    input_prefix: str = "Input:"
    output_prefix: str = "Output:"
    shots: list[ShotWords] = Field([], max_length=MOST_SHOTS)
    text: str = ""
    messages: list[TurnWords] = Field([], max_length=200)
    defaults: dict[str, str] = Field({}, max_length=100)

    @property
    def template(self) -> Template:
        return template_of(self.model_dump())


class Draft(BaseModel):
    """What stands in the editor, the model that shall read it, and whether the text is to be shown or only checked."""

    model_config = ConfigDict(extra="ignore")

    prompt: Words
    variables: dict[str, str] = Field({}, max_length=500)
    model: int | None = None
    text: bool = True


@router.post("/preview")
def preview(person: Person, draft: Draft) -> HTMLResponse:
    """The prompt as the model sees it. A prompt that cannot be rendered is no failed request: the part says what is wrong."""
    there, template = engine(), draft.prompt.template
    del person
    try:
        seen = lab.seen(template, draft.variables)
    except Invalid as error:
        return fragment("lab/_preview.html", error=error.as_dict(), unknown=lab.misspelt(template, draft.variables), engine=there, read=[], sections=[])
    context: dict[str, Any] = {"sections": seen.sections, "stop": seen.rendered.stop, "engine": there, "read": seen.variables, "text": draft.text}
    return fragment("lab/_preview.html", error=None, unknown=[], parts=_parts(seen) if draft.text else [], **context)


def _parts(seen: Seen) -> list[dict[str, Any]]:
    """The text's parts; `begins` names a section where a new one starts."""
    before = ("", *seen.sections)
    return [
        {"text": part.text, "trusted": part.trusted, "begins": name if name != last else ""}
        for part, name, last in zip(seen.parts, seen.sections, before, strict=False)
    ]


@router.post("/seen")
async def as_seen(person: Person, draft: Draft) -> HTMLResponse:
    """The prompt as the model's own tokenizer gets it, chat template and special tokens included; and what each part of it costs."""
    try:
        found = await lab.read_by(person, draft.model or 0, draft.prompt.template, draft.variables)
    except FettleError as error:
        return fragment("lab/_seen.html", found=None, error=error.as_dict())
    return fragment("lab/_seen.html", found=found, error=None)


class Turned(BaseModel):
    """A prompt, the mode it shall have, and the prompt as it last stood in that mode."""

    prompt: Words
    mode: Mode
    base: Words | None = None


@router.post("/convert")
def convert(person: Person, body: Turned) -> dict[str, Any]:
    """{fields, input, kept}: the same prompt in another mode, the text for {input} that stood in it, and what only the old mode can show."""
    del person
    found = lab.converted(body.prompt.template, body.mode, body.base.template if body.base else None)
    return {"fields": fields_of(found.template), "input": found.input, "kept": found.kept}


class Drawing(BaseModel):
    """Which shots are drawn: the same for the same seed (and input)."""

    dataset: str
    count: int
    seed: int = Field(0, ge=0, lt=2**31)
    selection: Selection = "balanced"
    input: str = ""


@router.post("/shots", response_model=None)
def draw(person: Person, body: Drawing) -> dict[str, Any] | HTMLResponse:
    """Shots of the train split: {shots: [{input, output, row}], note}. What cannot be drawn is no failed request: the part says why."""
    try:
        found = shots.drawn(person, body.dataset, max(0, min(body.count, MOST_SHOTS)), body.seed, body.selection, body.input)
    except (Invalid, NotFound) as error:
        return fragment("shared/_error.html", error=error.as_dict())
    return {"shots": [_shot(row) for row in found.rows], "note": found.note}


@router.get("/shots/search")
def search(person: Person, dataset: str, q: str = "") -> dict[str, Any]:
    """Rows of the train split to pick shots from: {rows: [{input, output, row}]}."""
    return {"rows": [_shot(row) for row in shots.search(person, dataset, q)]}


def _shot(row: Candidate) -> dict[str, Any]:
    return {"input": row.input, "output": row.output, "row": int(row.id) + 1}


class Pasted(BaseModel):
    text: str = Field(max_length=1_000_000)


@router.post("/paste", response_model=None)
def paste(person: Person, body: Pasted) -> dict[str, Any] | HTMLResponse:
    """A prompt out of somebody else's JSON; a part that says why where there is none in it."""
    del person
    try:
        return pasted.read(body.text)
    except Invalid as error:
        return fragment("shared/_error.html", error=error.as_dict())
