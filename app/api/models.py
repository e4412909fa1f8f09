"""/api/v1/models"""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.api import shapes
from app.doors import Person
from app.services import discarding, handing_out, models

router = APIRouter(prefix="/models")


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 100) -> dict[str, Any]:
    rows, following = models.recent(person, after, limit)
    return shapes.listing([shapes.model(row) for row in rows], following)


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: str) -> None:
    """Refused with 409 `in_use` while models or comparisons are built on it, or a job works with it."""
    discarding.model(person, key)


@router.get("/{key}")
def show(person: Person, key: str) -> dict[str, Any]:
    lineage = models.find(person, key)
    return {
        **shapes.model(lineage.model),
        "base": shapes.model(lineage.base) if lineage.base else None,
        "prompt_version": lineage.prompt.reference if lineage.prompt else None,
    }


@router.post("/{key}/merge", status_code=202)
def merge(person: Person, key: str) -> dict[str, Any]:
    """A job that makes one plain model of base and adapter, and compares its answers with theirs."""
    view = handing_out.merge(person, key)
    return shapes.job(view.job, view.turn)


@router.get("/{key}/download")
def download(person: Person, key: str, format: str = "") -> StreamingResponse:  # noqa: A002 as in the contract
    """The model as a zip: an adapter without its base, or one plain model (`merged`)."""
    name, folder = handing_out.folder_of(person, key, format)
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return StreamingResponse(handing_out.zipped(folder), media_type="application/zip", headers=headers)
