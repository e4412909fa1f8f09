"""What a running job reports: metric points and log lines, numbered by the job's event counter so that streams can replay."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ForeignKey, Index, Text, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain import job as jobs
from app.domain.base import Base, db_now

FINDER = ("finder_rate", "finder_loss")
"""What a learning-rate finder reports: at each step of its test the rate, and the smoothed loss."""


class MetricPoint(Base):
    """One value at one step. A resumed run writes a step again: the value is replaced and gets a new event number."""

    __tablename__ = "metric_point"
    __table_args__ = (Index("ix_metric_point_job_event", "job_id", "event"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
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


def record(
    session: Session,
    job_id: int,
    token: str,
    attempt: int,
    points: Sequence[tuple[int, Mapping[str, float]]],
    lines: Sequence[str] = (),
    **progress: object,
) -> None:
    """Write (step, values) points, log lines and the job's progress in one fenced transaction. Raises Fenced."""
    flat = [(step, name, float(value)) for step, values in points for name, value in values.items()]
    last = jobs.write(session, job_id, token, max(1, len(flat) + len(lines)), **progress)
    first = last - len(flat) - len(lines) + 1
    rows = [{"job_id": job_id, "name": name, "step": step, "value": value, "event": first + at} for at, (step, name, value) in enumerate(flat)]
    if rows:
        insert = (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(MetricPoint)
        session.execute(
            insert.on_conflict_do_update(index_elements=["job_id", "name", "step"], set_={"value": insert.excluded.value, "event": insert.excluded.event}),
            rows,
        )
    for at, text in enumerate(lines):
        session.add(LogLine(job_id=job_id, attempt=attempt, event=first + len(flat) + at, at=db_now(), text=text))
    session.flush()


def points(session: Session, job_id: int, after_event: int = 0, after_step: int = -1) -> Sequence[MetricPoint]:
    """A job's points in event order."""
    query = select(MetricPoint).where(MetricPoint.job_id == job_id, MetricPoint.event > after_event, MetricPoint.step > after_step)
    return session.scalars(query.order_by(MetricPoint.event)).all()


def curve(session: Session, job_id: int, name: str) -> Sequence[MetricPoint]:
    """The points of one name by step."""
    query = select(MetricPoint).where(MetricPoint.job_id == job_id, MetricPoint.name == name)
    return session.scalars(query.order_by(MetricPoint.step)).all()


def reached(session: Session, job_id: int) -> int:
    """The last step that reported anything; 0 before the first. The test of a learning-rate finder comes before all steps."""
    trained = [MetricPoint.job_id == job_id, MetricPoint.name.not_in(FINDER)]
    return session.scalar(select(func.max(MetricPoint.step)).where(*trained)) or 0


def lines(session: Session, job_id: int, after_event: int = 0, limit: int = 500) -> Sequence[LogLine]:
    """The newest log lines after an event, oldest first."""
    query = select(LogLine).where(LogLine.job_id == job_id, LogLine.event > after_event).order_by(LogLine.event.desc())
    return list(reversed(session.scalars(query.limit(limit)).all()))
