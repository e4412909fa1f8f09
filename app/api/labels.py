"""/api/v1/datasets: the label book, labels given row by row until they are saved as a version, and a model's suggestions."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.api import shapes
from app.api.versions import Offset, made
from app.domain.label_book import MOST_ALIASES, MOST_LABELS
from app.doors import Person
from app.services import annotating, label_books, suggestions
from app.services.annotating import GivenRow, Progress

router = APIRouter(prefix="/datasets")


@router.get("/{reference}/labels")
def book(person: Person, reference: str, q: str = "", offset: Offset = 0, limit: shapes.Limit = 100) -> dict[str, Any]:
    """The label book in the order of its keys, those that hold the text `q`. `rendered` is what `{labels}` stands for."""
    view = label_books.find(person, reference)
    found = label_books.search(view.book, q)
    page = [label.as_json() for label in found[offset : offset + limit]]
    following = offset + limit if offset + limit < len(found) else None
    return {"version": view.version.number, "total": len(found), "rendered": view.book.rendered()} | shapes.listing(page, following)


@router.get("/{reference}/labels/proposals")
def proposals(person: Person, reference: str) -> dict[str, Any]:
    """Display texts that could be given to labels without one: {key, display, source}. Nothing is changed."""
    return shapes.listing([vars(one) for one in label_books.find(person, reference).proposals], None)


class LabelChange(shapes.Body):
    """What is said anew about one label; a key that is not in the book is added to it."""

    key: str = Field(min_length=1, max_length=10_000)
    display: str | None = None
    description: str | None = None
    aliases: list[str] | None = Field(None, max_length=10 * MOST_ALIASES)
    parent: str | None = None
    retired: bool | None = None
    none: bool | None = None


class NewBook(shapes.Body):
    labels: list[LabelChange] = Field(default=[], max_length=MOST_LABELS)
    removed: list[str] = Field(default=[], max_length=MOST_LABELS)
    reason: str = Field("", max_length=500)


@router.post("/{reference}/labels", status_code=201)
def rewrite(person: Person, reference: str, body: NewBook, response: Response) -> dict[str, Any]:
    """The next version: the same rows under another label book. A version of more than 20,000 rows answers 202 {upload}."""
    changes = [change.model_dump(exclude_unset=True) for change in body.labels]
    said = [{name: value for name, value in change.items() if value is not None or name == "parent"} for change in changes]
    return made(label_books.rewrite(person, reference, said, body.removed, body.reason), response)


def given(row: GivenRow) -> dict[str, Any]:
    """A row with the label that stands now; `saved` is the version's own."""
    values = {"id": row.example.id, "position": row.example.position, "split": row.example.split, "input": row.example.input, "output": row.output}
    return values | {"saved": row.example.output, "changed": row.changed, "clashes": row.clashes, "skipped": bool(row.given and row.given.skipped)}


def progress(found: Progress) -> dict[str, int]:
    return vars(found) | {"left": found.left}


class Given(shapes.Body):
    """`output` is a label's key; null takes the label away. `assisted`: a model's suggestion was on the screen."""

    example: int
    output: str | None = Field(None, max_length=1_000_000)
    assisted: bool = False
    skipped: bool = False


@router.post("/{key}/annotations")
def give(person: Person, key: shapes.Key, body: Given) -> dict[str, Any]:
    """Give a row of the newest version a label. It waits, for this person alone, until it is saved."""
    return progress(annotating.give(person, key, body.example, body.output, assisted=body.assisted, skipped=body.skipped))


@router.post("/{key}/annotations/undo")
def undo(person: Person, key: shapes.Key) -> dict[str, Any]:
    """Take back the last label given. `row` is how it stands now; null when there was nothing, or the row is gone."""
    found = annotating.undo(person, key)
    return {"undone": found.annotation is not None, "row": given(found.row) if found.row else None, "progress": progress(found.progress)}


class Reason(shapes.Body):
    reason: str = Field("", max_length=500)


@router.post("/{key}/annotations/save", status_code=201)
def save(person: Person, key: shapes.Key, body: Reason, response: Response) -> dict[str, Any]:
    """Every label given so far as the next version. `clashing` ones are on rows that somebody else changed meanwhile, and are kept.

    A version of more than 20,000 rows answers 202 {upload}; until it has made the next one, the labels wait as they did.
    """
    saved = annotating.save(person, key, body.reason)
    return made(saved.view, response) | {"saved": saved.rows, "clashing": saved.clashing}


@router.delete("/{key}/annotations", status_code=204)
def discard(person: Person, key: shapes.Key) -> None:
    annotating.discard(person, key)


@router.get("/{key}/queue")
def queue(person: Person, key: shapes.Key, after: Annotated[int, Query(ge=-1)] = -1, limit: Annotated[int, Query(ge=1, le=100)] = 8) -> dict[str, Any]:
    """The unlabelled rows to come, skipped ones last, with the person's progress."""
    found = annotating.queue(person, key, limit, after)
    return {"progress": progress(found.progress), "version": found.version.number} | shapes.listing([given(row) for row in found.rows], None)


class Wanted(shapes.Body):
    rows: list[int] = Field(min_length=1, max_length=suggestions.MOST_ROWS)
    model: int | str
    prompt_version: int | str | None = None


@router.post("/{reference}/suggestions")
async def suggest(person: Person, reference: str, body: Wanted) -> dict[str, Any]:
    """For each row the labels a model finds likeliest, with their shares. Rows are named by their ids."""
    found = await suggestions.suggest(person, reference, body.rows, body.model, body.prompt_version)
    return shapes.listing([{"example": one.example, "choices": [vars(choice) for choice in one.choices]} for one in found], None)
