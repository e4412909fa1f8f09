"""/api/v1/datasets: versions, differences, appending, health, export, the reserve, deleting."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.api import shapes
from app.api.datasets import Reason, reading
from app.domain.lineage import Change, Drop, Edit, Move, Relabel
from app.domain.upload import Upload
from app.doors import OneFile, Person
from app.services import changing, datasets, exports, health, history, removal, reserve, uploads
from app.services.datasets import DatasetView
from app.services.uploads import Sent
from app.settings import settings

router = APIRouter(prefix="/datasets")

Offset = Annotated[int, Query(ge=0, le=2**31)]


def shown(view: DatasetView) -> dict[str, Any]:
    return shapes.dataset(view.dataset, view.version) | {"change": view.version.change}


def made(view: DatasetView | Upload, response: Response) -> dict[str, Any]:
    """The next version, or the upload that makes it: then the answer is 202."""
    if isinstance(view, DatasetView):
        return shown(view)
    response.status_code = 202
    return {"upload": view.id}


@router.get("/{key}/versions")
def versions(person: Person, key: shapes.Key) -> dict[str, Any]:
    """All versions, newest first: what was done, by whom, and the test rows by the version that was the first to test on them."""
    dataset, lines = history.versions(person, key)
    items = [
        shapes.dataset(dataset, line.version)
        | {"parent": line.parent, "change": line.version.change, "author": line.author, "sealed_at": line.version.sealed_at}
        | {"test_slices": [vars(one) for one in line.slices]}
        for line in lines
    ]
    return shapes.listing(items, None)


@router.get("/{reference}/diff")
def diff(person: Person, reference: str, since: int, kind: history.Kind | None = None, offset: Offset = 0, limit: shapes.Limit = 100) -> dict[str, Any]:
    """What differs since an older version. Rows of sealed splits are counted and not shown."""
    found = history.diff(person, reference, since, kind, offset, limit)
    rows = [{side: shapes.example(row) if (row := getattr(pair, side)) else None for side in ("before", "after")} for pair in found.rows]
    counts = {"counts": found.counts, "sealed": found.sealed, "kind": found.kind, "splits": found.splits}
    return counts | shapes.listing(rows, offset + len(rows) if offset + len(rows) < found.total else None)


class NewVersion(shapes.Body):
    """One change of the newest version. `rows` and the keys of `outputs` are ids of its examples."""

    kind: Literal["drop", "relabel", "move", "edit"]
    rows: list[int] = Field(default=[], max_length=100_000)
    labels: dict[str, str | None] = {}
    outputs: dict[int, str | None] = {}
    split: Literal["train", "validation", "test"] = "train"
    reason: str = Field("", max_length=500)

    def change(self) -> Change:
        rows = frozenset(self.rows)
        changes: dict[str, Change] = {
            "drop": Drop(rows),
            "relabel": Relabel(self.labels),
            "move": Move(rows, self.split),
            "edit": Edit(self.outputs),
        }
        return changes[self.kind]


@router.post("/{reference}/versions", status_code=201)
def create(person: Person, reference: str, body: NewVersion, response: Response) -> dict[str, Any]:
    """The next version, by a recorded change. A version of more than 20,000 rows answers 202 {upload}: see /api/v1/uploads."""
    return made(changing.change(person, reference, body.change(), body.reason), response)


@router.post("/{reference}/append", status_code=201, dependencies=[OneFile], max_body_size=settings().upload_bytes + 2**20)
def append(
    person: Person,
    reference: str,
    response: Response,
    file: Annotated[UploadFile, File()],
    mapping: Annotated[str, Form()] = "",
    options: Annotated[str, Form()] = "",
    reason: Annotated[str, Form(max_length=500)] = "",
    repeats: Annotated[bool, Form()] = False,
) -> dict[str, Any]:
    """The next version with a file's rows behind the others. Rows that are there already are left out unless `repeats`.

    It is read as the dataset's first file was, by the same columns; `mapping` and `options` (as in POST /api/v1/datasets) say otherwise.
    The answer says how in `detected` and `notes`. A file above 2 MB or of more than 20,000 rows, or a version of more than 20,000, answers 202 {upload}: see /api/v1/uploads.
    """
    sent = Sent(file.file, file.filename or "upload", options=reading(options, mapping))
    view = uploads.append(person, reference, sent, file.size or 0, reason, repeats)
    return made(view, response) | (shapes.read(view.version) if isinstance(view, DatasetView) else {})


@router.get("/{reference}/health")
def findings(person: Person, reference: str) -> dict[str, Any]:
    """What was found, most harm first; `items` is null while a long version is still looked at, and `share` says how far that is. One that came to
    nothing says so in `error`; POST …/background/health has it looked at again."""
    report = health.report(person, reference)
    if report.findings is None:
        return {"items": None, "next": None, "share": round(report.share, 3), "error": report.error}
    names = ("code", "harm", "count", "sentence", "remedy", "fixed", "after")
    return shapes.listing([{name: getattr(one, name) for name in names} for one in report.findings], None)


class Warn(shapes.Body):
    on: bool


@router.put("/{reference}/health/{code}/warn")
def warn(person: Person, reference: str, code: str, body: Warn) -> dict[str, Any]:
    """Switch an optional warning (personal_data) on or off for the dataset, in all its versions."""
    view = datasets.find(person, reference)
    health.warn(person, view.dataset.id, code, body.on)
    return {"code": code, "on": body.on}


@router.get("/{reference}/health/{code}/examples")
def finding_rows(person: Person, reference: str, code: str, offset: Offset = 0, limit: shapes.Limit = 100) -> dict[str, Any]:
    """The rows behind a finding; `hidden` ones are sealed."""
    found = health.rows(person, reference, code, offset, limit)
    following = offset + len(found.rows)
    return {"hidden": found.hidden} | shapes.listing([shapes.example(row) for row in found.rows], following if following < found.total else None)


@router.post("/{reference}/health/{code}/mend", status_code=201)
def mend(person: Person, reference: str, code: str, response: Response) -> dict[str, Any]:
    """The next version, with the finding's remedy. A version of more than 20,000 rows answers 202 {upload}."""
    return made(health.mend(person, reference, code), response)


class Share(shapes.Body):
    share: float = Field(reserve.SHARE, gt=0, lt=1)


@router.post("/{reference}/reserve", status_code=201)
def set_aside(person: Person, reference: str, body: Share, response: Response) -> dict[str, Any]:
    """The next version, with a share of the test rows set aside. A version of more than 20,000 rows answers 202 {upload}."""
    return made(reserve.set_aside(person, reference, body.share), response)


@router.post("/{reference}/reserve/open")
def open_reserve(person: Person, reference: str, body: Reason) -> dict[str, Any]:
    """Open the reserve, once, with a reason that is kept."""
    return shown(reserve.open_reserve(person, reference, body.reason))


@router.get("/{reference}/export")
def export(person: Person, reference: str, format: str = "csv", spreadsheet: bool = False) -> StreamingResponse:  # noqa: A002 the name in the contract
    """A version as csv, jsonl or parquet, without the rows that are sealed: the header X-Fettle-Left-Out counts them."""
    found = exports.export(person, reference, format, spreadsheet)
    return StreamingResponse(found.content, media_type=found.media_type, headers=found.headers)


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    """Delete a dataset with all its versions. 409 `in_use` names what is built on it."""
    removal.remove(person, key)
