"""The Data room: the list, the upload, and a dataset's page with its sealed test split."""

from typing import Any

from fastapi import APIRouter, Request, UploadFile
from fastapi.responses import HTMLResponse, Response

from app.domain.dataset import SPLITS, DatasetVersion, closed
from app.domain.stats import detectable
from app.doors import Person
from app.errors import FettleError, Invalid
from app.pages import health as health_pages
from app.pages.dataset_words import reason, told
from app.pages.files import stored
from app.pages.forms import Text, whole
from app.pages.render import fragment, page, seen
from app.services import datasets, health, history
from app.settings import settings

router = APIRouter(prefix="/datasets")

ROWS = 50
LABELS = 12
"""Labels shown before "more"."""

SEED = (0, 2**31 - 1)


@router.get("")
def index(request: Request, person: Person, after: int | None = None) -> HTMLResponse:
    rows, following = datasets.recent(person, after)
    return page(request, "datasets/index.html", person, "data", rows=rows, following=following, paged=after is not None)


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    return _form(request, person, {})


def _form(request: Request, person: Person, values: dict[str, str], error: FettleError | None = None) -> HTMLResponse:
    told = error.as_dict() if error else None
    status = error.status if error else 200
    if request.headers.get("hx-request"):
        return fragment("datasets/_refused.html", status, error=told)
    return page(request, "datasets/new.html", person, "data", status, values=values, error=told, most=settings().upload_bytes)


@router.post("", response_model=None)
def create(
    request: Request, person: Person, file: UploadFile | None = None, name: Text = "", seed: Text = "", inputs: Text = "", outputs: Text = "", splits: Text = ""
) -> Response:
    """Take a file in. A refused one says what is wrong where, and nothing that was typed is lost."""
    columns = {"input": inputs.strip(), "output": outputs.strip(), "split": splits.strip()}
    try:
        with stored(file) as (path, filename):
            view = datasets.import_file(
                person,
                path,
                name=name,
                filename=filename,
                mapping={key: column for key, column in columns.items() if column} or None,
                seed=whole(seed.strip() or "0", "seed", *SEED),
            )
    except Invalid as error:
        return _form(request, person, {"name": name, "seed": seed, "inputs": inputs, "outputs": outputs, "splits": splits}, error)
    place = f"/datasets/{view.dataset.id}"
    return Response(status_code=204, headers={"HX-Redirect": place}) if request.headers.get("hx-request") else seen(place)


@router.get("/{reference}")
def show(request: Request, person: Person, reference: str, split: str | None = None, offset: int = 0) -> HTMLResponse:
    return _show(request, person, reference, split, offset)


def _show(request: Request, person: Person, reference: str, split: str | None = None, offset: int = 0, reason_error: str = "") -> HTMLResponse:
    view = datasets.find(person, reference)
    splits = {name: view.version.splits[name] for name in SPLITS if name in view.version.splits}
    chosen = split if split in splits else next(iter(splits))
    sealed = chosen in closed(view.version)
    offset = max(0, offset) // ROWS * ROWS
    rows = [] if sealed else datasets.examples(person, view.version.reference, chosen, offset, ROWS)
    # Looking at test rows is counted, and the page says the count with this look in it.
    version = datasets.find(person, view.version.reference).version if rows and chosen == "test" else view.version
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
        labels=sorted(version.labels, key=lambda label: -label["count"]),
        first_labels=LABELS,
        detectable=detectable(version.splits.get("test", 0)) if version.splits.get("test") else None,
        reason_error=reason_error,
        shut=sorted(closed(version)),
        told=told(version, view.dataset.source),
        why=reason(version),
        opened_before=history.opened_before(version),
        **health_pages.context(health.known(person, version.reference)),
    )


def _pager(version: DatasetVersion, split: str, offset: int, rows: int) -> dict[str, Any]:
    total = version.splits[split]

    def place(start: int) -> str:
        return f"/datasets/{version.reference}?split={split}&offset={start}#examples"

    return {
        "noun": f"{split} rows",
        "first": min(offset + 1, total),
        "last": offset + rows,
        "total": total,
        "previous": place(offset - ROWS) if offset else None,
        "next": place(offset + ROWS) if offset + ROWS < total else None,
    }


@router.post("/{reference}/reveal", response_model=None)
def reveal(request: Request, person: Person, reference: str, reason: Text = "") -> Response:
    """Open the test split on the record; without a reason it stays closed."""
    try:
        datasets.reveal(person, reference, reason)
    except Invalid as error:
        return _show(request, person, reference, "test", reason_error=f"{error.message} {error.advice}")
    return seen(f"/datasets/{reference}?split=test#examples")
