"""Evaluations: the predictions and scores of one (model, prompt version) on one split of one dataset version."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ForeignKey, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain import label_budget
from app.domain.base import Base, Json, JsonOrNull, Owned
from app.domain.candidates import MOST_ROWS, Candidates
from app.domain.dataset import Case, DatasetVersion, cases, count_scored
from app.domain.figures import Row, figures, lacking
from app.domain.job import Job
from app.domain.label_book import LabelBook
from app.domain.prompt import PromptVersion
from app.domain.prompt_form import Form
from app.domain.rendering import LABELS, Template, read_of, template_variables
from app.domain.results import ByRow, Results, Whole, of_answers, of_seeds
from app.domain.scheme import ACCURACY, METRICS, Metric, Scheme, Shape
from app.domain.scoring.calibration import CONTENT_FREE
from app.domain.scoring.whole import answering
from app.domain.stats import percentile
from app.errors import Conflict


class Evaluation(Owned, Base):
    """`answer` is likelihood or generate; `scheme` says how answers are read and judged, where that differs from the usual (app/domain/scheme.py);
    `scores` stays empty until the job that fills it has succeeded. A `run` of a reliability check (app/domain/reliability.py) asks with a `seed` of its
    own, or in another `form` (app/domain/prompt_form.py); an evaluation by itself is no run."""

    __tablename__ = "evaluation"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    prompt_version_id: Mapped[int] = mapped_column(ForeignKey("prompt_version.id"))
    dataset_version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id"))
    split: Mapped[str]
    answer: Mapped[str]
    row_limit: Mapped[int | None]
    scheme: Mapped[dict[str, Any]] = mapped_column(default=dict)
    scores: Mapped[dict[str, Any] | None]
    run: Mapped[int | None] = mapped_column(default=None)
    seed: Mapped[int | None] = mapped_column(default=None)
    form: Mapped[dict[str, Any]] = mapped_column(default=dict)
    content_free: Mapped[list[Any] | None] = mapped_column(JsonOrNull, default=None)
    """What an endpoint said of the prompts without an input that it is calibrated by, as far as they were asked: `sums` by label, and the tokens that each
    took. They are no rows, and are asked and paid for once."""

    @property
    def formed(self) -> Form:
        """How its prompt is written."""
        return Form.model_validate(self.form)


class Prediction(Base):
    """What the model answered for one example. `written` is all that it wrote, where that is more than the answer; `cut_off`: it reached the limit of
    tokens; `off_list`: the answer is none of the labels; `offered`: the gold label was among those it could choose from.

    `lost` is what was left out of the row's prompt to make it fit (app/domain/fitting.py). `among` are the labels that it could choose from, by their places
    in the label book, where those were not all and no likelihoods say it.
    `confidence` is the answered label's share among those offered, `margin` the gold label's log-likelihood above the best other one: the smaller, the
    worse the row went.
    """

    __tablename__ = "prediction"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id", ondelete="CASCADE"), primary_key=True)
    example_id: Mapped[int] = mapped_column(ForeignKey("example.id", ondelete="CASCADE"), primary_key=True)
    answer: Mapped[str]
    gold: Mapped[str]
    correct: Mapped[bool]
    likelihoods: Mapped[dict[str, Any] | None] = mapped_column(Json)
    written: Mapped[str | None] = mapped_column(default=None)
    off_list: Mapped[bool] = mapped_column(default=False)
    cut_off: Mapped[bool] = mapped_column(default=False)
    offered: Mapped[bool] = mapped_column(default=True)
    confidence: Mapped[float | None] = mapped_column(default=None)
    margin: Mapped[float | None] = mapped_column(default=None)
    judged: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    lost: Mapped[dict[str, Any] | None] = mapped_column(JsonOrNull, default=None)
    among: Mapped[list[Any] | None] = mapped_column(JsonOrNull, default=None)
    latency_ms: Mapped[float]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]

    @property
    def lacking(self) -> str:
        """What a row without an answer is, refused or unread; "" for one that has an answer."""
        return lacking(self.judged)


def store(session: Session, evaluation_id: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keep predictions. Rows that a broken attempt already wrote are replaced."""
    values = [{"evaluation_id": evaluation_id, **row} for row in rows]
    if values:
        ids = [row["example_id"] for row in values]
        session.execute(Prediction.__table__.delete().where(Prediction.evaluation_id == evaluation_id, Prediction.example_id.in_(ids)))  # type: ignore[attr-defined]
        session.execute(insert(Prediction), values)


def done(session: Session, evaluation_id: int) -> set[int]:
    """The examples that an earlier attempt already scored."""
    return set(session.scalars(select(Prediction.example_id).where(Prediction.evaluation_id == evaluation_id)))


def predictions(session: Session, evaluation_id: int) -> Sequence[Prediction]:
    return session.scalars(select(Prediction).where(Prediction.evaluation_id == evaluation_id).order_by(Prediction.example_id)).all()


def golds(session: Session, evaluation_id: int) -> dict[int, str]:
    """The gold answers by example."""
    query = select(Prediction.example_id, Prediction.gold).where(Prediction.evaluation_id == evaluation_id)
    return dict(session.execute(query).all())


def answers(session: Session, evaluation_id: int) -> dict[int, str]:
    """What was answered, by example."""
    query = select(Prediction.example_id, Prediction.answer).where(Prediction.evaluation_id == evaluation_id)
    return dict(session.execute(query).all())


def paired_by(evaluation: Evaluation) -> str:
    """The figure that an evaluation is compared by: its main one, or accuracy where that is no mean over rows."""
    scores = evaluation.scores or {}
    shape: Shape = scores.get("shape", "labels")
    name: str = scores.get("main", {}).get("name", ACCURACY.name)
    return name if METRICS[shape][name].by_row else ACCURACY.name


def by_row(session: Session, evaluation: Evaluation, name: str) -> dict[int, float]:
    """The value of every row by example, for a figure that is a mean over rows or for a check by its title: what paired comparisons over any figure are
    made of. Raises Conflict for anything else."""
    scores = evaluation.scores or {}
    shape: Shape = scores.get("shape", "labels")
    checks = [one["name"] for one in scores.get("checks", [])]
    if name not in checks and not (name in METRICS[shape] and METRICS[shape][name].by_row):
        known = [*(one.name for one in METRICS[shape].values() if one.by_row), *checks]
        raise Conflict("no_such_metric", f"Evaluation {evaluation.id} has no figure {name!r} of every row.", f"It has: {', '.join(known)}.")
    query = select(Prediction.example_id, Prediction.correct, Prediction.judged).where(Prediction.evaluation_id == evaluation.id)
    part = "checks" if name in checks else "values"
    return {example: value_in(correct, judged, name, part) for example, correct, judged in session.execute(query)}


def value_in(correct: bool, judged: Mapping[str, Any] | None, name: str, part: str = "values") -> float:
    """A figure's value of one prediction, or a check's, which is another `part` of what was judged."""
    return float(correct) if name == ACCURACY.name else float(((judged or {}).get(part) or {}).get(name, 0.0))


def results(session: Session, seeds: Sequence[Evaluation], figure: Metric) -> Results:
    """What the evaluations of several seeds got together, row by row, under one figure. They are of the same rows."""
    if figure.by_row:
        return of_seeds([by_row(session, one, figure.name) for one in seeds])
    return of_answers(figure.name, golds(session, seeds[0].id), [answers(session, one.id) for one in seeds])


def always(session: Session, evaluation: Evaluation, label: str, figure: Metric) -> Results:
    """What always answering one label would get on the rows of an evaluation."""
    known = golds(session, evaluation.id)
    if figure.by_row:
        return ByRow({example: float(gold == label) for example, gold in known.items()})
    return Whole(figure.name, answering(known, label))


def narrows(book: LabelBook, scheme: Scheme, answer: str, template: Template) -> bool:
    """Whether a row is offered the labels most like it instead of all: of many labels, where they are scored or the prompt names them."""
    return scheme.has_many(book.offered) and (answer == "likelihood" or LABELS in template_variables(template))


def candidates(session: Session, evaluation: Evaluation) -> Candidates | None:
    """What chooses the labels that a row is offered; None where all of them are. Its index is built anew from the train rows, under a label budget from
    those within it: nothing may be known of labels that are not there yet."""
    version, scheme = session.get_one(DatasetVersion, evaluation.dataset_version_id), Scheme.model_validate(evaluation.scheme)
    book, template = version.book, session.get_one(PromptVersion, evaluation.prompt_version_id).template()
    if not narrows(book, scheme, evaluation.answer, template):
        return None
    asked = session.get_one(Job, evaluation.job_id).settings
    if budget := asked.get("label_budget"):
        rows: Iterable[Case] = label_budget.train_rows(session, version, min(budget, MOST_ROWS), asked.get("seed", 0))
    else:
        rows = cases(session, version, "train", MOST_ROWS)
    return Candidates(book, ((read_of(template, row.values), row.answer) for row in rows), scheme.candidates)


def content_free(template: Template, values: Mapping[str, str]) -> list[dict[str, str]]:
    """A row's values without its input: what prompts are filled with that say nothing, for calibration. None where the prompt reads no input."""
    free = [name for name in template_variables(template) if name != LABELS]
    return [{**values, **dict.fromkeys(free, text)} for text in CONTENT_FREE] if free else []


def scored(
    evaluation: Evaluation,
    rows: Sequence[Prediction],
    labels: Sequence[str],
    latency_ms: Sequence[float],
    measured: Mapping[str, Any],
    cost: float | None = 0.0,
    fit: Mapping[str, Any] | None = None,
    offered: int | None = None,
) -> dict[str, Any]:
    """An evaluation's scores, from its predictions. It takes a while with many rows: outside of any transaction.

    `latency_ms` are requests answered one at a time, or as `measured` says, which tells where and how. `cost` is in US dollars, None without a
    price. `fit` says how rows that were too long were made to fit, and how many; `offered` how many of its labels a row was offered, where those were
    not all.
    """
    scheme = Scheme.model_validate(evaluation.scheme)
    shape = scheme.shape_of(bool(labels), [row.gold for row in rows])
    known = [Row(row.gold, row.answer, row.correct, row.cut_off, row.offered, row.confidence, row.judged) for row in rows]
    return {
        **figures(known, labels if shape == "labels" else [], shape, scheme),
        "latency_ms": {"p50": percentile(latency_ms, 50), "p95": percentile(latency_ms, 95), "n": len(latency_ms)},
        "input_tokens": sum(row.input_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
        "cost": cost,
        "measured": dict(measured),
        "fit": dict(fit or {}),
        **({} if offered is None else {"offered": offered}),
    }


def settle(session: Session, evaluation: Evaluation, scores: dict[str, Any], look: bool = True) -> None:
    """Write the scores into an evaluation's row; a sealed split counts how often it was scored. `look`: false for a further seed of a rung or run of a
    check (`climbing.is_look`)."""
    evaluation.scores = scores
    if look:
        count_scored(session, evaluation.dataset_version_id, evaluation.split)
    session.flush()
