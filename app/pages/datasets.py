"""The Data room: the list, and a dataset's page with its sealed test split."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.dataset import DatasetVersion, closed
from app.domain.splits import SPLITS
from app.doors import Person
from app.errors import Invalid
from app.pages import health as health_pages
from app.pages.dataset_words import detects, reason, told
from app.pages.forms import Text
from app.pages.paging import from_start, pager
from app.pages.render import fragment, page, seen
from app.services import chores, datasets, grid, health, history, models, uploads

router = APIRouter(prefix="/datasets")

ROWS = 50
LABELS = 12
"""Labels shown before "more"."""


@router.get("")
def index(request: Request, person: Person, after: int | None = None) -> HTMLResponse:
    rows, following = datasets.recent(person, after)
    return page(
        request,
        "datasets/index.html",
        person,
        "data",
        rows=rows,
        following=following,
        paged=after is not None,
        onto=None,
        unfinished=uploads.unfinished(person),
    )


@router.get("/{reference}")
def show(request: Request, person: Person, reference: str, split: str | None = None, offset: int = 0, q: str = "", after: int = -1) -> HTMLResponse:
    """A version with a page of its rows: those from `offset` on, or those that have the words of `q`, from behind a position on."""
    return _show(request, person, reference, split, offset, q.strip()[:200], after)


def _show(
    request: Request, person: Who, reference: str, split: str | None = None, offset: int = 0, q: str = "", after: int = -1, reason_error: str = ""
) -> HTMLResponse:
    view = datasets.find(person, reference)
    splits = {name: view.version.splits[name] for name in SPLITS if name in view.version.splits}
    chosen = split if split in splits else next(iter(splits))
    sealed = chosen in closed(view.version)
    offset = from_start(offset, ROWS)
    found = grid.find(person, view.version.reference, q, chosen, after, ROWS) if q and not sealed else None
    rows = found.rows if found else [] if sealed else grid.examples(person, view.version.reference, chosen, offset, ROWS)
    version = view.version
    return page(
        request,
        "datasets/show.html",
        person,
        "data",
        422 if reason_error else 200,
        dataset=view.dataset,
        version=version,
        splits=splits,
        split=chosen,
        sealed=sealed,
        variables=version.variables,
        rows=rows,
        pager=_pager(version, chosen, offset, len(rows)),
        q=q,
        found=found,
        following=f"/datasets/{version.reference}?{urlencode({'split': chosen, 'q': q, 'after': found.following})}#examples"
        if found and found.following
        else None,
        unfinished=uploads.unfinished(person, view.dataset.id),
        background=grid.background(person, version.reference),
        tokenizers=models.foundation(person),
        labels=sorted(version.labels, key=lambda label: -label["count"]),
        first_labels=LABELS,
        rolled=version.book.with_those_below(),
        detects=detects(version.splits.get("test", 0)),
        reason_error=reason_error,
        shut=sorted(closed(version)),
        told=told(version, view.dataset.source),
        why=reason(version),
        opened_before=history.opened_before(version),
        looked=datasets.looked_at(version),  # counted with the look at the rows above
        **health_pages.context(health.known(person, version.reference)),
    )


def _pager(version: DatasetVersion, split: str, offset: int, rows: int) -> dict[str, Any]:
    def place(start: int) -> str:
        return f"/datasets/{version.reference}?split={split}&offset={start}#examples"

    return pager(f"{split} rows", offset, ROWS, rows, version.splits[split], place)


@router.get("/{reference}/background")
def background(person: Person, reference: str) -> HTMLResponse:
    """What is being worked out about a version, asked for while something is."""
    view = datasets.find(person, reference)
    return fragment("datasets/_background.html", version=view.version, background=grid.background(person, reference), tokenizers=models.foundation(person))


@router.post("/{reference}/background/{kind}", response_model=None)
def run_again(person: Person, reference: str, kind: str, split: Text = "", q: Text = "", view: Text = "") -> Response:
    """Have a step that failed done again, and back to where it was asked for."""
    chores.run_again(person, reference, kind)
    asked = urlencode({"split": split, "q": q})
    if view == "grid":
        return seen(f"/datasets/{reference.partition('@')[0]}/grid?{asked}")
    return seen(f"/datasets/{reference}?{asked}#examples" if q else f"/datasets/{reference}#background")


@router.post("/{reference}/lengths", response_model=None)
def lengths(person: Person, reference: str, model: Text = "") -> Response:
    """Count the version's tokens for another model, in the background."""
    chores.begin_lengths(person, reference, model)
    return seen(f"/datasets/{reference}#background")


@router.post("/{reference}/reveal", response_model=None)
def reveal(request: Request, person: Person, reference: str, reason: Text = "") -> Response:
    """Open the test split on the record; without a reason it stays closed."""
    try:
        datasets.reveal(person, reference, reason)
    except Invalid as error:
        return _show(request, person, reference, "test", reason_error=f"{error.message} {error.advice}")
    return seen(f"/datasets/{reference}?split=test#examples")
