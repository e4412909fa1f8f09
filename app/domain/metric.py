"""What a running job reports: metric points, samples and log lines, numbered by the job's event counter so that streams can replay."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import CTE, ColumnElement, ForeignKey, Index, ScalarSelect, Select, Text, case, delete, func, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain import job as jobs
from app.domain.base import Base, db_now, inserting
from app.domain.starting import MEASURED, WENT_ON, step_of

FINDER = ("finder_rate", "finder_loss")
"""What a learning-rate finder reports: at each step of its test the rate, and the smoothed loss."""

CORES, MEMORY, GPU_MEMORY, GPU = RESOURCES = ("resource/cores", "resource/memory", "resource/gpu_memory", "resource/gpu")
"""What a job takes, by seconds since it first started instead of steps: cores, bytes, bytes, percent."""


class MetricPoint(Base):
    """One value at one step. A resumed run writes a step again: the value is replaced and gets a new event number."""

    __tablename__ = "metric_point"
    __table_args__ = (Index("ix_metric_point_job_event", "job_id", "event"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
    event: Mapped[int]


class Point(NamedTuple):
    """A metric point as pages read it, by the hundred: its values without what a mapped object costs."""

    name: str
    step: int
    value: float
    event: int


class Line(NamedTuple):
    """A log line as pages read it."""

    event: int
    attempt: int
    at: int
    text: str


POINT = (MetricPoint.name, MetricPoint.step, MetricPoint.value, MetricPoint.event)


class Sample(Base):
    """What the model in training wrote at one step for one validation row (numbered from 1); step 0 is the untuned model.

    `trial` is the number of the search's trial whose model it was, 0 in a job without a search.
    """

    __tablename__ = "sample"
    __table_args__ = (Index("ix_sample_job_event", "job_id", "event"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True, default=0)
    step: Mapped[int] = mapped_column(primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    input: Mapped[str] = mapped_column(Text)
    gold: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    event: Mapped[int]


class LogLine(Base):
    """One line of a job's log."""

    __tablename__ = "log_line"
    __table_args__ = (Index("ix_log_line_job_event", "job_id", "event"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    event: Mapped[int]
    at: Mapped[int]
    text: Mapped[str] = mapped_column(Text)


LINE = (LogLine.event, LogLine.attempt, LogLine.at, LogLine.text)


def record(
    session: Session,
    job_id: int,
    token: str,
    attempt: int,
    points: Sequence[tuple[int, Mapping[str, float]]],
    lines: Sequence[str] = (),
    samples: Sequence[Mapping[str, Any]] = (),
    **progress: object,
) -> None:
    """Write (step, values) points, samples {trial, step, row, input, gold, text}, log lines and the job's progress in one fenced transaction. Raises Fenced."""
    told = [{"name": name, "step": step, "value": float(value)} for step, values in points for name, value in values.items()]
    events = len(told) + len(samples) + len(lines)
    last = jobs.write(session, job_id, token, max(1, events), **progress)
    numbers = count(last - events + 1)
    _upsert(session, MetricPoint, [{"job_id": job_id, **point, "event": next(numbers)} for point in told])
    _upsert(session, Sample, [{"job_id": job_id, **sample, "event": next(numbers)} for sample in samples])
    for text in lines:
        session.add(LogLine(job_id=job_id, attempt=attempt, event=next(numbers), at=db_now(), text=text))
    session.flush()


def _upsert(session: Session, table: type[MetricPoint | Sample], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows; one whose key is there already is replaced."""
    if not rows:
        return
    insert = inserting(session, table)
    keys = [column.name for column in table.__table__.primary_key]
    new = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    session.execute(insert.on_conflict_do_update(index_elements=keys, set_=new), rows)


def points(session: Session, job_id: int, after_event: int = 0, after_step: int = -1) -> list[Point]:
    """A job's points in event order."""
    query = select(*POINT).where(MetricPoint.job_id == job_id, MetricPoint.event > after_event, MetricPoint.step > after_step)
    return _read(session, query.order_by(MetricPoint.event))


def _read(session: Session, query: Select[str, int, float, int]) -> list[Point]:
    return [Point._make(row) for row in session.execute(query)]


def _of(job_id: int, value: ColumnElement[Any], *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    """The least or greatest of a job's points that meet the conditions, as a value in a query: one look into the primary key's index."""
    return select(value).where(MetricPoint.job_id == job_id, *conditions).scalar_subquery()


def _names(job_id: int) -> CTE:
    """The names of a job's points, and a row with none: one look into the index for each, where DISTINCT reads all points."""
    names = select(_of(job_id, func.min(MetricPoint.name)).label("name")).cte("names", recursive=True)
    following = _of(job_id, func.min(MetricPoint.name), MetricPoint.name > names.c.name)
    return names.union_all(select(following).where(names.c.name.is_not(None)))


def thinned(session: Session, job_id: int, most: int) -> list[Point]:
    """At most about so many points of each name, by step: what a drawing can show. All where a name has no more, else evenly over its steps, with its last
    one.

    The index is asked, again and again, for the next step that is far enough: what is not drawn is not read, however many points there are.
    """
    step, mine, names = MetricPoint.step, MetricPoint.job_id == job_id, _names(job_id)
    of = MetricPoint.name == names.c.name
    more = select(step).where(mine, of).order_by(step).offset(most).limit(1).scalar_subquery()
    ends = select(names.c.name, _of(job_id, func.min(step), of).label("first"), _of(job_id, func.max(step), of).label("last"), more.label("more"))
    span = ends.where(names.c.name.is_not(None)).cte("span")
    apart = case((span.c.more.is_(None), 1), else_=(span.c.last - span.c.first + most - 1) // most)
    drawn = select(span.c.name, span.c.first.label("step"), span.c.last, apart.label("apart")).cte("drawn", recursive=True)
    following = _of(job_id, func.min(step), MetricPoint.name == drawn.c.name, step >= drawn.c.step + drawn.c.apart)
    rest = select(drawn.c.name, func.coalesce(following, drawn.c.last), drawn.c.last, drawn.c.apart).where(drawn.c.step < drawn.c.last)
    drawn = drawn.union_all(rest)
    query = select(*POINT).join(drawn, (MetricPoint.name == drawn.c.name) & (step == drawn.c.step)).where(mine)
    return _read(session, query.order_by(step, MetricPoint.name))


def found_lines(session: Session, job_id: int, text: str, limit: int = 500) -> list[Line]:
    """The newest log lines that hold a text, whatever its case, oldest first."""
    query = select(*LINE).where(LogLine.job_id == job_id, LogLine.text.icontains(text, autoescape=True)).order_by(LogLine.event.desc())
    return _lines(session, query.limit(limit))[::-1]


def curve(session: Session, job_id: int, name: str) -> list[Point]:
    """The points of one name by step."""
    query = select(*POINT).where(MetricPoint.job_id == job_id, MetricPoint.name == name)
    return _read(session, query.order_by(MetricPoint.step))


def reached(session: Session, job_id: int) -> int:
    """The last step that reported anything; 0 before the first. The test of a learning-rate finder comes before all steps, and resources have none."""
    names = _names(job_id)
    last = _of(job_id, func.max(MetricPoint.step), MetricPoint.name == names.c.name)
    return max((step or 0 for step in session.scalars(select(last).where(names.c.name.not_in((*FINDER, *RESOURCES))))), default=0)


def samples(session: Session, job_id: int, after_event: int = 0) -> Sequence[Sample]:
    """A job's samples by trial, then by step, then by row."""
    query = select(Sample).where(Sample.job_id == job_id, Sample.event > after_event)
    return session.scalars(query.order_by(Sample.trial, Sample.step, Sample.row)).all()


def forget_lines(session: Session, before_ms: int, most: int) -> int:
    """Delete up to `most` log lines written before a moment; returns how many."""
    some = select(LogLine.id).where(LogLine.at < before_ms).limit(most)
    done = session.execute(delete(LogLine).where(LogLine.id.in_(some)), execution_options={"synchronize_session": False})
    return int(done.rowcount)  # type: ignore[attr-defined]


def lines(session: Session, job_id: int, limit: int = 500) -> list[Line]:
    """The newest log lines, oldest first."""
    return _lines(session, select(*LINE).where(LogLine.job_id == job_id).order_by(LogLine.event.desc()).limit(limit))[::-1]


def next_lines(session: Session, job_id: int, after_event: int, limit: int) -> list[Line]:
    """The oldest log lines after an event."""
    return _lines(session, select(*LINE).where(LogLine.job_id == job_id, LogLine.event > after_event).order_by(LogLine.event).limit(limit))


def starts(session: Session, job_id: int) -> dict[int, int]:
    """The step that each attempt went on from, 0 where it began at the beginning; of those that came to their training, while their log is kept."""
    told = or_(LogLine.text.startswith(MEASURED, autoescape=True), LogLine.text.startswith(WENT_ON, autoescape=True))
    query = select(LogLine.attempt, LogLine.text).where(LogLine.job_id == job_id, told).order_by(LogLine.id)
    found = ((attempt, step_of(text)) for attempt, text in session.execute(query))
    return {attempt: step for attempt, step in found if step is not None}


def _lines(session: Session, query: Select[int, int, int, str]) -> list[Line]:
    return [Line(*row) for row in session.execute(query)]
