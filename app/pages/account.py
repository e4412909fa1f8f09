"""Signing in and out, the one-time welcome link, and a person's settings."""

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.user import DAY, INVITE_HOURS, SESSION_DAYS
from app.doors import COOKIE, Person, signed_in
from app.errors import Conflict, FettleError, Invalid, SignInNeeded, TooMany
from app.pages import webhook
from app.pages.render import fragment, is_fragment, page, seen
from app.services import accounts, attempts
from app.settings import settings

router = APIRouter()

Text = Annotated[str, Form(max_length=1000)]


def _signed_in(secret: str) -> Response:
    """Into the house, with the session's cookie."""
    response = seen("/")
    response.set_cookie(COOKIE, secret, max_age=SESSION_DAYS * DAY // 1000, path="/", httponly=True, samesite="lax", secure=settings().secure_cookies)
    return response


def _welcome(request: Request, secret: str, name: str = "", error: FettleError | None = None) -> HTMLResponse:
    status = error.status if error else 200 if accounts.invitation(secret) else 404
    context: dict[str, Any] = {"secret": secret, "name": name, "error": error.as_dict() if error else None, "shortest": accounts.SHORTEST_PASSWORD}
    return page(request, "account/welcome.html", None, status=status, open=accounts.invitation(secret), first=not accounts.has_accounts(), **context)


@router.get("/welcome/{secret}")
def welcome(request: Request, secret: str) -> HTMLResponse:
    """The one-time link. A dead one says so and what to do."""
    return _welcome(request, secret)


@router.post("/welcome/{secret}", response_model=None)
def accept(request: Request, secret: str, name: Text = "", password: Text = "") -> Response:
    """Make the account and sign it in; what was wrong stands beside its field, and the name stays."""
    try:
        return _signed_in(accounts.accept(secret, name, password))
    except (Invalid, Conflict) as error:
        return _welcome(request, secret, name, error)


def _door(request: Request, name: str = "", error: FettleError | None = None) -> HTMLResponse:
    told = error.as_dict() if error else None
    return page(request, "account/sign_in.html", None, status=error.status if error else 200, name=name, error=told, accounts=accounts.has_accounts())


@router.get("/sign-in", response_model=None)
def door(request: Request) -> Response:
    with suppress(SignInNeeded):
        signed_in(request)
        return seen("/")
    return _door(request)


@router.post("/sign-in", response_model=None)
def sign_in(request: Request, name: Text = "", password: Text = "") -> Response:
    """Check name and password, a few times in a row at most."""
    client = request.client.host if request.client else ""
    try:
        attempts.check(name, client)
        return _signed_in(accounts.sign_in(name, password))
    except SignInNeeded as error:
        attempts.failed(name, client)
        return _door(request, name, error)
    except TooMany as error:
        return _door(request, name, error)


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End this browser's session, here and in the database. The door hears who left, so that what the browser kept of theirs goes (static/js/signed-out.js)."""
    secret = request.cookies.get(COOKIE, "")
    left = accounts.by_cookie(secret)
    accounts.sign_out(secret)
    response = seen(f"/sign-in?left={left.user_id}" if left else "/sign-in")
    response.delete_cookie(COOKIE, path="/")
    return response


def _settings(request: Request, person: Who, status: int = 200, **news: Any) -> HTMLResponse:
    """The settings page, or only its part that changed."""
    context: dict[str, Any] = {
        "secret": None,
        "link": None,
        "error": None,
        "tokens": accounts.tokens(person),
        "admin": person.role == "admin",
        "hours": INVITE_HOURS,
        **news,
    }
    if is_fragment(request):
        return fragment("account/_link.html" if news.get("link") else "account/_tokens.html", status, **context)
    return page(request, "account/settings.html", person, "settings", status, **context, **webhook.context(person))


@router.get("/settings")
def show(request: Request, person: Person) -> HTMLResponse:
    return _settings(request, person)


@router.post("/settings/tokens")
def create_token(request: Request, person: Person, name: Text = "") -> HTMLResponse:
    """A new API token, whose secret is in this answer and nowhere else."""
    try:
        return _settings(request, person, 201, secret=accounts.create_token(person, name))
    except Invalid as error:
        return _settings(request, person, error.status, error=error.as_dict())


@router.post("/settings/tokens/{key}/revoke", response_model=None)
def revoke_token(request: Request, person: Person, key: int) -> Response:
    accounts.revoke_token(person, key)
    return _settings(request, person) if is_fragment(request) else seen("/settings")


@router.post("/settings/invitations")
def invite(request: Request, person: Person) -> HTMLResponse:
    """A one-time link for the next person. Administrators only."""
    return _settings(request, person, 201, link=f"{settings().address}/welcome/{accounts.invite(person)}")
