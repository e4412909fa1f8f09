"""/api/v1/datasets"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile

from app.api import shapes
from app.doors import Person
from app.errors import Invalid
from app.readers.options import from_json
from app.services import datasets
from app.settings import settings

router = APIRouter(prefix="/datasets")


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    views, following = datasets.recent(person, after, limit)
    return shapes.listing([shapes.dataset(view.dataset, view.version) for view in views], following)


@router.post("", status_code=201, max_body_size=settings().upload_bytes + 2**20)
def create(
    person: Person,
    file: Annotated[UploadFile, File()],
    name: Annotated[str, Form(max_length=200)] = "",
    mapping: Annotated[str, Form()] = "",
    options: Annotated[str, Form()] = "",
    splits: Annotated[str, Form()] = "",
    seed: Annotated[int, Form(ge=0)] = 0,
) -> dict[str, Any]:
    """Both steps of the import in one. `mapping` {"input": column, ...} and `splits` {"train": 0.7, ...} are JSON objects.

    So is `options`, which says how the file is read where detection is wrong or has to ask: format, encoding, delimiter, quote,
    header, first_line, line_ends, member (of a ZIP), sheet (of a workbook), under (which list of a JSON object), and leave_out, the codes
    of problems whose rows are left out instead of refusing the file.
    """
    with tempfile.NamedTemporaryFile(dir=upload_folder(), prefix="upload-") as target:
        while chunk := file.file.read(1 << 20):
            target.write(chunk)
        target.flush()
        view = datasets.import_file(
            person,
            Path(target.name),
            name=name,
            filename=file.filename or "upload",
            mapping=json_object(mapping, "mapping"),
            options=from_json(json_object(options, "options") or {}),
            splits=json_object(splits, "splits"),
            seed=seed,
        )
    return shapes.dataset(view.dataset, view.version) | {"problems": []}


def upload_folder() -> Path:
    """Where uploads wait to be read; a private folder under the data folder."""
    folder = settings().folder / "uploads"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


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
    view = datasets.find(person, reference)
    return shapes.dataset(view.dataset, view.version)


@router.get("/{reference}/examples")
def examples(
    person: Person, reference: str, split: str | None = None, offset: Annotated[int, Query(ge=0, le=2**31)] = 0, limit: shapes.Limit = 100
) -> dict[str, Any]:
    """Rows in file order. The test split answers 403 `sealed` until somebody revealed it."""
    rows = datasets.examples(person, reference, split, offset, limit)
    return shapes.listing([shapes.example(row) for row in rows], offset + len(rows) if len(rows) == limit else None)


class Reason(shapes.Body):
    reason: str


@router.post("/{reference}/reveal")
def reveal(person: Person, reference: str, body: Reason) -> dict[str, Any]:
    """Open the test split's rows for reading, with a reason that is kept."""
    view = datasets.reveal(person, reference, body.reason)
    return shapes.dataset(view.dataset, view.version)
