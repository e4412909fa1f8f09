"""The home page's questions: how far is each task, what is its next step, what happened since somebody looked, what is broken."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select

from app import queue
from app.db import now, reading
from app.disks import Disk, disks, fullest, told
from app.domain import worker as workers
from app.domain.access import Who, visible
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.experiment import Experiment
from app.domain.job import ACTIVE, FINAL, Job
from app.domain.model import Model
from app.domain.prompt import Prompt
from app.domain.worker import Worker
from app.services import datasets, queues, standings
from app.services.experiments import Ladder
from app.services.ladders import RungRow
from app.services.queues import Board
from app.settings import settings

FULL = 0.95


@dataclass(frozen=True)
class Next:
    """One step to take, where it is taken, and why it is the next."""

    text: str
    href: str
    why: str = ""


@dataclass(frozen=True)
class Task:
    """A dataset's line. `stage` is open, running, failed or compared; `word` says it; `best` is the rung to beat."""

    dataset: Dataset
    version: DatasetVersion
    stage: str
    word: str
    best: RungRow | None
    next: Next


@dataclass(frozen=True)
class Since:
    """What ended after a moment: counts by state, the failed jobs, and the last few of all, newest first."""

    moment: int
    counts: dict[str, int]
    failed: list[Job]
    ended: list[Job]


@dataclass(frozen=True)
class Now:
    """What runs, what is next, and what there is to run on; `disks` has the fullest of each machine by its name, that of this process first."""

    board: Board
    disks: dict[str, Disk]


@dataclass(frozen=True)
class Trouble:
    """One cause, what it stops, and the fix. `bad` when work waits for it."""

    code: str
    message: str
    advice: str
    bad: bool


def tasks(person: Who) -> list[Task]:
    """Every dataset with its state on the ladder and one computed next step, newest first."""
    views, _ = datasets.recent(person)
    newest = _newest_experiments(person, [view.dataset.id for view in views])
    tried = _tried(person)
    ladders = standings.ladders(person, newest.values())
    found = []
    for view in views:
        ladder = ladders.get(newest.get(view.dataset.id, 0))
        prompts_tried = view.dataset.id in tried or None in tried
        found.append(_compared(view.dataset, view.version, ladder) if ladder else _uncompared(view.dataset, view.version, prompts_tried))
    return found


def _newest_experiments(person: Who, keys: list[int]) -> dict[int, int]:
    """The newest experiment of each dataset, by dataset."""
    with reading() as session:
        query = select(DatasetVersion.dataset_id, func.max(Experiment.id)).join(Experiment, Experiment.dataset_version_id == DatasetVersion.id)
        query = query.where(DatasetVersion.dataset_id.in_(keys), Experiment.workspace_id == person.workspace_id).group_by(DatasetVersion.dataset_id)
        return dict(session.execute(query).all())


def _tried(person: Who) -> set[int | None]:
    """Datasets that something was scored on; None stands for all of them, once somebody has saved a prompt of their own."""
    with reading() as session:
        own = session.scalars(visible(person, Prompt).where(Prompt.author_id.is_not(None)).limit(1)).first()
        query = select(DatasetVersion.dataset_id).join(Evaluation, Evaluation.dataset_version_id == DatasetVersion.id)
        scored = session.scalars(query.where(Evaluation.workspace_id == person.workspace_id).distinct())
        return {*scored, None} if own else set(scored)


def _uncompared(dataset: Dataset, version: DatasetVersion, tried: bool) -> Task:
    """A task without an experiment: a test split first, then a prompt, then the ladder."""
    if not version.splits.get("test"):
        step = Next("Add labelled test rows", f"/datasets/{dataset.id}", "without them nothing can be compared")
        return Task(dataset, version, "open", "no test split", None, step)
    if not tried:
        step = Next("Try a prompt in the Lab", f"/lab?dataset={version.reference}", "a minute shows what the model makes of it")
        return Task(dataset, version, "open", "no prompt tried", None, step)
    step = Next("Run the ladder", f"/experiments/new?dataset={version.reference}", "prompts and tuning on the same test rows")
    return Task(dataset, version, "open", "not compared", None, step)


def _compared(dataset: Dataset, version: DatasetVersion, ladder: Ladder) -> Task:
    """A task with an experiment: follow it, mend it, or read its verdict."""
    here = f"/experiments/{ladder.experiment.id}"
    best, states = ladder.best, [row.state for row in ladder.rows]
    if ladder.state == "provisional" and ladder.ready:
        step = Next("Open the test rows", here, "every rung is scored on validation rows")
        return Task(dataset, version, "compared", "provisional", best, step)
    if ladder.state != "finished":
        done = sum(state in FINAL for state in states)
        return Task(dataset, version, "running", "running", best, Next("Follow the ladder", here, f"{done} of {len(states)} rungs done"))
    broken = [row for row in ladder.rows if row.state == "failed"]
    if broken:
        why = f"{broken[0].title}: {(broken[0].job.error or {}).get('message', 'no reason given') if broken[0].job else ''}"
        return Task(dataset, version, "failed", f"{len(broken)} failed", best, Next("See what failed", here, why))
    if ladder.recommendation:
        return Task(dataset, version, "compared", "compared", best, Next("See the verdict", here, ladder.recommendation.verdict))
    again = Next("Run the ladder", f"/experiments/new?dataset={version.reference}", "one rung alone says nothing yet" if best else "the last one was cancelled")
    return Task(dataset, version, "open", "not compared", best, again)


def since(person: Who, moment: int) -> Since:
    """The jobs that ended after a moment."""
    with reading() as session:
        mine = select(Job.state, func.count()).where(Job.workspace_id == person.workspace_id, Job.finished_at > moment).group_by(Job.state)
        failed = visible(person, Job).where(Job.state == "failed", Job.finished_at > moment).limit(5)
        ended = select(Job).where(Job.workspace_id == person.workspace_id, Job.finished_at > moment).order_by(Job.finished_at.desc()).limit(6)
        return Since(moment, dict(session.execute(mine).all()), list(session.scalars(failed)), list(session.scalars(ended)))


def present(person: Who) -> Now:
    """This moment."""
    board = queues.board(person)
    return Now(board, {settings().machine_name: fullest(), **_elsewhere(post.worker for post in board.posts if post.alive)})


def _elsewhere(there: Iterable[Worker]) -> dict[str, Disk]:
    """The fullest disk of every other machine, as its workers say."""
    said = {row.machine: found for row in there if row.machine != settings().machine_name and (found := told(row.versions))}
    return {name: max(found, key=lambda disk: disk.share) for name, found in sorted(said.items())}


def trouble(person: Who) -> list[Trouble]:
    """What is broken, one entry a cause. Presence is a row in the database, so a dead worker shows also while the broker is down."""
    with reading() as session:
        waiting = session.scalar(select(func.count()).where(Job.workspace_id == person.workspace_id, Job.state.in_(ACTIVE))) or 0
        alive = workers.alive(session)
        clock, rows = now(session), list(session.scalars(select(Worker)))
        model = session.scalars(visible(person, Model).limit(1)).first()
    safe = f" Your {'job is' if waiting == 1 else f'{waiting} jobs are'} safe." if waiting else ""
    found = []
    if not queue.is_reachable():
        found.append(
            Trouble(
                "broker_down", "The queue service (Redis) does not answer.", f"Run `fettle up`, or check that FETTLE_REDIS_URL is right.{safe}", bool(waiting)
            )
        )
    answers = {row.queue for row in alive}
    if "gpu" not in answers:
        found.append(
            Trouble("no_worker", f"No worker {_silence(rows, 'gpu', clock)}.", f"Run `fettle worker`: tuning and evaluation wait for it.{safe}", bool(waiting))
        )
    if "interactive" not in answers:
        found.append(Trouble("no_engine", f"No engine process {_silence(rows, 'interactive', clock)}.", "Run `fettle engine`: the Lab and /v1 need it.", False))
    if model is None:
        found.append(Trouble("no_model", "There is no model yet.", "Run `fettle models starter`: it fetches a small one that works on any machine.", True))
    return [*found, *_full(alive)]


def _silence(rows: Iterable[Worker], name: str, clock: int) -> str:
    """How long nobody has answered for a queue."""
    last = max((row.heartbeat_at for row in rows if row.queue == name), default=None)
    if last is None:
        return "is running"
    minutes = (clock - last) // 60_000
    return f"has answered for {minutes} min" if minutes else "has answered for less than a minute"


def _full(alive: Iterable[Worker]) -> Iterable[Trouble]:
    for disk in disks():
        if disk.share > FULL:
            yield Trouble("disk_full", f"The disk is {disk.share:.0%} full.", f"Free some space under {disk.folder}: jobs wait or fail when it runs out.", True)
    for name, disk in _elsewhere(alive).items():
        if disk.share > FULL:
            advice = f"Free some space under {disk.folder} there: jobs wait or fail on it when it runs out."
            yield Trouble("disk_full", f"The disk of {name} is {disk.share:.0%} full.", advice, True)
