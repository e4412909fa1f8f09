"""The webhook on the settings page: administrators set where the workspace is told how its jobs end."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from app.domain.access import Who
from app.doors import Person
from app.errors import Invalid
from app.pages.render import fragment, seen
from app.services import webhooks

router = APIRouter(prefix="/settings/webhook")

PLACE = "/settings#webhook"


def context(person: Who, **news: Any) -> dict[str, Any]:
    """What `_webhook.html` shows: `hook` or none, the secret when it was just made, what was refused."""
    return {"hook": webhooks.find(person) if person.role == "admin" else None, "hook_secret": None, "hook_error": None, "hook_url": "", **news}


def _part(request: Request, person: Who, status: int = 200, **news: Any) -> Response:
    return fragment("account/_webhook.html", status, **context(person, **news)) if request.headers.get("hx-request") or news else seen(PLACE)


@router.get("", response_model=None)
def show(request: Request, person: Person) -> Response:
    """The part alone, asked for again while a message is on its way."""
    return _part(request, person)


@router.post("", response_model=None)
def save(request: Request, person: Person, url: Annotated[str, Form(max_length=600)] = "") -> Response:
    try:
        secret = webhooks.save(person, url)
    except Invalid as error:
        return _part(request, person, error.status, hook_error=error.as_dict(), hook_url=url)
    return _part(request, person, hook_secret=secret) if secret else _part(request, person)


@router.post("/secret", response_model=None)
def renew(request: Request, person: Person) -> Response:
    return _part(request, person, hook_secret=webhooks.renew(person))


@router.post("/test", response_model=None)
def test(request: Request, person: Person) -> Response:
    webhooks.test(person)
    return _part(request, person)


@router.post("/delete", response_model=None)
def forget(request: Request, person: Person) -> Response:
    webhooks.forget(person)
    return _part(request, person)
