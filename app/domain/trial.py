"""The trials of a search inside a tune job, as its worker reports them: rows written with the job's lease token, like metric points."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ForeignKey, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain import job as jobs
from app.domain.base import Base, inserting

WRITTEN = ("parameters", "state", "step", "value", "reason", "event")


class Trial(Base):
    """One combination of parameters. `value` is its best validation so far by the measure of its job, `reason` why it ended.

    States: waiting (for its turn, or for the next rung), running, stopped (others were better), failed, won.
    """

    __tablename__ = "trial"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    parameters: Mapped[dict[str, Any]]
    state: Mapped[str]
    step: Mapped[int]
    value: Mapped[float | None]
    reason: Mapped[str | None] = mapped_column(Text)
    event: Mapped[int]


def record(session: Session, job_id: int, token: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Write how trials stand now, each whole: number and all columns but job and event. Raises jobs.Fenced."""
    last = jobs.write(session, job_id, token, len(rows))
    values = [{"job_id": job_id, "event": last - len(rows) + at, **row} for at, row in enumerate(rows, 1)]
    insert = inserting(session, Trial)
    changed = {name: insert.excluded[name] for name in WRITTEN}
    session.execute(insert.on_conflict_do_update(index_elements=["job_id", "number"], set_=changed), values)


def of_job(session: Session, job_id: int) -> Sequence[Trial]:
    """A job's trials by number; none for a job without a search, or before its worker has begun."""
    return session.scalars(select(Trial).where(Trial.job_id == job_id).order_by(Trial.number)).all()
