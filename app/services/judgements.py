"""Judgements: have a model judge the answers of an evaluation, and read what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from app import queue
from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import judgement as judgements
from app.domain import model as models
from app.domain.access import Who, page, read, visible
from app.domain.agreement import Agreement, Alpha, agreement, alpha, consensus
from app.domain.dataset import DatasetVersion, Example
from app.domain.endpoint import of_model
from app.domain.evaluation import Evaluation, Prediction
from app.domain.footprint import CHARACTERS_A_TOKEN
from app.domain.job import Job
from app.domain.judgement import MODEL, Judgement, Ruling
from app.domain.judging import UNREAD, Brief, Kind, Scale, question, turns
from app.domain.model import Model
from app.domain.outcomes import Judging, filters
from app.domain.user import User
from app.errors import Conflict, Invalid, NotFound, first_problem
from app.remote.spec import price_of

LOOKED_AT = 50
"""Rows whose length stands for all."""


@dataclass(frozen=True)
class JudgementView:
    """A judgement with what its page shows beside it."""

    judgement: Judgement
    job: Job | None
    model: Model | None


@dataclass(frozen=True)
class Plan:
    """What a judgement would take: rows, readings, tokens about (reckoned from characters), US dollars where the judge has a price, 0 where it runs here."""

    rows: int
    readings: int
    tokens: int
    cost: float | None


def create(
    person: Who,
    *,
    kind: Kind = "pairwise",
    evaluation: int,
    other: int | None = None,
    model: int | str | None,
    brief: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> JudgementView:
    """Queue the judging of an evaluation's answers by any model: against another one's (pairwise), or each by itself (rubric).

    Raises Invalid for evaluations on other rows or a brief that cannot be followed, Conflict for one without scores, NotFound.
    """
    wanted = brief_of(kind, brief or {})
    with transaction() as session:
        first, second = finished(session, person, kind, evaluation, other)
        judge = _judge(session, person, model, wanted)
        if not judgements.common(session, first, second):
            raise Invalid("no_common_rows", "The two evaluations share no row.", "Score both on the same rows.")
        judgement = judgements.add(session, person, kind, first, second, judge, wanted, limit)
        queue.announce(session)
        return _view(session, judgement)


def brief_of(kind: Kind, given: Mapping[str, Any]) -> Brief:
    """A brief as a person gave it; a rubric has 1 to 5 points unless it says otherwise. Raises Invalid naming the field."""
    try:
        found = Brief.model_validate(given)
    except ValidationError as error:
        place, message = first_problem(error)
        raise Invalid("bad_brief", f"{place or 'brief'}: {message}.", "docs/evaluation.md says what a judge can be told.", detail={"field": place}) from error
    if kind == "rubric" and not found.text.strip():
        raise Invalid("no_rubric", "A rubric says what counts; this one is empty.", "Write what each grade takes.", detail={"field": "text"})
    return found.model_copy(update={"scale": (found.scale or Scale()) if kind == "rubric" else None})


def _judge(session: Session, person: Who, model: int | str | None, brief: Brief) -> Model:
    """The model that judges. Raises Invalid without one, or where its ruling cannot be read as asked, NotFound."""
    if model is None:
        raise Invalid("which_judge", "A model has to judge.", "Name one, or compare blind.", detail={"field": "model"})
    judge = models.find(session, person, model)
    if judge.remote and brief.read == "likelihood":
        raise Invalid("not_read_so", f"{judge.shown} writes its rulings: an endpoint is not asked for likelihoods here.", "Choose first_line or constrained.")
    if not judge.remote and brief.read in ("first_line", "constrained"):
        raise Invalid("not_read_so", f"{judge.name} runs here, so it rules by likelihood: nothing is written.", "Leave read on auto.")
    return judge


def finished(session: Session, person: Who, kind: Kind, evaluation: int, other: int | None) -> tuple[Evaluation, Evaluation | None]:
    """The evaluation, and the other one where two are compared. Raises Conflict, Invalid, NotFound."""
    if kind != "rubric" and (other is None or evaluation == other):
        raise Invalid("which_other", "Two evaluations are compared.", "Name another evaluation on the same rows.", detail={"field": "other"})
    if kind == "rubric" and other is not None:
        raise Invalid("one_only", "By a rubric one evaluation is judged, not two.", "Leave out other.", detail={"field": "other"})
    two = [read(session, person, Evaluation, key, "evaluation") for key in (evaluation, other) if key is not None]
    if any(one.scores is None for one in two):
        raise Conflict("not_scored", "What has no scores yet cannot be judged.", "Wait until the evaluation is finished.")
    if len({(one.dataset_version_id, one.split) for one in two}) > 1:
        raise Invalid("not_comparable", f"Evaluations {evaluation} and {other} are on other rows.", "Name two on the same split of one dataset version.")
    return two[0], two[1] if len(two) > 1 else None


def plan(
    person: Who,
    *,
    kind: Kind = "pairwise",
    evaluation: int,
    other: int | None = None,
    model: int | str | None,
    brief: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> Plan:
    """What the same judgement would take. Raises what `create` raises."""
    wanted = brief_of(kind, brief or {})
    with reading() as session:
        first, second = finished(session, person, kind, evaluation, other)
        judge = _judge(session, person, model, wanted)
        there = judgements.common(session, first, second)
        draft = Judgement(kind=kind, evaluation_id=first.id, other_id=second.id if second else None, row_limit=LOOKED_AT, brief={})
        some = judgements.rows(session, draft)
        price = price_of(of_model(session, judge).prices, judge.remote_name or "") if judge.remote else None
    count = min(there, limit or there)
    asked = [turn for row in some for turn in turns(kind, row.material) if not turn.settled]
    length = sum(len(question(wanted, turn.material, chat=True).text) for turn in asked) / max(1, len(asked))
    readings = round(count * len(asked) / max(1, len(some)))
    tokens = round(readings * length / CHARACTERS_A_TOKEN)
    return Plan(count, readings, tokens, 0.0 if not judge.remote else None if price is None else (tokens * price.input + readings * price.output) / 1e6)


def find(person: Who, key: int) -> JudgementView:
    with reading() as session:
        return _view(session, read(session, person, Judgement, key, "judgement"))


def _view(session: Session, row: Judgement) -> JudgementView:
    return JudgementView(row, session.get(Job, row.job_id) if row.job_id else None, session.get(Model, row.model_id) if row.model_id else None)


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[JudgementView], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Judgement), Judgement, after, limit)
        return [_view(session, row) for row in rows], following


def of_evaluation(person: Who, evaluation: int) -> list[JudgementView]:
    """The judgements of an evaluation, on either side, newest first; not those that are still blind."""
    with reading() as session:
        query = visible(person, Judgement).where(or_(Judgement.evaluation_id == evaluation, Judgement.other_id == evaluation))
        return [_view(session, row) for row in session.scalars(query.limit(50)) if not row.hidden]


def of_job(person: Who, job: int) -> Judgement | None:
    with reading() as session:
        return session.scalars(visible(person, Judgement).where(Judgement.job_id == job)).first()


@dataclass(frozen=True)
class Ruled:
    """One row with what was answered to it, what the judge said in each order, and the grades that people gave: (who, grade)."""

    example: Example
    first: Prediction
    second: Prediction | None
    rulings: Mapping[str, Ruling]
    judging: Judging
    marks: Sequence[tuple[str, str]] = ()
    mark: str | None = None
    """What those grades come to."""

    @property
    def answers(self) -> tuple[str, str]:
        """What the judge read of both: all that was written, else the answer."""
        a, b = ((one.written or "").strip() or one.answer if one else "" for one in (self.first, self.second))
        return a, b


@dataclass(frozen=True)
class Rows:
    """A page of rows. `counts` are of all rows, by what can be asked for; `found` is how many the filter leaves."""

    rows: Sequence[Ruled]
    counts: Mapping[str, int]
    found: int


def rows(person: Who, key: int, only: str = "all", *, offset: int = 0, limit: int = 100) -> Rows:
    """The rows that were ruled on, in file order. A look at test rows is counted.

    Raises Sealed on a test split that nobody revealed, Invalid for a filter that there is not, NotFound.
    """
    with transaction() as session:
        judgement = _told(session, person, key)
        known = filters(judgement.kind, judgement.asked())
        if only not in known:
            raise Invalid("no_such_filter", f"There is no filter {only!r}.", f"Choose one of: {', '.join(known)}.")
        evaluation = session.get_one(Evaluation, judgement.evaluation_id)
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        datasets.readable(version, evaluation.split)
        datasets.count_viewed(session, version.id, {evaluation.split})
        kinds = _judgings(session, judgement)
        wanted = sorted(example for example, one in kinds.items() if one.is_one_of(only))
        counts = {name: sum(one.is_one_of(name) for one in kinds.values()) for name in known}
        return Rows(_ruled(session, judgement, wanted[offset : offset + limit]), counts, len(wanted))


def whole(person: Who, key: int, example: int) -> Ruled:
    """One row. A look at a test row is counted. Raises Sealed, NotFound."""
    with transaction() as session:
        judgement = _told(session, person, key)
        evaluation = session.get_one(Evaluation, judgement.evaluation_id)
        datasets.readable(session.get_one(DatasetVersion, evaluation.dataset_version_id), evaluation.split)
        found = _ruled(session, judgement, [example])
        if not found:
            raise NotFound("row", example)
        datasets.count_viewed(session, evaluation.dataset_version_id, {evaluation.split})
        return found[0]


def told(person: Who, key: int) -> Judgement:
    """A judgement that hides nothing. Raises Conflict while it is blind, NotFound."""
    with reading() as session:
        return _told(session, person, key)


def _told(session: Session, person: Who, key: int) -> Judgement:
    """A judgement that hides nothing. Raises Conflict while it is blind."""
    judgement = read(session, person, Judgement, key, "judgement")
    if judgement.hidden:
        raise Conflict("still_blind", f"Comparison {key} is blind until it is closed.", "Close it to see whose answers were compared, and what was chosen.")
    return judgement


def _judgings(session: Session, judgement: Judgement, examples: Sequence[int] | None = None) -> dict[int, Judging]:
    """What was ruled on each row that somebody ruled on, by example."""
    given = judgements.marks(session, judgement, examples)
    if judgement.kind == "blind":
        chosen: dict[int, list[str]] = {}
        for one in given:
            chosen.setdefault(one.example_id, []).append(one.value)
        return {example: Judging.chosen(values) for example, values in chosen.items()}
    said: dict[int, dict[str, str]] = {}
    query = select(Ruling.example_id, Ruling.order, Ruling.value).where(Ruling.judgement_id == judgement.id, Ruling.judge == MODEL)
    for example, order, value in session.execute(query if examples is None else query.where(Ruling.example_id.in_(examples))):
        said.setdefault(example, {})[order] = value
    marked = _consensus(judgement, given)
    return {example: Judging.of(values, marked.get(example)) for example, values in said.items()}


def _ruled(session: Session, judgement: Judgement, examples: Sequence[int]) -> list[Ruled]:
    beside = aliased(Prediction)
    together = (beside.example_id == Prediction.example_id) & (beside.evaluation_id == judgement.other_id)
    query = select(Example, Prediction, beside).join(Prediction, Prediction.example_id == Example.id).outerjoin(beside, together)
    query = query.where(Prediction.evaluation_id == judgement.evaluation_id, Example.id.in_(examples)).order_by(Example.id)
    said: dict[int, dict[str, Ruling]] = {}
    for one in session.scalars(select(Ruling).where(Ruling.judgement_id == judgement.id, Ruling.judge == MODEL, Ruling.example_id.in_(examples))):
        said.setdefault(one.example_id, {})[one.order] = one
    given, kinds = judgements.marks(session, judgement, examples), _judgings(session, judgement, examples)
    names = dict(session.execute(select(User.id, User.name).where(User.id.in_({one.judge for one in given}))).all())
    marked = _consensus(judgement, given)
    return [
        Ruled(
            example,
            first,
            second,
            said.get(example.id, {}),
            kinds[example.id],
            [(names[one.judge], one.value) for one in given if one.example_id == example.id],
            marked.get(example.id),
        )
        for example, first, second in session.execute(query)
        if example.id in kinds
    ]


def _consensus(judgement: Judgement, given: Sequence[Ruling]) -> dict[int, str]:
    """What people's grades of each row come to, by example."""
    scale = judgement.asked().scale
    if scale is None:
        return {}
    places: dict[int, list[int]] = {}
    for one in given:
        places.setdefault(one.example_id, []).append(scale.grades.index(one.value))
    return {example: scale.grades[consensus(some)] for example, some in places.items()}


@dataclass(frozen=True)
class WithPeople:
    """A judge's grades beside those of people: agreement on the rows that both graded, how many rows people graded, and how far they agree themselves."""

    agreement: Agreement
    marked: int
    people: int
    among: Alpha


def with_people(person: Who, key: int) -> WithPeople | None:
    """How far a judgement by rubric agrees with people; none for one that has no rubric."""
    with reading() as session:
        judgement = read(session, person, Judgement, key, "judgement")
        scale = judgement.asked().scale
        if scale is None:
            return None
        given = judgements.marks(session, judgement)
        marked = _consensus(judgement, given)
        said = {one.example_id: one.value for one in judgements.rulings(session, key) if one.value != UNREAD}
    pairs = [(scale.grades.index(grade), scale.grades.index(said[example])) for example, grade in marked.items() if example in said]
    by_row: dict[int, list[float]] = {}
    for one in given:
        by_row.setdefault(one.example_id, []).append(scale.number(one.value))
    return WithPeople(agreement(pairs, len(scale.grades)), len(marked), len({one.judge for one in given}), alpha(list(by_row.values())))
