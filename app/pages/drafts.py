"""/lab/draft: what the Lab keeps on the server while somebody types."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from app.domain.draft import Draft
from app.domain.wording import By, sections
from app.doors import Person
from app.errors import Conflict, Forbidden
from app.pages.editor import Words
from app.pages.render import fragment
from app.services import drafts

router = APIRouter(prefix="/lab")

Key = Annotated[str, Query(min_length=1, max_length=64)]


class Kept(BaseModel):
    """`revision` is the one that was changed; 0 for a new draft. `account` is who the page was opened by: by now somebody else may be signed in."""

    key: str = Field(min_length=1, max_length=64)
    revision: int = Field(ge=0, le=2**53)
    state: dict[str, Any]
    account: int | None = None


class Wording(Words):
    """A prompt version's fields, saved or not. What else the editor holds is no part of it."""

    parameters: dict[str, Any] = {}


class Pair(BaseModel):
    theirs: Wording
    mine: Wording
    by: By = "word"


@router.get("/draft", response_model=None)
def find(person: Person, key: Annotated[str | None, Query(max_length=64)] = None) -> dict[str, Any] | Response:
    """A draft by its key, or the one that was saved last; 204 without one."""
    found = drafts.find(person, key)
    return _told(found) if found else Response(status_code=204)


@router.put("/draft", response_model=None)
def save(person: Person, body: Kept) -> dict[str, Any] | Response:
    """Keep it; a newer one that stands there is no failed request: it comes back whole. 403 to a page that somebody else opened."""
    try:
        return {"revision": drafts.save(person, body.key, body.revision, body.state, body.account).revision}
    except Conflict as error:
        return {**error.detail, "error": {"code": error.code, "message": error.message, "advice": error.advice}}
    except Forbidden as error:
        return JSONResponse({"error": error.as_dict()}, error.status)


@router.delete("/draft", status_code=204)
def remove(person: Person, key: Key) -> None:
    drafts.remove(person, key)


@router.post("/compare")
def compare(person: Person, body: Pair) -> Response:
    """Both wordings as one text with what differs marked: theirs struck out, mine underlined."""
    del person
    theirs, mine = body.theirs.model_dump(), body.mine.model_dump()
    return fragment("prompts/_both.html", sections=sections(theirs, mine, body.by), theirs=theirs, mine=mine)


def _told(row: Draft) -> dict[str, Any]:
    return {"key": row.key, "revision": row.revision, "state": row.state, "saved_at": row.saved_at}
