"""Judgements: the answers of an evaluation judged row by row, by a model and by people. A ruling is what a judge said of one row, read in one order.

People's grades belong to the rubric and not to the model that was asked with it: judgements of the same answers by the same rubric share them.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, ForeignKey, Select, case, func, insert, or_, select
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from app.domain import dataset as datasets
from app.domain import job as jobs
from app.domain.access import Who, owned
from app.domain.base import Base, Json, Owned, db_now
from app.domain.dataset import DatasetVersion, Example, count_scored
from app.domain.evaluation import Evaluation, Prediction
from app.domain.judging import ONCE, UNREAD, Brief, Kind, Material
from app.domain.model import Model
from app.domain.outcomes import Choice, Pair, chosen, graded, pairwise

MODEL = 0
"""Who ruled where it was the judgement's model and no person."""


class Judgement(Owned, Base):
    """`brief` is what the judge is told (app/domain/judging.py). Two answers to a row are compared where there is an `other_id`.

    `scores` stays empty until the job that fills it has succeeded; in a blind comparison by people, which has neither model nor job, until it is closed.
    By its `seed` each person sees one or the other answer first.
    """

    __tablename__ = "judgement"

    kind: Mapped[str]
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id", ondelete="CASCADE"), index=True)
    other_id: Mapped[int | None] = mapped_column(ForeignKey("evaluation.id", ondelete="CASCADE"), index=True)
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    brief: Mapped[dict[str, Any]]
    row_limit: Mapped[int | None]
    scores: Mapped[dict[str, Any] | None]
    seed: Mapped[int] = mapped_column(default=0)
    closed_at: Mapped[int | None] = mapped_column(default=None)

    @property
    def hidden(self) -> bool:
        """Whether nobody may learn whose answers are compared: a blind comparison until it is closed."""
        return self.kind == "blind" and self.closed_at is None

    def asked(self) -> Brief:
        return Brief.model_validate(self.brief)


class Ruling(Base):
    """What a judge said of one row. `judge` is MODEL or a person's id; `order` which answer stood first (ab, ba), or ONCE; `value` whom it
    favours (a, b, tie), the grade, or UNREAD; `written` all that the judge wrote, `likelihoods` those of what it could say."""

    __tablename__ = "ruling"

    judgement_id: Mapped[int] = mapped_column(ForeignKey("judgement.id", ondelete="CASCADE"), primary_key=True)
    example_id: Mapped[int] = mapped_column(ForeignKey("example.id", ondelete="CASCADE"), primary_key=True, index=True)
    judge: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    order: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    written: Mapped[str | None] = mapped_column(default=None)
    likelihoods: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    latency_ms: Mapped[float] = mapped_column(default=0.0)
    input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)


def add(
    session: Session, person: Who, kind: Kind, evaluation: Evaluation, other: Evaluation | None, model: Model, brief: Brief, limit: int | None
) -> Judgement:
    """A new judgement with the job that fills it. A judge behind an endpoint needs no device."""
    about: dict[str, Any] = {"evaluation_id": evaluation.id, "other_id": other.id if other else None, "model_id": model.id, "row_limit": limit}
    judgement = Judgement(**owned(person), kind=kind, **about, brief=brief.model_dump(exclude_defaults=True), scores=None)
    session.add(judgement)
    session.flush()
    version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
    settings = {"judgement": judgement.id, "model": model.id, "dataset": version.reference, "split": evaluation.split, "limit": limit}
    name = f"{model.shown} judges evaluation {evaluation.id} {f'against {other.id}' if other else 'by rubric'}"
    judgement.job_id = jobs.add(session, person, "evaluate", name, settings, light=model.remote).id
    session.flush()
    return judgement


def begin(session: Session, person: Who, evaluation: Evaluation, other: Evaluation, brief: Brief, limit: int | None) -> Judgement:
    """A new blind comparison by people."""
    about: dict[str, Any] = {"evaluation_id": evaluation.id, "other_id": other.id, "row_limit": limit, "seed": secrets.randbits(52)}
    judgement = Judgement(**owned(person), kind="blind", **about, model_id=None, job_id=None, brief=brief.model_dump(exclude_defaults=True), scores=None)
    session.add(judgement)
    session.flush()
    return judgement


def on(evaluations: Collection[int] | Select[int], judge: int | None = None) -> Select[Judgement]:
    """The query for judgements of these evaluations, or by this model."""
    by = [] if judge is None else [Judgement.model_id == judge]
    return select(Judgement).where(or_(Judgement.evaluation_id.in_(evaluations), Judgement.other_id.in_(evaluations), *by)).order_by(Judgement.id)


@dataclass(frozen=True)
class Judged:
    """One row that is judged, by its example."""

    id: int
    position: int
    material: Material


def rows(session: Session, judgement: Judgement, examples: Mapping[int, int] | None = None) -> list[Judged]:
    """What is judged, in file order: the rows that have an answer, in both evaluations where there are two. With `examples`, position by example of some
    that `for_people` finds, those."""
    evaluation = session.get_one(Evaluation, judgement.evaluation_id)
    version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
    first = _answers(session, evaluation.id, examples)
    second = _answers(session, judgement.other_id, examples) if judgement.other_id else dict.fromkeys(first, "")
    limit, positions = (judgement.row_limit, None) if examples is None else (None, list(examples.values()))
    cases = datasets.cases(session, version, evaluation.split, limit, positions)
    return [
        Judged(row.id, row.position, Material(row.input, row.answer, first[row.id], second[row.id])) for row in cases if row.id in first and row.id in second
    ]


def _answers(session: Session, evaluation_id: int, examples: Collection[int] | None) -> dict[int, str]:
    """All that was written for each row; where an answer was chosen and not written, the answer."""
    query = select(Prediction.example_id, Prediction.answer, Prediction.written).where(Prediction.evaluation_id == evaluation_id)
    query = query if examples is None else query.where(Prediction.example_id.in_(list(examples)))
    return {example: (written or "").strip() or answer for example, answer, written in session.execute(query)}


def for_people(session: Session, judgement: Judgement) -> Select[int, int]:
    """(example, position) of the rows that people are asked about, without reading what stands in them: of two answers those that are not the same."""
    evaluation = session.get_one(Evaluation, judgement.evaluation_id)
    version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
    query = datasets.labelled(version, evaluation.split, judgement.row_limit).with_only_columns(Example.id, Example.position)
    query = query.join(Prediction, (Prediction.example_id == Example.id) & (Prediction.evaluation_id == evaluation.id))
    if judgement.other_id is None:
        return query
    beside = aliased(Prediction)
    query = query.join(beside, (beside.example_id == Example.id) & (beside.evaluation_id == judgement.other_id))
    return query.where(_said(Prediction) != _said(beside))


SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
"""What Python strips of a text's ends."""


def _said(table: Any) -> ColumnElement[str]:
    """In SQL what `_answers` reads of a prediction, stripped as `Material.same` does it."""
    written, answer = (func.trim(func.coalesce(column, ""), SPACES) for column in (table.written, table.answer))
    return case((written != "", written), else_=answer)


def common(session: Session, evaluation: Evaluation, other: Evaluation | None) -> int:
    """How many rows there are to judge."""
    query = select(func.count()).select_from(Prediction).where(Prediction.evaluation_id == evaluation.id)
    if other is not None:
        beside = aliased(Prediction)
        query = query.join(beside, (beside.example_id == Prediction.example_id) & (beside.evaluation_id == other.id))
    return session.scalar(query) or 0


def store(session: Session, judgement_id: int, rulings: Iterable[Mapping[str, Any]]) -> None:
    """Keep rulings of the model. Those that a broken attempt already wrote are replaced."""
    values = [{"judgement_id": judgement_id, "judge": MODEL, **one} for one in rulings]
    if values:
        ids = {one["example_id"] for one in values}
        again = {(one["example_id"], one["order"]) for one in values}
        mine = select(Ruling).where(Ruling.judgement_id == judgement_id, Ruling.judge == MODEL, Ruling.example_id.in_(ids))
        for row in session.scalars(mine):
            if (row.example_id, row.order) in again:
                session.delete(row)
        session.flush()
        session.execute(insert(Ruling), values)


def done(session: Session, judgement_id: int) -> set[tuple[int, str]]:
    """(example, order) of what the model has already ruled on."""
    query = select(Ruling.example_id, Ruling.order).where(Ruling.judgement_id == judgement_id, Ruling.judge == MODEL)
    return {(example, order) for example, order in session.execute(query)}


def rulings(session: Session, judgement_id: int) -> Sequence[Ruling]:
    """The model's rulings."""
    return session.scalars(select(Ruling).where(Ruling.judgement_id == judgement_id, Ruling.judge == MODEL).order_by(Ruling.example_id, Ruling.order)).all()


def settle(session: Session, judgement: Judgement, measured: Mapping[str, Any], cost: float | None = 0.0) -> dict[str, Any]:
    """Compute a judgement's scores from its rulings and write them into its row; a sealed split counts how often it was scored.

    `cost` is in US dollars, None without a price; tokens are those of all rulings, each of which was asked once.
    """
    known = rulings(session, judgement.id)
    by_row: dict[int, dict[str, str]] = {}
    for one in known:
        by_row.setdefault(one.example_id, {})[one.order] = one.value
    there, scale = rows(session, judgement), judgement.asked().scale
    found = (
        graded(scale, [by_row.get(row.id, {}).get(ONCE, UNREAD) for row in there])
        if scale
        else pairwise([_pair(by_row.get(row.id, {}), row.material) for row in there])
    )
    tokens = {name: sum(getattr(one, name) for one in known) for name in ("input_tokens", "output_tokens")}
    judgement.scores = {**found, **tokens, "cost": cost, "measured": dict(measured)}
    evaluation = session.get_one(Evaluation, judgement.evaluation_id)
    count_scored(session, evaluation.dataset_version_id, evaluation.split)
    session.flush()
    return judgement.scores


def close(session: Session, judgement: Judgement) -> dict[str, Any]:
    """End a blind comparison: what people chose becomes its scores, and nothing more is taken."""
    given: dict[int, list[tuple[str, str]]] = {}
    for one in marks(session, judgement):
        given.setdefault(one.example_id, []).append((one.order, one.value))
    there = rows(session, judgement)
    found = [Choice(given[row.id], (len(row.material.first), len(row.material.second))) for row in there if row.id in given]
    judgement.scores = {**chosen(found, sum(row.material.same for row in there)), "people": len({one.judge for one in marks(session, judgement)})}
    judgement.closed_at = session.scalar(select(db_now()))
    session.flush()
    return judgement.scores


def _pair(found: Mapping[str, str], material: Material) -> Pair:
    return Pair(found.get("ab", UNREAD), found.get("ba", UNREAD), (len(material.first), len(material.second)), material.same)


def alike(session: Session, judgement: Judgement) -> list[int]:
    """Judgements of the same answers by the same rubric, this one first: they share people's grades."""
    if judgement.kind != "rubric":
        return [judgement.id]
    brief = judgement.asked()
    mine = select(Judgement).where(Judgement.evaluation_id == judgement.evaluation_id, Judgement.kind == judgement.kind, Judgement.id != judgement.id)
    same = [
        one.id for one in session.scalars(mine.order_by(Judgement.id)) if (one.asked().text.strip(), one.asked().scale) == (brief.text.strip(), brief.scale)
    ]
    return [judgement.id, *same]


def marks(session: Session, judgement: Judgement, examples: Sequence[int] | None = None) -> list[Ruling]:
    """What people said of its rows, in the order of the rows."""
    query = select(Ruling).where(Ruling.judgement_id.in_(alike(session, judgement)), Ruling.judge != MODEL)
    if examples is not None:
        query = query.where(Ruling.example_id.in_(examples))
    return list(session.scalars(query.order_by(Ruling.example_id, Ruling.judge)))


def judged_by(session: Session, judgement: Judgement, person_id: int) -> tuple[int, int]:
    """(rows that this person has said something of, people who have said something of any), counted by the database."""
    theirs = [Ruling.judgement_id.in_(alike(session, judgement)), Ruling.judge != MODEL]
    mine = func.sum(case((Ruling.judge == person_id, 1), else_=0))
    counts = session.execute(select(mine, func.count(func.distinct(Ruling.judge))).where(*theirs)).one()
    return int(counts[0] or 0), int(counts[1])


def unjudged(session: Session, judgement: Judgement, person_id: int) -> dict[int, int]:
    """Position by example of the rows that wait for this person."""
    done = select(Ruling.example_id).where(Ruling.judgement_id.in_(alike(session, judgement)), Ruling.judge == person_id)
    query = for_people(session, judgement)
    return dict(session.execute(query.where(Example.id.not_in(done))).all())


def mark(session: Session, judgement: Judgement, person_id: int, example: int, order: str, value: str) -> None:
    """Keep what a person says of a row; it replaces what they said before."""
    mine = [Ruling.judgement_id.in_(alike(session, judgement)), Ruling.judge == person_id, Ruling.example_id == example]
    for row in session.scalars(select(Ruling).where(*mine)):
        session.delete(row)
    session.flush()
    session.add(Ruling(judgement_id=judgement.id, example_id=example, judge=person_id, order=order, value=value))
    session.flush()


def leave_marks(session: Session, judgement: Judgement) -> None:
    """Before a judgement goes: people's grades stay with another one by the same rubric, where there is one."""
    others = alike(session, judgement)[1:]
    if others:
        for row in marks(session, judgement):
            if row.judgement_id == judgement.id:
                mark(session, session.get_one(Judgement, others[0]), row.judge, row.example_id, row.order, row.value)
