"""The health of a dataset's version: the cards on its page, the rows behind one, and the remedy."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.doors import Person
from app.pages.dataset_words import CARDS, fine, remedy, title
from app.pages.render import fragment, page, seen
from app.services import health
from app.services.health import Report

router = APIRouter(prefix="/datasets")

ROWS = 50


def context(report: Report) -> dict[str, Any]:
    """What `_health.html` shows; no cards while nobody has looked yet."""
    if report.findings is None:
        return {"cards": None, "more": [], "fine": [], "newest": report.newest}
    samples = health.first_rows(report)
    cards = [
        {"finding": one, "title": title(one.code), "rows": samples[one.code][0], "total": samples[one.code][1], "remedy": remedy(one, report.view.version)}
        for one in report.findings
    ]  # fmt: skip
    return {"cards": cards[:CARDS], "more": cards[CARDS:], "fine": fine(report.findings), "newest": report.newest}


@router.get("/{reference}/health")
def cards(request: Request, person: Person, reference: str) -> HTMLResponse:
    """The cards alone, for the dataset's page."""
    del request
    report = health.report(person, reference)
    return fragment("datasets/_health.html", version=report.view.version, **context(report))


@router.get("/{reference}/health/{code}")
def rows(request: Request, person: Person, reference: str, code: str, offset: int = 0) -> HTMLResponse:
    return _rows(request, person, reference, code, max(0, offset) // ROWS * ROWS)


def _rows(request: Request, person: Who, reference: str, code: str, offset: int) -> HTMLResponse:
    found = health.rows(person, reference, code, offset, ROWS)
    view = found.report.view
    return page(
        request,
        "datasets/finding.html",
        person,
        "data",
        dataset=view.dataset,
        version=view.version,
        finding=found.finding,
        title=title(found.finding.code),
        remedy=remedy(found.finding, view.version),
        newest=found.report.newest,
        rows=found.rows,
        hidden=found.hidden,
        pager=_pager(view.version, code, offset, len(found.rows), found.total),
    )


def _pager(version: DatasetVersion, code: str, offset: int, rows: int, total: int) -> dict[str, Any]:
    def place(start: int) -> str:
        return f"/datasets/{version.reference}/health/{code}?offset={start}"

    return {
        "noun": "rows",
        "first": min(offset + 1, total),
        "last": offset + rows,
        "total": total,
        "previous": place(offset - ROWS) if offset else None,
        "next": place(offset + ROWS) if offset + ROWS < total else None,
    }


@router.post("/{reference}/health/{code}", response_model=None)
def mend(person: Person, reference: str, code: str) -> Response:
    """Take the remedy: a new version, and its page."""
    view = health.mend(person, reference, code)
    return seen(f"/datasets/{view.dataset.id}#health")
