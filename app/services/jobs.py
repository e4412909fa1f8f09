"""Jobs: start a tune, cancel, retry, clone, list, follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import queue
from app.db import now as db_clock
from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import device as devices
from app.domain import ending
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain import queue as queues
from app.domain import search as searches
from app.domain import trial as trials
from app.domain import tuning as tunings
from app.domain import worker as workers
from app.domain.access import Who, page, read, visible, write
from app.domain.job import ACTIVE, STATES, Attempt, Job
from app.domain.methods import METHODS
from app.domain.methods.base import MethodParameters, parse
from app.domain.metric import Line, Point, Sample
from app.domain.rendering import check
from app.domain.scoring import is_right
from app.domain.search import Search
from app.domain.trial import Trial
from app.domain.turn import Turn, turns
from app.domain.validation import LOSS, Measure
from app.errors import Conflict, FettleError, Invalid
from app.services import evaluations

LINES = 500
"""Log lines that a stream tells at once; the next ones follow at once."""

MOST = 100
"""Jobs that are started at once."""

COMMANDS = {"gpu": "fettle worker", "light": "fettle worker --light"}
"""What serves each queue of jobs."""


@dataclass(frozen=True)
class JobView:
    """A job with what its page shows beside it."""

    job: Job
    position: int | None
    attempts: list[Attempt]
    model: models.Model | None
    workers: int
    device: str | None = None
    turn: Turn | None = None
    """When this one's turn comes, while it waits: what it waits behind, as far as that is known."""
    broker: bool = True
    """Whether the queue service answers; asked only for a job that waits."""
    heard_at: int | None = None
    """When somebody last answered for the queue."""
    gpus: Sequence[int] = ()
    """Over how many each of the workers that answer may spread a job."""
    paused_by: str | None = None
    """Who paused the queue; "" when that is not known, none while it is not paused."""
    waits: str | None = None
    """Why it has begun and yet waits: for memory of its device."""
    starts: Mapping[int, int] = field(default_factory=dict)
    """The step that an attempt went on from, by its number; 0 where it began at the beginning."""
    free_bytes: int | None = None
    """What such a job finds free on the disk of the worker that has most."""


@dataclass(frozen=True)
class News:
    """What happened in a job after an event number, `upto` another one: the job's own, unless there is more than is told at once."""

    job: Job
    upto: int
    points: list[Point]
    lines: list[Line]
    samples: list[Sample]


@dataclass(frozen=True)
class Answered:
    """A sample, and whether it is the gold answer."""

    sample: Sample
    right: bool


@dataclass(frozen=True)
class Tuning:
    """What a tune job works with and how far it is: `validations` are the points of its measure, `losses` the validation losses by step.

    `prompt_version` is the one that was chosen; `replaced` says that the soft prompt stands for the text before its inputs.
    In a search the points are those of the trial that won or leads, whose number is `leading`.
    """

    base: models.Model
    dataset: datasets.Dataset
    version: datasets.DatasetVersion
    prompt: prompts.Prompt
    prompt_version: prompts.PromptVersion
    replaced: bool
    parameters: MethodParameters
    total_steps: int
    reached: int
    measure: Measure
    validations: list[Point]
    losses: dict[int, float]
    search: Search = field(default_factory=Search)
    trials: list[Trial] = field(default_factory=list)
    leading: int | None = None
    finder: list[tuple[float, float]] = field(default_factory=list)
    """(learning rate, smoothed loss) of a learning-rate finder's test, as far as it is."""


def start_tune(
    person: Who,
    *,
    model: int | str,
    dataset: int | str,
    method: str,
    parameters: dict[str, Any],
    prompt_version: int | str | None,
    seed: int,
    priority: int = 0,
    search: Mapping[str, Any] | None = None,
    cloned_from: int | None = None,
) -> JobView:
    """Queue a tuning job. Everything it depends on is fixed into the row now: dataset version, prompt version, parameters."""
    wanted: dict[str, Any] = {"model": model, "dataset": dataset, "method": method, "parameters": parameters, "prompt_version": prompt_version, "seed": seed}
    with transaction() as session:
        job = _add_tune(session, person, **wanted, priority=priority, search=search, cloned_from=cloned_from)
        queue.announce(session)
        return JobView(job, jobs.queue_place(session, job), [], None, len(workers.alive(session, job.queue)))


def start_many(person: Who, wanted: Sequence[Mapping[str, Any]]) -> list[Job]:
    """Queue several tuning jobs in this order, all or none; each is as `start_tune` takes it. When one fails later, the others go on.

    Raises what `start_tune` raises, with the number of the refused job in its detail, as `item`.
    """
    if not 1 <= len(wanted) <= MOST:
        raise Invalid("too_many_jobs", f"These are {len(wanted)} jobs.", f"Start from 1 to {MOST} at once.")
    added = []
    with transaction() as session:
        for number, one in enumerate(wanted, 1):
            try:
                added.append(_add_tune(session, person, **one))
            except FettleError as error:
                error.detail["item"] = number
                raise
        queue.announce(session)
        return added


def _add_tune(
    session: Session,
    person: Who,
    *,
    model: int | str,
    dataset: int | str,
    method: str,
    parameters: Mapping[str, Any],
    prompt_version: int | str | None,
    seed: int,
    priority: int = 0,
    search: Mapping[str, Any] | None = None,
    cloned_from: int | None = None,
) -> Job:
    checked = parse(METHODS, method, dict(parameters))
    searched = searches.parse(search or {}, seed)
    base = models.find(session, person, model)
    models.tunable(base)
    checked.check_model(base.encoder_decoder)
    version = datasets.find(session, person, dataset)
    if not version.splits.get("train"):
        raise Invalid("no_train_split", f"Dataset {version.reference} has no train split.", "Upload labelled rows, or choose another version.")
    prompt = prompts.find(session, person, prompt_version) if prompt_version else prompts.default(session, person)
    check(prompt.template(), version.variables)
    version.measure(checked.validate_by)
    searches.check(searched, method, checked, version.splits.get("validation", 0))
    if cloned_from is not None:
        read(session, person, Job, cloned_from, "job")
    name = f"{METHODS[method].title} on {session.get_one(datasets.Dataset, version.dataset_id).name}"
    settings = tunings.settings_of(session, person, base, version, prompt, checked, seed, searched)
    return jobs.add(session, person, "tune", name, settings, priority, cloned_from=cloned_from)


def cancel(person: Who, key: int) -> Job:
    with transaction() as session:
        job = write(session, person, Job, key, "job")
        ending.cancel(session, job)
        return job


def retry(person: Who, key: int) -> Job:
    with transaction() as session:
        job = write(session, person, Job, key, "job")
        jobs.retry(session, job)
        queue.announce(session)
        return job


def finish(person: Who, key: int) -> Job:
    """End a tuning run where it stands and keep its best moment as its result. Raises Conflict where there is none to keep."""
    with transaction() as session:
        job = write(session, person, Job, key, "job")
        if job.kind != "tune" or job.in_trials:
            raise Conflict("nothing_to_keep", f"Job {key} has no best moment of its own.", "Only a tuning run without trials can be finished early.")
        ending.finish(session, job)
        queue.announce(session)
        return job


def clone(person: Who, key: int, changes: Mapping[str, Any] | None = None, priority: int | None = None, **others: Any) -> Job:
    """The same work again as a new job: with some `changes` of its parameters, and others of what `start_tune` takes; of an evaluation, what
    `evaluations.create` takes. Raises Invalid for what these refuse."""
    with transaction() as session:
        job = read(session, person, Job, key, "job")
        if not job.cloneable:
            raise Invalid("not_cloneable", "Only tuning jobs and evaluations can be cloned.", "Start this one again from the page that it was started from.")
        if job.kind == "evaluate":
            return evaluations.clone(session, person, job, {**others, **({"parameters": changes} if changes else {})}, priority)
        if foreign := [name for name in others if name not in tunings.CHANGEABLE]:
            raise Invalid(
                "not_of_this_kind",
                f"A tuning job has no {foreign[0]}.",
                f"A clone of one can have another: {', '.join(tunings.CHANGEABLE)}.",
                detail={"field": foreign[0]},
            )
        place = job.priority if priority is None else priority
        if changes or others:
            copy = _add_tune(session, person, **tunings.changed(job.settings, changes or {}, others), priority=place, cloned_from=job.id)
        else:
            copy = jobs.add(session, person, job.kind, job.name, dict(job.settings), place, cloned_from=job.id)
        queue.announce(session)
        return copy


def origin(person: Who, job: Job) -> Job | None:
    """The job that this one was cloned from, while it is there."""
    with reading() as session:
        return session.get(Job, job.cloned_from) if job.cloned_from else None


def find(person: Who, key: int) -> JobView:
    with reading() as session:
        job = read(session, person, Job, key, "job")
        model = session.scalars(select(models.Model).where(models.Model.job_id == job.id)).first()
        alive = workers.alive(session, job.queue)
        device = next((row.devices[0]["name"] for row in alive if row.name == f"{job.worker}/{job.queue}" and row.devices), None)
        tries = list(jobs.attempts(session, job.id))
        starts = metrics.starts(session, job.id) if len(tries) > 1 else {}
        if job.state != "queued":
            waits = devices.waits_for(session, job.id) if job.phase == "load" and job.state == "running" else None
            return JobView(job, None, tries, model, len(alive), device, waits=waits, starts=starts)
        pauses = {row.name: by or "" for row, by in queues.paused(session, job.workspace_id)}
        heard, turn = workers.heard(session, job.queue), turns(session, person.workspace_id, db_clock(session)).get(job.id)
    room = workers.most_room(alive, job.kind)
    return JobView(
        job, turn.place if turn else None, tries, model, len(alive), device, turn, queue.is_reachable(), heard, workers.gpus(alive), pauses.get(job.queue),
        starts=starts, free_bytes=room,
    )  # fmt: skip


def tuning(person: Who, job: Job) -> Tuning:
    """The rows behind a tune job's settings, and its validations so far."""
    chosen = job.settings
    with reading() as session:
        version = datasets.find(session, person, chosen["dataset"])
        prompt = prompts.find(session, person, tunings.chosen_prompt(chosen))
        parameters = parse(METHODS, chosen["method"], chosen["parameters"])
        measure = version.measure(parameters.validate_by)
        tried = list(trials.of_job(session, job.id))
        leading = _leading(tried, measure)

        def curve(name: str) -> list[Point]:
            return metrics.curve(session, job.id, name if leading is None else searches.point(leading, name))

        return Tuning(
            models.find(session, person, chosen["model"]),
            session.get_one(datasets.Dataset, version.dataset_id),
            version,
            session.get_one(prompts.Prompt, prompt.prompt_id),
            prompt,
            bool(chosen.get("opening")),
            parameters,
            parameters.total_steps(version.splits.get("train", 0)),
            metrics.reached(session, job.id),
            measure,
            curve(measure.point),
            {point.step: point.value for point in curve(LOSS)},
            Search.of(chosen),
            tried,
            leading,
            _finder(session, job.id),
        )


def trials_of(person: Who, key: int) -> list[Trial]:
    """The trials of a job's search by number; none for a job without one."""
    with reading() as session:
        read(session, person, Job, key, "job")
        return list(trials.of_job(session, key))


def _leading(tried: Sequence[Trial], measure: Measure) -> int | None:
    """The trial that won, or whose validation is best so far."""
    ahead = [trial for trial in tried if trial.value is not None and trial.state != "failed"]
    best = max(ahead, key=lambda trial: (trial.state == "won", measure.sign * (trial.value or 0.0), -trial.number), default=None)
    return best.number if best else tried[0].number if tried else None


def _finder(session: Session, key: int) -> list[tuple[float, float]]:
    rates, losses = (metrics.curve(session, key, name) for name in metrics.FINDER)
    by_step = {point.step: point.value for point in losses}
    return [(point.value, by_step[point.step]) for point in rates if point.step in by_step]


def recent(person: Who, after: int | None = None, limit: int = 50, kind: str | None = None, states: Sequence[str] = STATES) -> tuple[list[Job], int | None]:
    query = visible(person, Job).where(Job.state.in_(states))
    query = query if kind is None else query.where(Job.kind == kind)
    with reading() as session:
        rows, following = page(session, query, Job, after, limit)
        return list(rows), following


def news(person: Who, key: int, after_event: int) -> News:
    """Everything after an event number and up to `job.event`, for streams that replay; up to the last of LINES lines where more follow.

    The bound matters: on PostgreSQL a commit between two of these reads would show later lines without the points before them.
    """
    with reading() as session:
        job = read(session, person, Job, key, "job")
        lines = [line for line in metrics.next_lines(session, key, after_event, LINES) if line.event <= job.event]
        upto = lines[-1].event if len(lines) == LINES else job.event
        points = [point for point in metrics.points(session, key, after_event) if point.event <= upto]
        samples = [sample for sample in metrics.samples(session, key, after_event) if sample.event <= upto]
        return News(job, upto, points, lines, samples)


def newest_events() -> dict[int, int]:
    """The event counter of every job that waits or runs: one query tells all streams whether there is anything new for them."""
    with reading() as session:
        return dict(session.execute(select(Job.id, Job.event).where(Job.state.in_(ACTIVE))).all())


def points(person: Who, key: int, after_step: int = -1) -> list[Point]:
    with reading() as session:
        read(session, person, Job, key, "job")
        return metrics.points(session, key, after_step=after_step)


def samples(person: Who, key: int) -> list[Answered]:
    """What the model in training answered at each step, each with whether it is right."""
    with reading() as session:
        job = read(session, person, Job, key, "job")
        book = datasets.find(session, person, job.settings["dataset"]).book
        return [Answered(sample, is_right(book.answer_in(sample.text), sample.gold)) for sample in metrics.samples(session, key)]


def log(person: Who, key: int, limit: int = 2000) -> list[Line]:
    with reading() as session:
        read(session, person, Job, key, "job")
        return list(metrics.lines(session, key, limit=limit))


def health() -> dict[str, list[str]]:
    """Is there somebody to do the work? Worker names by queue, and what they run on."""
    with reading() as session:
        alive = workers.alive(session)
        return {
            "gpu": [row.name for row in alive if row.queue == "gpu"],
            "light": [row.name for row in alive if row.queue == "light"],
            "engine": [row.name for row in alive if row.queue == "interactive"],
            "devices": sorted({device["name"] for row in alive for device in row.devices}),
        }


def now() -> int:
    """The database's clock, in milliseconds."""
    with reading() as session:
        return db_clock(session)
