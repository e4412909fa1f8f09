"""Home: one line a task with one next step each. And the strip of running work that every page carries."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from app.domain.access import Who
from app.doors import Person
from app.pages import queue_words
from app.pages.render import fragment, is_fragment, live, page
from app.services import accounts, home
from app.settings import settings

router = APIRouter()

VISIT = "visit"
VISIT_SECONDS = 1800
NEXT = 3
"""Waiting jobs that are named."""


@router.get("/")
def show(request: Request, person: Person) -> HTMLResponse:
    """The tasks. While something runs the page asks again for its table only."""
    tasks = home.tasks(person)
    if is_fragment(request):
        return fragment("home/_tasks.html", tasks=tasks)
    moment = request.cookies.get(VISIT, "")
    # A visit lasts half an hour: within it a reload counts from the same moment, so that the news does not vanish at a second look.
    before = int(moment) if moment.isdigit() else accounts.seen(person) or 0
    response = page(request, "home/home.html", person, "home", tasks=tasks, **_now(person, before))
    response.set_cookie(VISIT, str(before), max_age=VISIT_SECONDS, path="/", httponly=True, samesite="lax", secure=settings().secure_cookies)
    return response


@router.get("/now")
def now(person: Person, before: Annotated[int, Query(ge=0, le=2**53)] = 0) -> HTMLResponse:
    """What runs and waits, what there is to run on, what is broken and what ended, asked for again by a page that was opened with a last visit then."""
    return fragment("home/_moment.html", person=person.name, **_now(person, before))


def _now(person: Who, before: int) -> dict[str, Any]:
    found = home.present(person)
    board = found.board
    return {
        "running": [queue_words.Row(job) for job in board.running],
        "next": [(job, board.turns.get(job.id)) for job in board.waiting[:NEXT]],
        "waiting": sum(board.counts.values()),
        "paused": {*board.paused} & {*board.counts},
        "posts": [one for one in queue_words.shown_posts(board) if one["post"].alive],
        "disks": found.disks,
        "taken_ms": board.now,
        "troubles": home.trouble(person),
        "before": before,
        "since": home.since(person, before) if before else None,
    }


@router.get("/live")
def strip(person: Person) -> HTMLResponse:
    """What runs and waits now."""
    return fragment("shared/_live.html", live=live(person))
