"""What can be done on the Tune page: put jobs in another order, give them a priority, pause a queue and let it go on."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from app.domain.access import Who
from app.domain.job import FINAL
from app.domain.order import PRIORITIES, Move
from app.doors import Person
from app.pages import queue_words
from app.pages.forms import whole
from app.pages.render import fragment, seen
from app.services import jobs, queues

router = APIRouter(prefix="/jobs")

Back = Annotated[int | None, Form()]


def tables(person: Who, after: int | None = None, state: str | None = None) -> dict[str, Any]:
    """What `_tables.html` shows: the queues and who works on them (on the first page, when the list is not narrowed), and what is over."""
    over = (state,) if state in FINAL else FINAL
    history, following = jobs.recent(person, after, states=over)
    whole_page = after is None and state not in FINAL
    board = queues.board(person) if whole_page else None
    return {
        "lines": queue_words.lines(board) if board else [],
        "posts": queue_words.shown_posts(board) if board else [],
        "history": history,
        "following": following,
        "paged": after is not None,
        "state": state if state in FINAL else None,
    }


def _again(request: Request, person: Who, back: int | None = None) -> Response:
    """The page's tables to the script that asked; to a plain form the page it came from: a job's (`back`), or this one."""
    if request.headers.get("hx-request"):
        return fragment("jobs/_tables.html", **tables(person))
    return seen(f"/jobs/{back}" if back else "/jobs")


@router.post("/{key}/move", response_model=None)
def move(request: Request, person: Person, key: int, to: Annotated[Move, Form()], back: Back = None) -> Response:
    queues.move(person, key, to)
    return _again(request, person, back)


@router.post("/{key}/priority", response_model=None)
def prioritise(request: Request, person: Person, key: int, priority: Annotated[str, Form()]) -> Response:
    queues.prioritise(person, key, whole(priority, "priority", *PRIORITIES))
    return _again(request, person)


@router.post("/queues/{name}/pause", response_model=None)
def pause(request: Request, person: Person, name: str) -> Response:
    queues.pause(person, name)
    return _again(request, person)


@router.post("/queues/{name}/resume", response_model=None)
def resume(request: Request, person: Person, name: str, back: Back = None) -> Response:
    queues.resume(person, name)
    return _again(request, person, back)
