"""People who judge: the rows that wait for them, one after the other, and what they say of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import judgement as judgements
from app.domain.access import Who, read, write
from app.domain.dataset import DatasetVersion, Example
from app.domain.evaluation import Evaluation
from app.domain.judgement import Judged, Judgement
from app.domain.judging import ONCE, drawn, resolved
from app.domain.shots import place
from app.errors import Conflict, Invalid, NotFound


@dataclass(frozen=True)
class Waiting:
    """A row that waits for a person: the answers in the order in which they are shown."""

    example: int
    input: str
    reference: str
    answers: Sequence[str]


@dataclass(frozen=True)
class Progress:
    """How many rows this person has judged, of how many; and how many people have judged any."""

    mine: int
    rows: int
    people: int


@dataclass(frozen=True)
class Queue:
    """The next rows, and how far one is."""

    rows: Sequence[Waiting]
    progress: Progress


def queue(person: Who, key: int, limit: int) -> Queue:
    """The next rows, drawn as one would draw a sample, the same for everybody. The first look of a person at test rows is counted.

    Raises Sealed on a test split that nobody revealed, Conflict for a judgement that people take no part in.
    """
    with transaction() as session:
        judgement = _open(session, person, key)
        left = judgements.unjudged(session, judgement, person.user_id or 0)
        progress = _progress(session, person, judgement)
        evaluation = session.get_one(Evaluation, judgement.evaluation_id)
        if not progress.mine:
            datasets.count_viewed(session, evaluation.dataset_version_id, {evaluation.split})
        drawn_next = sorted(left, key=lambda example: place(judgement.seed, example))[:limit]
        known = {row.id: row for row in judgements.rows(session, judgement, {example: left[example] for example in drawn_next})}
        return Queue([_waiting(person, judgement, known[example]) for example in drawn_next], progress)


def rule(person: Who, key: int, example: int, value: str) -> Progress:
    """Say what one thinks of a row; saying it again replaces it. Raises Invalid for what cannot be said, and what `queue` raises."""
    with transaction() as session:
        judgement = write(session, person, Judgement, key, "judgement")
        _open(session, person, key)
        if session.execute(judgements.for_people(session, judgement).where(Example.id == example)).first() is None:
            raise NotFound("row", example)
        known = judgement.asked().answers
        if value not in known:
            raise Invalid("no_such_ruling", f"{value!r} is nothing that can be said here.", f"Say one of: {', '.join(known)}.", detail={"field": "value"})
        order = _order(person, judgement, example)
        judgements.mark(session, judgement, person.user_id or 0, example, order, resolved(order, value))
        return _progress(session, person, judgement)


def take_back(person: Who, key: int, example: int) -> Progress:
    """Say nothing of a row any more."""
    with transaction() as session:
        judgement = _open(session, person, key)
        for row in judgements.marks(session, judgement, [example]):
            if row.judge == person.user_id:
                session.delete(row)
        session.flush()
        return _progress(session, person, judgement)


def progress(person: Who, key: int) -> Progress:
    """How far one is. Raises what `queue` raises."""
    with reading() as session:
        judgement = _open(session, person, key)
        return _progress(session, person, judgement)


def _open(session: Session, person: Who, key: int) -> Judgement:
    judgement = read(session, person, Judgement, key, "judgement")
    if judgement.kind == "pairwise":
        raise Conflict("not_for_people", "Only a model takes part in this judgement.", "People grade by a rubric, or compare blind.")
    if judgement.closed_at is not None:
        raise Conflict("closed", "This comparison is closed.", "Begin another one.")
    if person.user_id is None:
        raise Conflict("nobody", "Only a person can judge.", "Sign in.")
    evaluation = session.get_one(Evaluation, judgement.evaluation_id)
    datasets.readable(session.get_one(DatasetVersion, evaluation.dataset_version_id), evaluation.split)
    return judgement


def _progress(session: Session, person: Who, judgement: Judgement) -> Progress:
    """Counted by the database: no row is read here."""
    mine, people = judgements.judged_by(session, judgement, person.user_id or 0)
    of = session.scalar(select(func.count()).select_from(judgements.for_people(session, judgement).subquery())) or 0
    return Progress(mine, of, people)


def _order(person: Who, judgement: Judgement, example: int) -> str:
    """Which answer this person sees first."""
    return drawn(judgement.seed, person.user_id or 0, example) if judgement.kind == "blind" else ONCE


def _waiting(person: Who, judgement: Judgement, row: Judged) -> Waiting:
    material, order = row.material, _order(person, judgement, row.id)
    answers = {"ab": [material.first, material.second], "ba": [material.second, material.first]}.get(order, [material.first])
    return Waiting(row.id, material.input, material.reference if judgement.asked().reference else "", answers)
