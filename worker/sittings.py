"""What every judge job reads and writes, whoever judges: its rows, the rulings kept so far, its scores at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.db import reading, transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import judgement as judgements
from app.domain.job import Job
from app.domain.judgement import Judged, Judgement, Ruling
from app.domain.judging import UNREAD, Brief, Turn, question, turns
from app.domain.model import Model
from app.domain.rendering import Rendered
from worker.reporter import JobReporter

Kept = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """One row read by the judge, in one order."""

    row: Judged
    turn: Turn

    @property
    def position(self) -> int:
        return self.row.position

    def kept(self, word: str, **more: Any) -> Kept:
        """A ruling as it is kept, from what the judge said."""
        return {"example_id": self.row.id, "order": self.turn.order, "value": self.turn.means(word), "written": None, "likelihoods": None, **more}


@dataclass(frozen=True)
class Sitting:
    """A judge job: everything in `readings` is to be ruled on, `waiting` is what no earlier attempt has."""

    job: Job
    token: str
    reporter: JobReporter
    judgement: Judgement
    model: Model
    brief: Brief
    readings: Sequence[Reading]
    waiting: Sequence[Reading]

    @property
    def done(self) -> int:
        return len(self.readings) - len(self.waiting)

    def question(self, one: Reading, *, chat: bool) -> Rendered:
        return question(self.brief, one.turn.material, chat=chat)

    def keep(self, ready: Sequence[Mapping[str, Any]]) -> None:
        """Write rulings, if the job is still ours. Raises Fenced."""
        if ready:
            with transaction() as session:
                jobs.write(session, self.job.id, self.token)
                judgements.store(session, self.judgement.id, ready)

    def rulings(self) -> Sequence[Ruling]:
        """All that are kept, those of earlier attempts too."""
        with reading() as session:
            return judgements.rulings(session, self.judgement.id)

    def finish(self, measured: Mapping[str, Any], cost: float | None = 0.0) -> None:
        """Write the scores and end the job, in one transaction. Raises Fenced."""
        with transaction() as session:
            jobs.write(session, self.job.id, self.token)
            judgement = session.get_one(Judgement, self.judgement.id)
            scores = judgements.settle(session, judgement, measured, cost)
            ending.succeed(session, self.job.id, self.token, {"judgement": judgement.id, "n": scores["n"], "unread": scores["unread"]})


def load(job: Job, token: str, reporter: JobReporter) -> Sitting:
    """What is left of a job. Answers that are the same are a tie that nobody has to be asked for."""
    with reading() as session:
        judgement = session.get_one(Judgement, job.settings["judgement"])
        brief, model = judgement.asked(), session.get_one(Model, judgement.model_id)
        readings = [Reading(row, turn) for row in judgements.rows(session, judgement) for turn in turns(judgement.kind, row.material)]
        ruled = judgements.done(session, judgement.id)
    waiting = [one for one in readings if (one.row.id, one.turn.order) not in ruled]
    sitting = Sitting(job, token, reporter, judgement, model, brief, readings, [one for one in waiting if not one.turn.settled])
    sitting.keep([one.kept(one.turn.settled) for one in waiting if one.turn.settled])
    return sitting


def unread(one: Reading, **more: Any) -> Kept:
    """A ruling that is none."""
    return one.kept(UNREAD, **more)
