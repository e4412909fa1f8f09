"""/api/v1/datasets"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Response, UploadFile

from app.api import shapes
from app.domain.upload import Upload
from app.doors import OneFile, Person
from app.errors import Invalid
from app.readers.options import Options, check, from_json
from app.services import chores, datasets, grid, uploads
from app.services.uploads import Sent
from app.settings import settings

router = APIRouter(prefix="/datasets")


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    views, following = datasets.recent(person, after, limit)
    return shapes.listing([shapes.dataset(view.dataset, view.version) for view in views], following)


@router.post("", status_code=201, dependencies=[OneFile], max_body_size=settings().upload_bytes + 2**20)
def create(
    person: Person,
    response: Response,
    file: Annotated[UploadFile, File()],
    name: Annotated[str, Form(max_length=200)] = "",
    mapping: Annotated[str, Form()] = "",
    options: Annotated[str, Form()] = "",
    splits: Annotated[str, Form()] = "",
    group: Annotated[str, Form()] = "",
    seed: Annotated[int, Form(ge=0)] = 0,
) -> dict[str, Any]:
    """Both steps of the import in one. `mapping` {"input": column, ...} and `splits` {"train": 0.7, ...} are JSON objects.

    `input` may be a list of columns; rows with the same value in the column `group` stay in one split as far as equal texts let them. `options`, JSON too, says
    how the file is read where detection is wrong or has to ask: format, encoding, delimiter, quote, header, first_line, line_ends, member
    (of a ZIP), members (those of a ZIP that are a split each: {"train.csv": "train", "test.csv": "test"}), sheet (of a workbook), under (which list of
    a JSON object), split (the one that all rows of the file are in: train, validation, test or reserve), leave_out, the codes of problems whose rows are left out
    instead of refusing the file, and labels, those of the file that are read as another one ({"Refund ": "refund"}). A file above 20 MB, or a packed one (gzip, ZIP, XLSX, Parquet) above 2 MB, answers 202 {upload}, and so does a smaller packed one that holds more than
    20,000 rows or takes longer than 5 seconds to read: see /api/v1/uploads. A refusal tells the first 20 problems; where there are more, `upload` in its
    detail says whose GET /api/v1/uploads/ID/problems has them all.

    The answer says how the file was read (`detected`: format, encoding, delimiter, header and more) and what somebody should know about that (`notes`).
    """
    sent = Sent(
        file.file, file.filename or "upload", name, reading(options, mapping), {"splits": json_object(splits, "splits"), "seed": seed, "group": group or None}
    )
    view = uploads.make(person, sent, file.size or 0)
    if isinstance(view, Upload):
        response.status_code = 202
        return {"upload": view.id}
    return shapes.dataset(view.dataset, view.version) | shapes.read(view.version) | {"problems": []}


def reading(options: str, mapping: str) -> Options:
    """How a file is read, and by which columns, from two JSON objects. Raises Invalid."""
    how = replace(from_json(json_object(options, "options") or {}), mapping=json_object(mapping, "mapping") or {})
    check(how)
    return how


def json_object(text: str, field: str) -> Mapping[str, Any] | None:
    if not text.strip():
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Invalid("bad_request", f"{field} is not a JSON object.", 'Write it like {"input": "text", "output": "label"}.', detail={"field": field})
    return value


@router.get("/{reference}")
def show(person: Person, reference: str) -> dict[str, Any]:
    """`scored` and `viewed` are of the test rows in this version; `looks` has those of every sealed split in all versions that hold its rows, and in which of
    them they were opened as a reserve."""
    view = datasets.find(person, reference)
    looks = {split: asdict(one) for split, one in datasets.looked_at(view.version).items()}
    return shapes.dataset(view.dataset, view.version) | shapes.read(view.version) | {"looks": looks}


@router.get("/{reference}/examples")
def examples(
    person: Person,
    reference: str,
    split: str | None = None,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: shapes.Limit = 100,
    q: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[int, Query(ge=-1, le=2**31)] = -1,
) -> dict[str, Any]:
    """Rows in file order. The test split answers 403 `sealed` until somebody revealed it.

    With `q` only those that have all its words, the last of which may go on; `next` is then the `after` to go on from, and `indexing`
    says how far the index is while it does not stand; where building it failed, 409 `index_failed` says why.
    """
    if q.strip():
        found = grid.find(person, reference, q, split, after, limit)
        if found.error is not None:
            raise found.error
        return shapes.listing([shapes.example(row) for row in found.rows], found.following) | {"total": found.total, "indexing": found.indexing}
    rows = grid.examples(person, reference, split, offset, limit)
    return shapes.listing([shapes.example(row) for row in rows], offset + len(rows) if len(rows) == limit else None)


@router.post("/{reference}/background/{kind}", status_code=202)
def run_again(person: Person, reference: str, kind: str) -> dict[str, Any]:
    """Have a background step of a version (`search`, `near_duplicates`, `lengths`) that failed done again. One that runs, waits or is done is left as it is."""
    chore = chores.run_again(person, reference, kind)
    return {"kind": chore.kind, "state": chore.state, "done": chore.done, "total": chore.total, "error": chore.error}


class Reason(shapes.Body):
    reason: str


@router.post("/{reference}/reveal")
def reveal(person: Person, reference: str, body: Reason) -> dict[str, Any]:
    """Open the test split's rows for reading, with a reason that is kept."""
    view = datasets.reveal(person, reference, body.reason)
    return shapes.dataset(view.dataset, view.version)
