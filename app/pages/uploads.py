"""From a file to version 1, or behind a dataset's rows: the upload, what was found in it and how it is read, its columns and splits, and how far it is."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, UploadFile
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.datastructures import FormData

from app.domain.access import Who
from app.domain.label_book import are_labels
from app.domain.upload import Upload
from app.doors import OneFile, Person
from app.errors import FettleError, Invalid, NotFound
from app.pages import upload_labels
from app.pages import upload_view as view
from app.pages.dataset_words import detects, foreseen
from app.pages.files import named
from app.pages.forms import Text
from app.pages.problem_words import asked
from app.pages.render import fragment, gone_on, page, seen
from app.readers import MAX_CELL, MAX_COLUMNS, MAX_ROWS
from app.readers.options import READING, from_json
from app.services import datasets, lengths, models, problem_lists, uploads
from app.services.datasets import DatasetView
from app.services.uploads import Sent
from app.settings import settings

router = APIRouter(prefix="/datasets")

LABELS = 10
"""Labels of the table that are shown at once; with a few more it can be searched."""


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    return _form(request, person, "")


@router.get("/{reference}/append")
def new_rows(request: Request, person: Person, reference: str) -> HTMLResponse:
    return _form(request, person, "", onto=datasets.find(person, reference.split("@", maxsplit=1)[0]))


def _form(request: Request, person: Who, name: str, error: FettleError | None = None, onto: DatasetView | None = None) -> HTMLResponse:
    told, status = (error.as_dict(), error.status) if error else (None, 200)
    if request.headers.get("hx-request"):
        return fragment("uploads/_refused.html", status, error=told)
    known = {
        "name": name,
        "onto": onto,
        "most": settings().upload_bytes,
        "limits": (MAX_ROWS, MAX_COLUMNS, MAX_CELL),
        "unfinished": [] if onto else uploads.unfinished(person),
    }
    return page(request, "uploads/new.html", person, "data", status, error=told, **known)


@router.post("/uploads", response_model=None, dependencies=[OneFile], max_body_size=settings().upload_bytes + 2**20)
def create(request: Request, person: Person, file: UploadFile | None = None, name: Text = "") -> Response:
    """Take a file in, and go to its page."""
    try:
        stream, filename = named(file)
    except Invalid as error:
        return _form(request, person, name, error)
    upload = uploads.accept(person, Sent(stream, filename, name), "report")
    return gone_on(request, f"/datasets/uploads/{upload.id}")


@router.post("/{reference}/append", response_model=None, dependencies=[OneFile], max_body_size=settings().upload_bytes + 2**20)
def create_rows(request: Request, person: Person, reference: str, file: UploadFile | None = None) -> Response:
    """Take a file in for a dataset that stands, and go to its page."""
    try:
        stream, filename = named(file)
        upload = uploads.accept_rows(person, reference, Sent(stream, filename))
    except Invalid as error:
        return _form(request, person, "", error, datasets.find(person, reference.split("@", maxsplit=1)[0]))
    return gone_on(request, f"/datasets/uploads/{upload.id}")


@router.get("/uploads")
def listed(person: Person, onto: int | None = None) -> HTMLResponse:
    """The list of uploads again, while it is looked at; or of those that make the next version of one dataset."""
    unfinished = uploads.unfinished(person, onto)
    return fragment("uploads/_unfinished.html", unfinished=unfinished, onto=onto) if unfinished else HTMLResponse("", headers={"HX-Refresh": "true"})


@router.get("/uploads/{key}", response_model=None)
def show(request: Request, person: Person, key: int) -> Response:
    upload = uploads.find(person, key)
    if upload.state == "done":
        return seen(_made(upload))
    return page(request, "uploads/show.html", person, "data", **_context(person, upload))


def _made(upload: Upload) -> str:
    """Where to see what became of it."""
    if upload.dataset_id is None:
        return "/datasets"
    return f"/datasets/{upload.dataset_id}{'/versions' if upload.onto else ''}"


def _context(person: Who, upload: Upload, error: FettleError | None = None) -> dict[str, Any]:
    report = upload.report or (uploads.first_look(person, upload.id) if upload.decidable else {})
    columns = view.columns_of(upload, report)
    used = {*(columns.inputs if len(columns.inputs) == 1 else ()), columns.output, columns.split}
    onto, shares = uploads.onto(person, upload), view.shares_shown(upload)
    outputs = report.get("outputs") or {}
    beside = upload_labels.beside(onto.version, report) if onto else None
    return {
        "upload": upload,
        "onto": onto,
        "beside": beside,
        "report": report,
        "fields": view.reading_fields(upload, report),
        "members": view.members_shown(upload, report),
        "offered": view.splits_offered(report),
        "each": view.EACH,
        "columns": columns,
        "leavable": view.leavable(upload, report),
        "pairs": [(name, name) for name in report.get("columns") or []],
        "others": [(name, name) for name in report.get("columns") or [] if name not in used or name == upload.cut.get("group")],
        "shares": shares,
        "detects": {share: detects(view.tested(report, share)) for share in (*view.TEST_SHARES, shares["test"])},
        "test_shares": view.TEST_SHARES,
        "cut_note": view.cut_note(report),
        "nothing": view.NONE,
        "split_choice": view.split_choice(upload, report, columns),
        "labels": sorted(((label, rows, upload_labels.key_of(label)) for label, rows in outputs.items()), key=lambda label: -label[1]),
        "nameable": onto is None and not upload.onto and are_labels(outputs),
        "first_labels": LABELS,
        "merges": upload_labels.merges(upload, report, beside),
        "displays": upload.cut.get("displays") or {},
        "displays_refused": upload_labels.displays_refused(upload, report),
        "models": [(str(one.model.id), one.model.name) for one in models.lineages(person) if one.model.kind == "foundation"],
        "marked": view.marked,
        "asked": asked(report),
        "foreseen": foreseen(report, bool(upload.onto)),
        "refused": error.as_dict() if error else None,
    }


async def posted(request: Request) -> FormData:
    return await request.form()


Posted = Annotated[FormData, Depends(posted)]


@router.post("/uploads/{key}")
def change(person: Person, key: int, form: Posted) -> HTMLResponse:
    """The form as it stands now: another way to read the file, other columns, other shares. Answers with the page's part."""
    try:
        upload, error = _changed(person, key, form), None
    except Invalid as refused:
        upload, error = uploads.find(person, key), refused
    return fragment("uploads/_body.html", **_context(person, upload, error))


KEEPS_COLUMNS = {"members", "leave_out", "split", "labels"}
"""Choices of which rows are read, as what, and by which label, not of what a row's columns are."""


def _changed(person: Who, key: int, form: FormData) -> Upload:
    """Only what changes the reading has the file read again; a change of it forgets the columns where they may be others now."""
    upload = uploads.find(person, key)
    report = upload.report or uploads.first_look(person, key)
    said, before = view.reading_options(form, report), {name: upload.options.get(name) for name in READING}
    if "split" not in form and "members" not in said and before["split"]:  # while there are no columns, it is not asked for
        said["split"] = before["split"]
    if "merges" not in form and before["labels"]:  # the table of labels was not there
        said["labels"] = before["labels"]
    columns = view.columns_of(upload, report)
    chosen = view.columns_sent(form, columns)
    name = upload.name if upload.onto else str(form.get("name") or "")
    changed = {field for field, value in before.items() if said.get(field) != (None if value == [] else value)}
    known = bool(report.get("columns")) and ("members" not in changed or before["members"])
    if changed and (changed - KEEPS_COLUMNS or not known):
        return uploads.read_otherwise(person, key, name, from_json(said), view.cut_sent(form, upload, has_split=False) | {"group": None})
    cut = view.cut_sent(form, upload, has_split=chosen.split is not None or "split" in said)
    if changed or (chosen != columns and known):
        return uploads.read_otherwise(person, key, name, from_json(said), cut, view.mapping_of(chosen))
    return uploads.keep_cut(person, key, name, cut)


@router.post("/uploads/{key}/freeze")
def freeze(request: Request, person: Person, key: int, form: Posted) -> Response:
    """Version 1, or the next one of the dataset it goes onto, as the form stands."""
    try:
        _changed(person, key, form)
        uploads.freeze(person, key)
    except FettleError as error:
        return page(request, "uploads/show.html", person, "data", error.status, **_context(person, uploads.find(person, key), error))
    return seen(f"/datasets/uploads/{key}")


@router.post("/uploads/{key}/cancel")
def cancel(person: Person, key: int) -> Response:
    uploads.cancel(person, key)
    return seen("/datasets")


@router.get("/uploads/{key}/progress")
def progress(person: Person, key: int, state: str = "") -> Response:
    """How far it is, asked for once a second. `state` is what the page shows: once it is another one, so is the page."""
    try:
        upload = uploads.find(person, key)
    except NotFound:
        return Response(status_code=204, headers={"HX-Redirect": "/datasets"})
    if upload.state == "done":
        return Response(status_code=204, headers={"HX-Redirect": _made(upload)})
    if upload.active:
        return fragment("uploads/_poll.html", upload=upload)
    if upload.decidable and state in ("waiting", "reading"):
        # The report stands. Nothing that was typed meanwhile is lost: the form is changed where it differs.
        return fragment("uploads/_body.html", 200, {"HX-Retarget": "#upload", "HX-Reswap": "innerMorph"}, **_context(person, upload))
    return Response(status_code=204, headers={"HX-Refresh": "true"})


@router.get("/uploads/{key}/lengths")
async def token_lengths(person: Person, key: int, model: str = "") -> HTMLResponse:
    """How long the first rows are for a model's tokenizer."""
    try:
        return fragment("uploads/_lengths.html", lengths=await lengths.of_upload(person, key, model), error=None)
    except FettleError as error:
        return fragment("uploads/_lengths.html", lengths=None, error=error.as_dict())


@router.get("/uploads/{key}/problems.csv")
def problems(person: Person, key: int) -> StreamingResponse:
    """Every problem of the file, as it is found."""
    found = problem_lists.problems(person, key)
    headers = {"Content-Disposition": f'attachment; filename="problems-{key}.csv"'}
    return StreamingResponse(problem_lists.as_csv(found), media_type="text/csv; charset=utf-8", headers=headers)
