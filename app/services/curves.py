"""What a job's page draws and reads of its record: thinned curves, other jobs beside it, its log, and the files of both."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import load_only

from app.db import reading
from app.domain import metric as metrics
from app.domain.access import Who, read, visible
from app.domain.job import Job
from app.domain.metric import RESOURCES, Line, LogLine, MetricPoint, Point

DRAWN = 600
"""Points of one line: more are not told apart on a screen."""

BESIDE = 4
"""Jobs drawn beside this one."""

OFFERED = 30


@dataclass(frozen=True)
class Opening:
    """A job as its page begins: curves, the end of its log, and the event from which the stream goes on."""

    job: Job
    points: list[Point]
    lines: list[Line]


@dataclass(frozen=True)
class Beside:
    """Another job to compare with, and its curves."""

    job: Job
    points: list[Point]


def opening(person: Who, key: int) -> Opening:
    """Everything up to the job's event counter, none of it after: on PostgreSQL these are looks at different moments."""
    with reading() as session:
        job = read(session, person, Job, key, "job")
        points = [point for point in metrics.thinned(session, key, DRAWN) if point.event <= job.event]
        return Opening(job, points, [line for line in metrics.lines(session, key) if line.event <= job.event])


def beside(person: Who, keys: Sequence[int], but: int) -> list[Beside]:
    """Jobs of the same kind with their curves, in the order asked for; what is not there is left out."""
    wanted = list(dict.fromkeys(key for key in keys if key != but))[:BESIDE]
    with reading() as session:
        rows = {job.id: job for job in session.scalars(visible(person, Job).where(Job.id.in_(wanted), Job.kind == "tune"))} if wanted else {}
        return [Beside(rows[key], metrics.thinned(session, key, DRAWN)) for key in wanted if key in rows]


def comparable(person: Who, job: Job) -> list[Job]:
    """The newest tuning jobs that have begun, those on the same dataset first: what this one can be compared with."""
    dataset = str(job.settings.get("dataset", "")).partition("@")[0]
    with reading() as session:
        begun = (
            visible(person, Job)
            .options(load_only(Job.id, Job.name, Job.settings))
            .where(Job.kind == job.kind, Job.id != job.id, Job.started_at.is_not(None))
            .limit(OFFERED)
        )
        return sorted(session.scalars(begun), key=lambda other: str(other.settings.get("dataset", "")).partition("@")[0] != dataset)


def log(person: Who, key: int, text: str = "") -> tuple[Job, list[Line]]:
    """The lines of a job's log that hold a text; without one the newest of all."""
    with reading() as session:
        job = read(session, person, Job, key, "job")
        return job, metrics.found_lines(session, key, text) if text else metrics.lines(session, key)


def log_file(person: Who, key: int) -> Iterator[str]:
    """The whole log as text, one line a line: attempt, milliseconds since 1970, text. Raises NotFound at once, not when it is read."""
    with reading() as session:
        read(session, person, Job, key, "job")
    return _log_rows(key)


def _log_rows(key: int) -> Iterator[str]:
    with reading() as session:
        query = select(LogLine).where(LogLine.job_id == key).order_by(LogLine.event).execution_options(yield_per=1000)
        for line in session.scalars(query):
            yield f"{line.attempt}\t{line.at}\t{line.text}\n"


def csv_file(person: Who, key: int, resources: bool = False) -> Iterator[str]:
    """Every point of the curves (or of what the job took) as CSV: a row a step, a column a name. Raises NotFound at once."""
    with reading() as session:
        read(session, person, Job, key, "job")
    return _csv_rows(key, resources)


def _csv_rows(key: int, resources: bool) -> Iterator[str]:
    with reading() as session:
        mine = MetricPoint.name.in_(RESOURCES) if resources else MetricPoint.name.not_in(RESOURCES)
        names = list(session.scalars(select(MetricPoint.name).where(MetricPoint.job_id == key, mine).distinct().order_by(MetricPoint.name)))
        query = select(MetricPoint.step, MetricPoint.name, MetricPoint.value).where(MetricPoint.job_id == key, mine).order_by(MetricPoint.step)
        yield _row(["second" if resources else "step", *(name.rpartition("/")[2] if resources else name for name in names)])
        step, values = None, dict[str, float]()
        for at, name, value in session.execute(query.execution_options(yield_per=1000)):
            if at != step and step is not None:
                yield _row([step, *(values.get(one, "") for one in names)])
                values = {}
            step, values[name] = at, value
        if step is not None:
            yield _row([step, *(values.get(one, "") for one in names)])


def _row(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
