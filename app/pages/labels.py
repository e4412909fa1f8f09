"""A dataset's labels: the label book, the grid of rows, and the queue of unlabelled rows. Their scripts work through /api/v1/datasets."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.domain import text_search
from app.domain.label_book import LabelBook, is_code
from app.doors import Person
from app.pages.forms import prompt_choices
from app.pages.paging import from_start, pager
from app.pages.render import page
from app.pages.text import natural
from app.services import annotating, datasets, endpoints, jobs, label_books, models
from app.services.annotating import Grid

router = APIRouter(prefix="/datasets")

ROWS = 50
AHEAD = 8
"""Rows of the queue that are fetched at a time."""


@router.get("/{reference}/labels")
def book(request: Request, person: Person, reference: str) -> HTMLResponse:
    view = label_books.find(person, reference)
    newest = datasets.find(person, view.dataset.id).version.number == view.version.number
    plain = [label for label in view.book.labels if label.display == label.key and is_code(label.key)]
    given = {
        "reference": view.version.reference,
        "labels": sorted(view.book.as_json(), key=lambda label: natural(label["key"])),
        "proposals": [vars(one) for one in view.proposals],
        "newest": newest,
        "next": f"/datasets/{view.dataset.id}/labels",
    }
    return page(
        request,
        "datasets/labels.html",
        person,
        "data",
        dataset=view.dataset,
        version=view.version,
        newest=newest,
        codes=[label.key for label in plain],
        given=given,
    )


def _choices(found: LabelBook) -> list[dict[str, Any]]:
    """The labels a person may give, as the pickers take them; the one for none of these stands last."""
    offered = sorted(found.offered, key=lambda label: (label.none, natural(label.key)))
    return [{"key": one.key, "display": one.display, "description": one.description, "aliases": one.aliases, "none": one.none} for one in offered]


@router.get("/{key}/grid")
def grid(
    request: Request, person: Person, key: str, split: str = "", label: str | None = None, q: str = "", changed: str = "", offset: int = 0
) -> HTMLResponse:
    offset = from_start(offset, ROWS)
    found = annotating.grid(person, key, split=split, label=label or None, text=q, changed=bool(changed), offset=offset, limit=ROWS)
    filters = {"label": label or "", "q": q, "changed": changed}
    return page(
        request,
        "datasets/grid.html",
        person,
        "data",
        grid=found,
        dataset=found.dataset,
        version=found.version,
        book=found.version.book,
        filters=filters,
        pager=_pager(request, found, offset, narrowed=bool(label or changed)),
        most=text_search.MOST_FOUND,
        given={"dataset": found.dataset.id, "labels": _choices(found.version.book), "progress": vars(found.progress)},
    )


def _pager(request: Request, found: Grid, offset: int, *, narrowed: bool) -> dict[str, Any]:
    def place(start: int) -> str:
        return str(request.url.include_query_params(split=found.split, offset=start).replace(scheme="", netloc=""))

    beyond = ("at least" if narrowed else "more than") if found.more else ""
    return pager(f"{found.split} rows", offset, ROWS, len(found.rows), found.total, place, beyond)


@router.get("/{key}/queue")
def queue(request: Request, person: Person, key: str) -> HTMLResponse:
    found = annotating.queue(person, key, AHEAD)
    refusing = endpoints.refusing(person)
    given = {
        "dataset": found.dataset.id,
        "reference": found.version.reference,
        "labels": _choices(found.version.book),
        "progress": vars(found.progress),
        "ahead": AHEAD,
        "engine": bool(jobs.health()["engine"]),
    }
    return page(
        request,
        "datasets/queue.html",
        person,
        "data",
        dataset=found.dataset,
        version=found.version,
        progress=found.progress,
        models=[(one.model.id, one.model.shown, refusing.get(one.model.endpoint_id or 0, "")) for one in models.lineages(person)],
        prompts=prompt_choices(person, ""),
        given=given,
    )
