"""/api/v1/notebook"""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api import shapes
from app.doors import Person
from app.services import notebook

router = APIRouter(prefix="/notebook")

Session = Annotated[str | None, Query(max_length=64)]


@router.get("")
def index(
    person: Person, session: Session = None, model: Annotated[str | None, Query(max_length=300)] = None, after: shapes.After = None, limit: shapes.Limit = 50
) -> dict[str, Any]:
    """One's own runs, newest first. `kept` is how many the notebook keeps; older ones go."""
    found = notebook.look(person, session, model, after, limit)
    return shapes.listing([shapes.run(row) for row in found.runs], found.following) | {"total": found.total, "kept": found.kept, "models": found.models}


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    """One run, with `logprobs` (of each of its texts) and `labels` where they were asked for."""
    run = notebook.find(person, key)
    return shapes.run(run) | {"logprobs": notebook.logprobs_of(run), "labels": notebook.labels_of(run)}


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    notebook.remove(person, key)


@router.delete("")
def clear(person: Person, session: Session = None) -> dict[str, int]:
    """Delete a session; without one, the whole notebook."""
    return {"deleted": notebook.clear(person, session)}
