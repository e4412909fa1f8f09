"""/api/v1/queues and /api/v1/workers"""

from typing import Any

from fastapi import APIRouter

from app.api import shapes
from app.domain.queue import QUEUES
from app.doors import Person
from app.services import queues

router = APIRouter()


@router.get("/queues")
def index(person: Person) -> dict[str, Any]:
    """Every queue: how many jobs run and wait, whether somebody serves it, and since when and by whom it is paused."""
    board = queues.board(person)
    return shapes.listing([_queue(name, board) for name in QUEUES], None)


def _queue(name: str, board: queues.Board) -> dict[str, Any]:
    pause = board.paused.get(name)
    return {
        "name": name,
        "running": sum(job.queue == name for job in board.running),
        "waiting": board.counts.get(name, 0),
        "served": any(post.alive and post.worker.queue == name for post in board.posts),
        "paused": None if pause is None else {"since": pause.since, "by": pause.by},
    }


@router.post("/queues/{name}/pause")
def pause(person: Person, name: str) -> dict[str, Any]:
    """Hand out no more jobs; what runs goes on."""
    queues.pause(person, name)
    return _queue(name, queues.board(person))


@router.post("/queues/{name}/resume")
def resume(person: Person, name: str) -> dict[str, Any]:
    queues.resume(person, name)
    return _queue(name, queues.board(person))


@router.get("/workers")
def workers(person: Person) -> dict[str, Any]:
    """Who works here, or has within the last week: devices, versions, the job in hand, the last heartbeat."""
    found = [
        {
            **{name: getattr(post.worker, name) for name in ("name", "kind", "queue", "devices", "versions", "heartbeat_at")},
            "alive": post.alive,
            "job": post.job.id if post.job else None,
        }
        for post in queues.posts(person)
    ]
    return shapes.listing(found, None)
