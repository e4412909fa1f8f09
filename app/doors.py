"""What every request passes: who is asking, where it comes from, and how an error looks on the way out."""

import errno
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

import structlog
from fastapi import Depends, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import DataError, OperationalError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.access import Who
from app.errors import FettleError, Forbidden, Invalid, NoRoom, SignInNeeded, TooLarge, Unavailable
from app.services import accounts
from app.settings import settings

log = structlog.get_logger(__name__)

COOKIE = "fettle_session"
SAFE = ("GET", "HEAD", "OPTIONS")
UNTRANSLATABLE = "22P05"
"""PostgreSQL's word for a NUL in JSON."""
EMBEDDED = ("embedded null byte", "embedded null character")
"""And the system's for one in the name of a file."""
HALF = re.compile("Unicode (low|high) surrogate")
"""And PostgreSQL's for half a character there."""
_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def bearer(request: Request) -> Who | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return accounts.by_token(secret.strip()) if scheme.lower() == "bearer" and secret else None


def by_token(request: Request) -> Who:
    """The owner of the API token, and nobody else: /v1 takes no cookies. Raises SignInNeeded."""
    person = bearer(request)
    if person is None:
        raise SignInNeeded("No valid API token was sent.", "Send `Authorization: Bearer <token>`; `fettle token create --name N` makes one.")
    return person


def signed_in(request: Request) -> Who:
    """The person behind the API token or the session cookie. Raises SignInNeeded."""
    if "authorization" in request.headers:
        return by_token(request)
    cookie = request.cookies.get(COOKIE)
    person = accounts.by_cookie(cookie) if cookie else None
    if person is None:
        raise SignInNeeded
    return person


async def _one_file(request: Request) -> None:
    """Raises Invalid for several files in one field, of which the framework would take the last and say nothing."""
    count = len((await request.form()).getlist("file"))
    if count > 1:
        advice = "Send them one after the other, the second as an append; or put them into one ZIP."
        raise Invalid("several_files", f"{count} files were sent, and one is taken at a time.", advice, detail={"field": "file"})


OneFile = Depends(_one_file)
Person = Annotated[Who, Depends(signed_in)]
TokenOwner = Annotated[Who, Depends(by_token)]


def same_origin(request: Request) -> None:
    """Refuse a state change that a foreign page asks for with this browser's cookie. Raises Forbidden."""
    if request.method in SAFE or "authorization" in request.headers:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    foreign = site not in (None, "same-origin", "none") or (origin is not None and urlsplit(origin).netloc != request.headers.get("host"))
    if foreign or (site is None and origin is None and COOKIE in request.cookies):
        raise Forbidden("foreign_origin", "This request came from another site.", "Open Fettle itself and try again.")


def known_host(request: Request) -> None:
    """Refuse names that are not this installation's (DNS rebinding). Raises Forbidden."""
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    allowed = {"localhost", "127.0.0.1", "::1", settings().host, urlsplit(settings().address).hostname, *settings().hosts}
    if name not in allowed and settings().host != "0.0.0.0":  # noqa: S104 a comparison, not a bind
        raise Forbidden("unknown_host", f"This installation does not answer to the name {name!r}.", "Set FETTLE_PUBLIC_URL or FETTLE_HOSTS.")


class Guard:
    """Checks before every request and headers on every response. Plain ASGI, so that streams see their client leave."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request = Request(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", cached(request.url.path))
            await send(message)

        try:
            known_host(request)
            same_origin(request)
        except FettleError as error:
            return await error_response(request, error)(scope, receive, with_headers)
        return await self._app(scope, receive, with_headers)


class Sentences:
    """Around everything else: the framework refuses a body that is too large by itself, in three words of plain text; a person gets a sentence."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def said(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == TooLarge.status:
                refused = MutableHeaders(scope=message).get("content-type", "").startswith("text/plain")
            if not refused:
                await send(message)

        await self._app(scope, receive, said if scope["type"] == "http" else send)
        if refused:
            response = error_response(Request(scope), too_large())
            response.headers.update(HEADERS | {"Cache-Control": "no-store"})
            await response(scope, receive, send)


def too_large() -> TooLarge:
    most = settings().upload_bytes
    message = f"What was sent is too large: this installation takes files of up to {most:,} bytes, and much less of anything else."
    return TooLarge("too_large", message, "Cut the file, pack it (gzip or ZIP), or have FETTLE_UPLOAD_BYTES raised.")


def cached(path: str) -> str:
    """Vendored files carry their version in the path; our own are asked for again each time; pages are never kept."""
    if path.startswith("/static/vendor/"):
        return "public, max-age=31536000, immutable"
    return "no-cache" if path.startswith("/static/") else "no-store"


def wants_page(request: Request) -> bool:
    """A browser asks for HTML; everything under /api and /v1 answers JSON."""
    return not request.url.path.startswith(("/api/", "/v1/", "/healthz", "/readyz", "/metrics"))


def lacking(error: BaseException) -> FettleError | None:
    """What a person is told when something the server needs is short or away: room on the disk, the database. None for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoRoom()
    if not isinstance(error, OperationalError):
        return lacking(error.__cause__) if error.__cause__ else None
    # SQLite says the first, PostgreSQL the second.
    if "is full" in str(error.orig) or "No space left" in str(error.orig):
        return NoRoom("The disk of the database is full, so nothing can be written; what is there can be read.")
    log.warning("the database does not answer", reason=str(error.orig))
    return Unavailable("database_down", "The database does not answer.", "Nothing was changed. Check that it runs (`fettle doctor`), then try again.")


def unkept(error: BaseException) -> Invalid | None:
    """What a person is told whose text holds what no database keeps, or no file can be called: through whichever door it came, it is the database, or the
    system, that notices. None for any other error."""
    refused = str(error.orig) if isinstance(error, DataError) else ""
    if (
        "NUL (0x00)" in refused
        or getattr(getattr(error, "orig", None), "sqlstate", "") == UNTRANSLATABLE
        or (type(error) is ValueError and str(error) in EMBEDDED)
    ):
        fault = "a NUL character (U+0000)"
    elif HALF.search(refused) or (isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed"):
        fault = "half a character (a lone surrogate)"
    else:
        return unkept(error.__cause__) if error.__cause__ else None
    log.info("a text was refused that cannot be kept", reason=type(error).__name__)
    return Invalid("unstorable_text", f"A text in what was sent holds {fault}, which cannot be kept.", "Remove it and send it again; nothing was changed.")


def error_response(request: Request, error: FettleError) -> Response:
    """An error in the shape of the door it came through: page, API, or OpenAI."""
    if request.url.path.startswith("/v1/"):
        kind = "invalid_request_error" if error.status < 500 else "server_error"
        body: dict[str, Any] = {"message": f"{error.message} {error.advice}".strip(), "type": kind, "param": None, "code": error.code}
        return JSONResponse({"error": body}, 400 if error.status == 422 else error.status)
    if not wants_page(request):
        body = {"error": error.as_dict()}
        problems = body["error"].pop("problems", None)
        return JSONResponse(body if problems is None else body | {"problems": problems}, error.status)
    if isinstance(error, SignInNeeded) and request.url.path != "/sign-in":
        if request.headers.get("hx-request"):
            return Response(status_code=401, headers={"HX-Redirect": "/sign-in"})
        return RedirectResponse("/sign-in", 303)
    from app.pages.render import error_page

    return error_page(request, error)
