"""What a model answered row by row, behind the seal of its split: filtered, the worst first, each with the prompt that it read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session, aliased

from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain.access import Who, read
from app.domain.dataset import DatasetVersion, Example
from app.domain.evaluation import Evaluation, Prediction
from app.domain.figures import UNREAD
from app.domain.fitting import applied
from app.domain.prompt import PromptVersion
from app.domain.rendering import LABELS, read_of, render, template_variables
from app.errors import Conflict, Invalid, NotFound

Only = Literal["all", "right", "wrong", "off_list", "cut_off", "not_offered", "fitted", "refused", "unread"]
ONLY: Mapping[str, str] = {
    "all": "all",
    "right": "right",
    "wrong": "wrong",
    "off_list": "off the list",
    "cut_off": "cut off",
    "not_offered": "label not offered",
    "fitted": "made to fit",
    "refused": "refused",
    "unread": "not read",
}
"""What can be asked for, as a page names it."""


@dataclass(frozen=True)
class Listed:
    """One row: the prediction, its example, and what the other evaluation answered where one was named."""

    prediction: Prediction
    example: Example
    other: Prediction | None = None


@dataclass(frozen=True)
class Predictions:
    """A page of rows. `counts` are of all rows, by what can be asked for; `found` is how many the filter leaves."""

    rows: list[Listed]
    counts: dict[str, int]
    found: int
    other: Evaluation | None = None


@dataclass(frozen=True)
class Filter:
    """`only` some rows; with another evaluation `other` on the same rows, those that `other_only` fits there, too."""

    only: Only = "all"
    other: int | None = None
    other_only: Only = "all"


ALL = Filter()


def find(person: Who, key: int, wanted: Filter = ALL, *, offset: int = 0, limit: int = 100) -> Predictions:
    """The rows, the worst first: those without a margin that are wrong, then by their margin, and last those without one that are right. A look at test
    rows is counted.

    Raises Sealed on a test split that nobody revealed, Invalid for an `other` on other rows, NotFound.
    """
    with reading() as session:
        evaluation = read(session, person, Evaluation, key, "evaluation")
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        datasets.readable(version, evaluation.split)
        other = _other(session, person, evaluation, wanted.other) if wanted.other is not None else None
        found = _listed(session, evaluation, other, wanted, offset, limit)
    _count_look(evaluation)
    return found


def _count_look(evaluation: Evaluation) -> None:
    """In a short write of its own: nobody waits for SQLite's lock while rows are looked for."""
    if evaluation.split in datasets.SEALED:
        with transaction() as session:
            datasets.count_viewed(session, evaluation.dataset_version_id, {evaluation.split})


def _other(session: Session, person: Who, evaluation: Evaluation, key: int) -> Evaluation:
    other = read(session, person, Evaluation, key, "evaluation")
    if (other.dataset_version_id, other.split) != (evaluation.dataset_version_id, evaluation.split):
        raise Invalid("not_comparable", f"Evaluation {key} is on other rows.", "Name one on the same split of the same dataset version.")
    return other


def _listed(session: Session, evaluation: Evaluation, other: Evaluation | None, wanted: Filter, offset: int, limit: int) -> Predictions:
    beside = aliased(Prediction)
    query: Any = select(Prediction, Example).join(Example, Example.id == Prediction.example_id).where(Prediction.evaluation_id == evaluation.id)
    query = query.where(*_conditions(Prediction, wanted.only))
    if other is not None:
        together = (beside.example_id == Prediction.example_id) & (beside.evaluation_id == other.id)
        query = query.add_columns(beside).join(beside, together).where(*_conditions(beside, wanted.other_only))
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Prediction.example_id).order_by(None).subquery())) or 0
    rows = [Listed(*row) for row in session.execute(_worst_first(query).offset(offset).limit(limit))]
    return Predictions(rows, _counts(session, evaluation.id), total, other)


def _worst_first(query: Any) -> Any:
    """Of rows that were refused nothing says by how much they are wrong: they stand before those of which something does."""
    last = case((Prediction.margin.is_not(None), 1), (Prediction.correct.is_(False), 0), else_=2)
    return query.order_by(last, Prediction.margin, Prediction.example_id)


def _conditions(table: Any, only: str) -> list[ColumnElement[bool]]:
    why = table.judged["refused"].as_string()
    known: dict[str, ColumnElement[bool]] = {
        "right": table.correct.is_(True),
        "wrong": table.correct.is_(False),
        "off_list": table.off_list.is_(True),
        "cut_off": table.cut_off.is_(True),
        "not_offered": table.offered.is_(False),
        "fitted": table.lost.is_not(None),
        "refused": why.not_in(UNREAD),
        "unread": why.in_(UNREAD),
    }
    if only not in ONLY:
        raise Invalid("no_such_filter", f"There is no filter {only!r}.", f"Choose one of: {', '.join(ONLY)}.")
    return [known[only]] if only in known else []


def _counts(session: Session, evaluation_id: int) -> dict[str, int]:
    sums = [func.sum(case((condition, 1), else_=0)) for only in ONLY for condition in _conditions(Prediction, only)]
    whole, *each = session.execute(select(func.count(), *sums).where(Prediction.evaluation_id == evaluation_id)).one()
    return dict(zip(ONLY, [int(whole), *(int(one or 0) for one in each)], strict=True))


@dataclass(frozen=True)
class Whole:
    """One prediction with everything about it: the prompt as it was rendered, all that the model wrote, shares and values."""

    prediction: Prediction
    example: Example
    prompt: str
    likelihoods: list[tuple[str, float]] = field(default_factory=list)
    """The labels' log-likelihoods, the likeliest first."""


def whole(person: Who, key: int, example: int) -> Whole:
    """One row of an evaluation. The prompt is rendered from the prompt version and the row, which never change, without what was left out to make it fit.
    A look at a test row is counted.

    Raises Sealed, NotFound, Conflict for a row that has lost what the prompt reads.
    """
    with reading() as session:
        evaluation = read(session, person, Evaluation, key, "evaluation")
        version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
        datasets.readable(version, evaluation.split)
        found, row = session.get(Prediction, (key, example)), session.get(Example, example)
        if found is None or row is None:
            raise NotFound("prediction", example)
        likelihoods = sorted(((name, float(value)) for name, value in (found.likelihoods or {}).items()), key=lambda one: -one[1])
        form = evaluation.formed
        template = form.applied(session.get_one(PromptVersion, evaluation.prompt_version_id).template())
        values = {**version.shown_labels(), **row.values()}
        if LABELS in template_variables(template):
            offered = _offered(session, evaluation, version, row, found) if found.among is None else _placed(version, found.among)
            values = form.listed(version.book.narrowed(values, offered), version.book, offered)
        try:
            prompt = render(*applied(found.lost, template, values)).text
        except Invalid as error:
            raise Conflict("not_rendered", f"The prompt cannot be rendered: {error.message}", error.advice) from error
    _count_look(evaluation)
    return Whole(found, row, prompt, likelihoods)


def _placed(version: DatasetVersion, places: Sequence[int]) -> list[str]:
    texts = version.label_texts()
    return [texts[place] for place in places]


def _offered(session: Session, evaluation: Evaluation, version: DatasetVersion, row: Example, found: Prediction) -> Collection[str]:
    """The labels that a row could be answered with, where its prediction does not keep them by place: those that have a likelihood. Answers that were written
    before places were kept have them found again."""
    if found.likelihoods:
        return found.likelihoods
    candidates = evaluations.candidates(session, evaluation)
    template = session.get_one(PromptVersion, evaluation.prompt_version_id).template()
    return candidates.of(read_of(template, row.values())) if candidates else version.label_texts()
