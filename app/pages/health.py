"""The health of a dataset's version: the cards on its page, the rows behind one, and the remedy."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.finding import Finding
from app.doors import Person
from app.pages.dataset_words import CARDS, fine, remedy, title
from app.pages.forms import typed
from app.pages.paging import from_start, pager
from app.pages.render import fragment, page, seen
from app.services import datasets, health
from app.services.datasets import DatasetView
from app.services.health import Report

router = APIRouter(prefix="/datasets")

ROWS = 50


def context(report: Report) -> dict[str, Any]:
    """What `_health.html` shows; no cards while nobody has looked yet."""
    if report.findings is None:
        looking = {"share": report.share, "error": report.error}
        return {"cards": None, "more": [], "fine": [], "newest": report.newest, "optional": health.OPTIONAL, "quiet": {}, "looking": looking}
    samples = health.first_rows(report)
    cards = [
        {"finding": one, "title": title(one.code), "rows": samples[one.code][0], "total": samples[one.code][1], "remedy": _offered(report, one)}
        for one in report.findings
    ]  # fmt: skip
    said = [words for code, words in fine(report.findings) if code not in report.quiet]
    quiet = {code: title(code) for code in report.quiet}
    return {"cards": cards[:CARDS], "more": cards[CARDS:], "fine": said, "newest": report.newest, "optional": health.OPTIONAL, "quiet": quiet}


def _offered(report: Report, finding: Finding) -> dict[str, Any] | None:
    """A finding's remedy, where it may still be taken."""
    return None if finding.code in report.late else remedy(finding, report.view.version)


@router.get("/{reference}/health")
def cards(person: Person, reference: str) -> HTMLResponse:
    """The cards alone, for the dataset's page."""
    report = health.report(person, reference)
    return fragment("datasets/_health.html", version=report.view.version, **context(report))


@router.get("/{reference}/health/{code}")
def rows(request: Request, person: Person, reference: str, code: str, offset: int = 0) -> HTMLResponse:
    return _rows(request, person, reference, code, from_start(offset, ROWS))


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
        remedy=_offered(found.report, found.finding),
        newest=found.report.newest,
        rows=found.rows,
        hidden=found.hidden,
        pager=_pager(view.version, code, offset, len(found.rows), found.total),
    )


def _pager(version: DatasetVersion, code: str, offset: int, rows: int, total: int) -> dict[str, Any]:
    def place(start: int) -> str:
        return f"/datasets/{version.reference}/health/{code}?offset={start}"

    return pager("rows", offset, ROWS, rows, total, place)


@router.post("/{reference}/health/{code}/warn", response_model=None)
def warn(person: Person, reference: str, code: str, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Switch an optional warning on or off for the dataset."""
    view = datasets.find(person, reference)
    health.warn(person, view.dataset.id, code, bool(values.get("on")))
    return seen(f"/datasets/{reference}#health")


@router.post("/{reference}/health/{code}", response_model=None)
def mend(person: Person, reference: str, code: str) -> Response:
    """Take the remedy: a new version, and its page, or that of the upload that makes it."""
    view = health.mend(person, reference, code)
    return seen(f"/datasets/{view.dataset.id}#health" if isinstance(view, DatasetView) else f"/datasets/uploads/{view.id}")
