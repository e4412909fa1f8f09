"""How several experiments stand, for a list of them: by a number of queries that does not grow with them.

A verdict takes every answer of every rung. It is worked out once a process, and again when something that it is made of has changed.
"""

import hashlib
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import inspect, select

from app.db import reading
from app.domain import climbing
from app.domain.access import Who, visible
from app.domain.experiment import Experiment, Rung
from app.services import experiments
from app.services.experiments import Ladder

KEPT = 500
"""Ladders that a process remembers; the one that was asked for longest ago goes first."""


def ladders(person: Who, keys: Collection[int]) -> dict[int, Ladder]:
    """Each of these experiments as its page shows it, as far as this person may read it. The jobs in it are as they were when their states last changed."""
    with reading() as session:
        found = session.scalars(visible(person, Experiment).where(Experiment.id.in_(keys))).all()
        rungs = session.scalars(select(Rung).where(Rung.experiment_id.in_([row.id for row in found])).order_by(Rung.position)).all()
        now = climbing.Standing(session, rungs)
    return {row.id: _ladder(person, row.id, _stamp(row, [rung for rung in rungs if rung.experiment_id == row.id], now)) for row in found}


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[Ladder], int | None]:
    """Experiments as their pages show them, newest first."""
    rows, following = experiments.recent(person, after, limit)
    found = ladders(person, [row.id for row in rows])
    return [found[row.id] for row in rows if row.id in found], following


@lru_cache(maxsize=KEPT)
def _ladder(person: Who, key: int, stamp: str) -> Ladder:
    del stamp  # what the answer holds for
    return experiments.find(person, key)


def _stamp(row: Experiment, rungs: Iterable[Rung], now: climbing.Standing) -> str:
    """Another one whenever a rung, a cell, a score or the state of a job is."""
    cells = [cell for rung in rungs for cell in now.cells[rung.id]]
    scored = [now.evaluations[key] for cell in cells for key in (cell.validation_id, cell.evaluation_id) if key]
    worked = [now.jobs[key] for key in (*(one.job_id for one in scored), *(cell.tune_job_id for cell in cells)) if key]
    facts = [*map(_columns, (row, *rungs, *cells, *scored)), *((job.id, job.state, job.attempt) for job in worked)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _columns(row: Any) -> list[Any]:
    return [getattr(row, column.key) for column in inspect(type(row)).column_attrs]
