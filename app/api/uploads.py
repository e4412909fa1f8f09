"""/api/v1/uploads: how far a large import is."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.api import shapes
from app.doors import Person
from app.services import problem_lists, uploads

router = APIRouter(prefix="/uploads")


@router.get("")
def index(person: Person) -> dict[str, Any]:
    """Uploads that are no datasets yet, newest first."""
    return shapes.listing([shapes.upload(row) for row in uploads.unfinished(person)], None)


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shapes.upload(uploads.find(person, key))


@router.get("/{key}/problems")
def problems(person: Person, key: shapes.Key, format: Literal["jsonl", "csv"] = "jsonl") -> StreamingResponse:  # noqa: A002 as in an export
    """Every problem of a file that was refused, in order, read from it anew: one JSON object a line, or a table. A refused file is kept for a day, or until
    its upload is given up; then 409 `file_gone`."""
    found = problem_lists.problems(person, key)
    if format == "csv":
        return StreamingResponse(problem_lists.as_csv(found), media_type="text/csv; charset=utf-8")
    return StreamingResponse(problem_lists.as_lines(found), media_type="application/jsonl")


@router.delete("/{key}", status_code=204)
def cancel(person: Person, key: shapes.Key) -> None:
    """Give it up: nothing of it is left. Rows that are in go within seconds."""
    uploads.cancel(person, key)
