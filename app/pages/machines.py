"""The machines of the installation, live, and how to add another one."""

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.domain.access import Who
from app.domain.machine import TOKEN_MINUTES
from app.doors import Person
from app.errors import Forbidden
from app.pages.render import fragment, is_fragment, page
from app.services import machines
from app.settings import settings

router = APIRouter(prefix="/machines")

LOCAL = ("127.0.0.1", "localhost", "::1")


@router.get("")
def index(request: Request, person: Person) -> HTMLResponse:
    """Every machine with its devices. The page asks again for its table only."""
    context: dict[str, Any] = {"machines": machines.overview(person)}
    if is_fragment(request):
        return fragment("machines/_machines.html", **context)
    return page(request, "machines/index.html", person, "", admin=person.role == "admin", **context)


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    """The commands, and below them what machines said that tried to join: that part is asked for again and again."""
    if is_fragment(request):
        return fragment("machines/_reports.html", reports=machines.reports(person))
    return _new(request, person)


@router.post("/token")
def token(request: Request, person: Person) -> HTMLResponse:
    """A token, which is in this answer and nowhere else."""
    try:
        return _new(request, person, machines.make_token(person))
    except Forbidden as error:
        return _new(request, person, status=error.status)


def _new(request: Request, person: Who, secret: str = "", status: int = 200) -> HTMLResponse:
    context: dict[str, Any] = {
        "admin": person.role == "admin",
        "secret": secret,
        "minutes": TOKEN_MINUTES,
        "address": settings().address,
        "local": urlsplit(settings().address).hostname in LOCAL,
        "version": machines.FETTLE,
        "suited": machines.suited(),
        "store": settings().stored_remotely,
        "reports": machines.reports(person),
    }
    return page(request, "machines/new.html", person, "", status, **context)
