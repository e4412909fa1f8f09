"""create_app(): routers, middleware, the one error handler. No logic."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import StatementError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from app import api, pages
from app.dispatcher import Dispatcher
from app.doors import Guard, Sentences, error_response, lacking, unkept
from app.errors import FettleError, Invalid
from app.importer import Importer
from app.messenger import Messenger
from app.services import removal, versions

BODY_BYTES = 4 * 2**20
"""Largest body of a request that is no upload."""

STATIC = Path(__file__).parent.parent / "static"


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    for sweep in (removal.sweep, versions.sweep):
        await to_thread.run_sync(sweep)
    threads = (Dispatcher(), Importer(), Messenger())
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        await to_thread.run_sync(thread.stop)


async def _told(request: Request, error: FettleError) -> Response:
    return error_response(request, error)


async def _malformed(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    if first["type"] == "extra_forbidden":
        message, advice = f"There is no field {where}.", "Check its spelling; unknown fields are refused so that none is silently ignored."
    else:
        message, advice = f"{where}: {first['msg']}", "Correct the field and send it again."
    return error_response(request, Invalid("bad_request", message, advice, detail={"field": where}))


async def _lacking(request: Request, error: Exception) -> Response:
    if told := lacking(error) or unkept(error):
        return error_response(request, told)
    raise error


async def _unrouted(request: Request, error: HTTPException) -> Response:
    if lack := lacking(error):  # a body that could not be taken in
        return error_response(request, lack)
    told = FettleError("not_found" if error.status_code == 404 else "refused", str(error.detail), "Check the address.")
    told.status = error.status_code
    return error_response(request, told)


async def _crashed(request: Request, error: Exception) -> Response:
    del error  # uvicorn logs it with its stack
    return error_response(request, FettleError("crashed", "Something went wrong on the server.", "Nothing was changed. The web process's log says more."))


class _Spoken(FastAPI):
    """What FastAPI answers outside of all middleware is a sentence, too."""

    def build_middleware_stack(self) -> ASGIApp:
        return Sentences(super().build_middleware_stack())


def create_app() -> FastAPI:
    """The web process's application."""
    app = _Spoken(title="Fettle", version="1", lifespan=_lifespan, docs_url=None, redoc_url=None, openapi_url=None, max_body_size=BODY_BYTES)
    app.add_middleware(Guard)
    app.exception_handler(FettleError)(_told)
    app.exception_handler(RequestValidationError)(_malformed)
    app.exception_handler(HTTPException)(_unrouted)
    for kind in (OSError, StatementError, ValueError):
        app.exception_handler(kind)(_lacking)
    app.exception_handler(Exception)(_crashed)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


app = create_app()
