"""Evaluations: the predictions and scores of one (model, prompt version) on one split of one dataset version."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ForeignKey, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Json, Owned
from app.domain.dataset import count_scored
from app.domain.scoring import Scores, score
from app.domain.stats import percentile


class Evaluation(Owned, Base):
    """`answer` is likelihood or generate; `scores` stays empty until the job that fills it has succeeded."""

    __tablename__ = "evaluation"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    prompt_version_id: Mapped[int] = mapped_column(ForeignKey("prompt_version.id"))
    dataset_version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id"))
    split: Mapped[str]
    answer: Mapped[str]
    row_limit: Mapped[int | None]
    scores: Mapped[dict[str, Any] | None]


class Prediction(Base):
    """What the model answered for one example."""

    __tablename__ = "prediction"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id", ondelete="CASCADE"), primary_key=True)
    example_id: Mapped[int] = mapped_column(ForeignKey("example.id", ondelete="CASCADE"), primary_key=True)
    answer: Mapped[str]
    gold: Mapped[str]
    correct: Mapped[bool]
    likelihoods: Mapped[dict[str, Any] | None] = mapped_column(Json)
    latency_ms: Mapped[float]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]


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


def correct(session: Session, evaluation_id: int) -> dict[int, bool]:
    """Right or wrong by example: what paired comparisons are made of."""
    query = select(Prediction.example_id, Prediction.correct).where(Prediction.evaluation_id == evaluation_id)
    return dict(session.execute(query).all())


def settle(
    session: Session,
    evaluation: Evaluation,
    labels: Sequence[str],
    latency_ms: Sequence[float],
    measured: Mapping[str, Any],
    cost: float | None = 0.0,
    fit: Mapping[str, Any] | None = None,
) -> Scores:
    """Compute an evaluation's scores from its predictions and write them into its row; a test split counts how often it was scored.

    `latency_ms` are requests answered one at a time, or as `measured` says, which tells where and how. `cost` is in US dollars, None without a
    price. `fit` says how rows that were too long were made to fit, and how many.
    """
    rows = predictions(session, evaluation.id)
    scores = score([row.gold for row in rows], [row.answer for row in rows], labels or None)
    evaluation.scores = {
        **as_json(scores, per_label=bool(labels)),
        "latency_ms": {"p50": percentile(latency_ms, 50), "p95": percentile(latency_ms, 95), "n": len(latency_ms)},
        "input_tokens": sum(row.input_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
        "cost": cost,
        "measured": dict(measured),
        "fit": dict(fit or {}),
    }
    if evaluation.split == "test":
        count_scored(session, evaluation.dataset_version_id)
    session.flush()
    return scores


def as_json(scores: Scores, per_label: bool) -> dict[str, Any]:
    """Scores as plain JSON: fractions, intervals as [low, high]. Free-text answers have no figures per label, which would tell sealed rows."""
    figures = {
        "n": scores.n,
        "correct": scores.correct,
        "accuracy": scores.accuracy,
        "interval": [scores.interval.low, scores.interval.high],
        "off_list": scores.off_list,
        "macro_f1": scores.macro_f1,
        "balanced_accuracy": scores.balanced_accuracy,
        "mcc": scores.mcc,
    }
    if not per_label:
        return figures
    return figures | {
        "per_class": {label: vars(one) for label, one in scores.per_class.items()},
        "confusion": [[gold, answer, count] for (gold, answer), count in sorted(scores.confusion.items())],
        "majority": vars(scores.majority),
    }
