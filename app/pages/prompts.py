"""The prompts room: the list with the sample gallery, a prompt's page with its versions and aliases, and the difference between two versions."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.alias import PRODUCTION
from app.domain.rendering import template_variables
from app.domain.wording import By
from app.doors import Person
from app.errors import Conflict, FettleError, Invalid, NotFound
from app.pages.forms import Text
from app.pages.render import page, seen
from app.services import gallery, prompt_removal, prompts
from app.services.prompts import History
from app.settings import settings

router = APIRouter(prefix="/prompts")

Number = Annotated[int | None, Form()]


@router.get("")
def index(request: Request, person: Person, after: int | None = None) -> HTMLResponse:
    rows, following = prompts.listed(person, after)
    return page(request, "prompts/index.html", person, "lab", rows=rows, following=following, paged=after is not None, groups=gallery.groups())


@router.get("/{key}")
def show(request: Request, person: Person, key: int) -> HTMLResponse:
    return _show(request, person, key)


def _show(request: Request, person: Who, key: int, error: FettleError | None = None, typed: str = "") -> HTMLResponse:
    found = prompts.history(person, key)
    context = {
        "prompt": found.prompt,
        "found": found,
        "newest": found.newest,
        "variables": template_variables(found.newest.template()),
        "suggested": _suggested(found),
        "address": settings().address,
        "typed": typed,
        "error": error.as_dict() if error else None,
    }
    return page(request, "prompts/show.html", person, "lab", error.status if error else 200, **context)


def _suggested(found: History) -> str:
    """The name that stands in the field: the usual one while nobody has it."""
    return "" if PRODUCTION in found.aliases else PRODUCTION


@router.get("/{key}/diff")
def diff(request: Request, person: Person, key: int, older: int, newer: int, by: By = "word") -> HTMLResponse:
    """Two versions in one text; `older` and `newer` are numbers."""
    compared = prompts.compare(person, key, older, newer, by)
    numbers = [line.version.number for line in prompts.history(person, key).lines]
    return page(request, "prompts/diff.html", person, "lab", compared=compared, sections=compared.sections, numbers=numbers, by=by)


@router.post("/{key}/alias", response_model=None)
def set_alias(request: Request, person: Person, key: int, alias: Text = "", version: Number = None, drop: Text = "") -> Response:
    """Move an alias, or take it off. A name that cannot be one is refused beside its field."""
    try:
        if drop:
            prompts.drop_alias(person, key, alias)
        else:
            prompts.set_alias(person, key, alias.strip(), version)
    except (Invalid, NotFound) as error:
        return _show(request, person, key, error, alias)
    return seen(f"/prompts/{key}#aliases")


@router.post("/{key}/restore", response_model=None)
def restore(request: Request, person: Person, key: int, version: Annotated[int, Form()]) -> Response:
    try:
        prompts.restore(person, key, version)
    except Invalid as error:
        return _show(request, person, key, error)
    return seen(f"/prompts/{key}")


@router.post("/{reference}/duplicate")
def duplicate(person: Person, reference: str) -> Response:
    return seen(f"/prompts/{prompts.duplicate(person, reference).prompt_id}")


@router.post("/{key}/rename", response_model=None)
def rename(request: Request, person: Person, key: int, name: Text = "") -> Response:
    try:
        prompts.rename(person, key, name)
    except Invalid as error:
        return _show(request, person, key, error)
    return seen(f"/prompts/{key}")


@router.post("/{key}/delete", response_model=None)
def delete(request: Request, person: Person, key: int) -> Response:
    """Delete the prompt, or say what is built on it."""
    try:
        prompt_removal.remove(person, key)
    except Conflict as error:
        return _show(request, person, key, error)
    return seen("/prompts")
