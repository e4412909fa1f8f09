"""/api/v1/models"""

from typing import Any

from fastapi import APIRouter

from app.api import shapes
from app.doors import Person
from app.services import models

router = APIRouter(prefix="/models")


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 100) -> dict[str, Any]:
    rows, following = models.recent(person, after, limit)
    return shapes.listing([shapes.model(row) for row in rows], following)


@router.get("/{key}")
def show(person: Person, key: str) -> dict[str, Any]:
    lineage = models.find(person, key)
    return {
        **shapes.model(lineage.model),
        "base": shapes.model(lineage.base) if lineage.base else None,
        "prompt_version": lineage.prompt.reference if lineage.prompt else None,
    }
