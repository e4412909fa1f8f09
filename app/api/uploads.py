"""/api/v1/uploads: how far a large import is."""

from typing import Any

from fastapi import APIRouter

from app.api import shapes
from app.doors import Person
from app.services import uploads

router = APIRouter(prefix="/uploads")


@router.get("")
def index(person: Person) -> dict[str, Any]:
    """Uploads that are no datasets yet, newest first."""
    return shapes.listing([shapes.upload(row) for row in uploads.unfinished(person)], None)


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shapes.upload(uploads.find(person, key))


@router.delete("/{key}", status_code=204)
def cancel(person: Person, key: shapes.Key) -> None:
    """Give it up: nothing of it is left. Rows that are in go within seconds."""
    uploads.cancel(person, key)
