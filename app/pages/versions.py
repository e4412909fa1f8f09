"""A dataset's versions: the list, the difference between two, export, the reserve, deleting."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from app.domain.access import Who
from app.domain.upload import Upload
from app.doors import Person
from app.errors import Conflict, FettleError, Invalid
from app.pages.dataset_words import reason, told
from app.pages.forms import Text
from app.pages.paging import from_start, pager
from app.pages.render import page, seen
from app.services import exports, history, removal, reserve
from app.services.history import Diff

router = APIRouter(prefix="/datasets")

ROWS = 50


@router.get("/{reference}/versions")
def index(request: Request, person: Person, reference: str) -> HTMLResponse:
    return _index(request, person, reference)


def _index(request: Request, person: Who, reference: str, error: FettleError | None = None) -> HTMLResponse:
    dataset, lines = history.versions(person, reference)
    newest = lines[0].version
    used = any(line.version.scored or line.version.viewed or line.version.revealed_at for line in lines)
    return page(
        request,
        "datasets/versions.html",
        person,
        "data",
        error.status if error else 200,
        dataset=dataset,
        newest=newest,
        lines=[{"line": line, "told": told(line.version, dataset.source), "reason": reason(line.version)} for line in lines],
        may_reserve=not used and newest.splits.get("test", 0) > 1 and not newest.splits.get("reserve"),
        error=error.as_dict() if error else None,
    )


@router.get("/{reference}/diff")
def diff(request: Request, person: Person, reference: str, since: int, kind: str | None = None, offset: int = 0) -> HTMLResponse:
    offset = from_start(offset, ROWS)
    found = history.diff(person, reference, since, kind, offset, ROWS)
    _, lines = history.versions(person, reference)
    return page(
        request,
        "datasets/diff.html",
        person,
        "data",
        diff=found,
        told=[told(line.version) for line in reversed(lines) if found.older.number < line.version.number <= found.newer.number],
        others=[line.version.number for line in lines if line.version.number < found.newer.number],
        pager=_pager(found, offset),
    )


def _pager(found: Diff, offset: int) -> dict[str, Any]:
    def place(start: int) -> str:
        return f"/datasets/{found.newer.reference}/diff?since={found.older.number}&kind={found.kind}&offset={start}"

    return pager(f"{found.kind} rows", offset, ROWS, len(found.rows), found.total, place)


@router.get("/{reference}/export")
def export(person: Person, reference: str, format: str = "csv", spreadsheet: bool = False) -> Response:  # noqa: A002 as in the API
    """A version as a file, without what is sealed."""
    found = exports.export(person, reference, format, spreadsheet)
    return StreamingResponse(found.content, media_type=found.media_type, headers=found.headers)


@router.post("/{reference}/reserve", response_model=None)
def set_aside(request: Request, person: Person, reference: str) -> Response:
    """Half of the test rows into a reserve."""
    try:
        view = reserve.set_aside(person, reference)
    except (Invalid, Conflict) as error:
        return _index(request, person, reference, error)
    if isinstance(view, Upload):
        return seen(f"/datasets/uploads/{view.id}")
    return seen(f"/datasets/{reference.split('@', maxsplit=1)[0]}/versions")


@router.post("/{reference}/reserve/open")
def open_reserve(person: Person, reference: str, reason: Text = "") -> RedirectResponse:
    """Open the reserve on the record."""
    reserve.open_reserve(person, reference, reason)
    return seen(f"/datasets/{reference}?split=reserve#examples")


@router.post("/{key}/delete", response_model=None)
def delete(request: Request, person: Person, key: int) -> Response:
    """Delete the dataset, or say what is built on it."""
    try:
        removal.remove(person, key)
    except Conflict as error:
        return _index(request, person, str(key), error)
    return seen("/datasets")
