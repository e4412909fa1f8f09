"""The queues in words: what stands over each, beside each job and behind each worker. Pure; times are milliseconds since 1970."""

from dataclasses import dataclass
from typing import Any

from app.domain.job import Job
from app.domain.queue import QUEUES
from app.domain.worker import gpus as gpus_of
from app.domain.worker import most_room
from app.pages.formatting import ago, count, size
from app.services.jobs import COMMANDS
from app.services.queues import Board, Post

TITLES = {"gpu": "Queue", "light": "Queue for endpoints"}
RECENT_MS = 3_600_000
"""A worker that has been silent for longer is not shown, unless a job still names it."""


@dataclass(frozen=True)
class Row:
    """One job of a queue; `place` is its place among those that wait, none while it runs. `first` and `last` say where it cannot be moved to."""

    job: Job
    place: int | None = None
    first: bool = False
    last: bool = False
    why: str = ""
    begins: int | None = None
    """When its turn comes, where that is measured."""

    @property
    def how(self) -> str:
        """What a waiting job waits for: a thing, or its turn."""
        place = ordinal(self.place or 1)
        return f"{place}; {self.why}" if self.why else "next" if self.place == 1 else f"{place} in the queue"

    @property
    def fraction(self) -> float | None:
        job = self.job
        counted = job.total_steps and not job.in_trials and job.phase in ("train", "evaluate")
        return job.step / job.total_steps if counted and job.total_steps else None


@dataclass(frozen=True)
class Line:
    """A queue with its jobs. `state` is said beside its title; `trouble` is why nothing moves, and what to do."""

    name: str
    title: str
    rows: list[Row]
    more: int
    paused: bool
    state: str
    trouble: str = ""


def ordinal(place: int | None) -> str:
    value = place or 0
    ending = "th" if 10 <= value % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{count(value)}{ending}"


def lines(board: Board) -> list[Line]:
    """The queue of devices, and every other in which there is something."""
    there = {"gpu", *board.paused, *board.counts, *(job.queue for job in board.running)}
    return [_line(board, name) for name in QUEUES if name in there]


def _line(board: Board, name: str) -> Line:
    running = [Row(job) for job in board.running if job.queue == name]
    waiting = [job for job in board.waiting if job.queue == name]
    total = board.counts.get(name, 0)
    rows = [_waiting(job, board, first=at == 0, last=at == len(waiting) - 1 and total == len(waiting)) for at, job in enumerate(waiting)]
    words = [f"{count(len(running))} running" if running else "", f"{count(total)} waiting" if total else ""]
    return Line(name, TITLES[name], [*running, *rows], total - len(waiting), name in board.paused, _state(board, name, words), trouble(board, name))


def _waiting(job: Job, board: Board, *, first: bool, last: bool) -> Row:
    turn = board.turns.get(job.id)
    return Row(job, turn.place if turn else None, first, last, why_waiting(job, board), turn.begins if turn else None)


def _state(board: Board, name: str, words: list[str]) -> str:
    counts = ", ".join(word for word in words if word)
    pause = board.paused.get(name)
    if pause is None:
        return counts
    by = f" by {pause.by}" if pause.by else ""
    return f"paused{by}, {ago(pause.since, board.now)}{'; ' + counts if counts else ''}"


def trouble(board: Board, name: str) -> str:
    """Why nothing is taken from a queue in which something waits; "" when something is."""
    waiting = board.counts.get(name, 0)
    if not waiting or name in board.paused or name not in board.silent:
        return ""
    return f"{silence(board.silent[name], board.now)}: run `{COMMANDS[name]}`. {'The waiting job is' if waiting == 1 else f'The {count(waiting)} waiting jobs are'} safe."


def silence(last: int | None, now: int) -> str:
    """How long nobody has answered: `last` is when somebody did, none for never."""
    if last is None:
        return "No worker answers"
    minutes = (now - last) // 60_000
    return f"No worker has answered for {minutes} min" if minutes else "No worker answers any more"


def why_waiting(job: Job, board: Board) -> str:
    """What a job waits for besides its turn."""
    if job.queue in board.silent:
        return ""
    there = [post.worker for post in board.posts if post.alive and post.worker.queue == job.queue]
    if lacking := job.lacks_gpus(gpus_of(there)):
        return f"waits for a worker with {gpus(lacking)}"
    room = most_room(there, job.kind)
    return f"waits for {size(job.needs_bytes)} of disk" if lacks_room(job, room) and job.needs_bytes else ""


def lacks_room(job: Job, free_bytes: int | None) -> bool:
    """Whether a job waits for room on a disk: no worker has as much as it found that it needs."""
    return job.needs_bytes is not None and free_bytes is not None and free_bytes < job.needs_bytes


def gpus(count: int) -> str:
    """So many GPUs, in words."""
    return "a GPU" if count == 1 else f"{count} GPUs"


def shown_posts(board: Board) -> list[dict[str, Any]]:
    """Workers as the table has them: who answers, who fell silent lately, and who is silent with a job in hand."""
    found = [post for post in board.posts if post.alive or post.job or post.worker.heartbeat_at > board.now - RECENT_MS]
    return [
        {
            "post": post,
            "machine": post.worker.machine,
            "process": post.worker.name.rpartition("/")[0].rpartition(":")[2],
            "serves": {"gpu": "tuning and evaluation", "light": "endpoints", "interactive": "Lab and /v1"}.get(post.worker.queue, post.worker.queue),
            "silent": silent_for(post, board.now),
        }
        for post in found
    ]


def silent_for(post: Post, now: int) -> str:
    """How long a worker has been silent; "" while it answers."""
    seconds = (now - post.worker.heartbeat_at) // 1000
    return "" if post.alive else f"no answer for {seconds // 60} min" if seconds >= 60 else f"no answer for {seconds} s"
