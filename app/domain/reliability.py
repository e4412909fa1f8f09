"""Reliability: whether an evaluation would have said the same, had it been asked again with other seeds, or in other forms of the same prompt.

The evaluation that is checked is the first run. Every further run is an evaluation of the same model, wording and rows, all of them filled by one job: what
makes a job resumable, keeps rows apart and counts tokens once is the evaluations' own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain import evaluation as evaluations
from app.domain import job as jobs
from app.domain.access import Who, owned
from app.domain.base import Base, Owned
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation, Prediction
from app.domain.job import Job
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.prompt_form import Form
from app.domain.sameness import Given, agreement, spread
from app.domain.scheme import ACCURACY, METRICS, Metric, Shape, value_of

MOST = 20
"""Runs of each kind, the one that is checked aside."""

RUN_OF = ("model_id", "prompt_version_id", "dataset_version_id", "split", "answer", "row_limit", "scheme")
"""What a run has of the evaluation that is checked."""

BUDGET = ("label_budget", "seed")
"""What its job has of that one's: which train labels candidates may be found from."""


class Reliability(Owned, Base):
    """`repeats` further runs with other seeds, `forms` in other forms, drawn by `seed`. `scores` stays empty until the job that fills the runs has
    succeeded."""

    __tablename__ = "reliability"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    repeats: Mapped[int]
    forms: Mapped[int]
    seed: Mapped[int]
    scores: Mapped[dict[str, Any] | None]


def add(session: Session, person: Who, evaluation: Evaluation, repeats: int, forms: Sequence[Form], seed: int) -> Reliability:
    """A new check with its runs and the job that fills them. What is asked behind an endpoint needs no device."""
    model, prompt = session.get_one(Model, evaluation.model_id), session.get_one(PromptVersion, evaluation.prompt_version_id)
    version = session.get_one(DatasetVersion, evaluation.dataset_version_id)
    settings: dict[str, Any] = {"model": model.id, "prompt_version": prompt.reference, "dataset": version.reference, "split": evaluation.split}
    settings |= {"answer": evaluation.answer, "limit": evaluation.row_limit}
    its = session.get_one(Job, evaluation.job_id).settings
    settings |= {"fit": its.get("fit", "refuse"), **{name: its[name] for name in BUDGET if name in its}}
    counts = ", ".join(f"{count} {of}{'' if count == 1 else 's'}" for count, of in ((repeats, "repeat"), (len(forms), "form")) if count)
    name = f"reliability of evaluation {evaluation.id}: {counts}"
    job = jobs.add(session, person, "evaluate", name, {**settings, "reliability": evaluation.id}, light=model.remote)
    check = Reliability(**owned(person), evaluation_id=evaluation.id, job_id=job.id, repeats=repeats, forms=len(forms), seed=seed, scores=None)
    about = {name: getattr(evaluation, name) for name in RUN_OF}
    first = int(prompt.parameters.get("seed") or 0)
    asked: list[dict[str, Any]] = [*({"seed": first + at} for at in range(1, repeats + 1)), *({"form": form.as_json()} for form in forms)]
    session.add_all([check, *(Evaluation(**owned(person), **about, job_id=job.id, scores=None, run=at, **one) for at, one in enumerate(asked, 1))])
    session.flush()
    return check


def of_job(session: Session, job_id: int) -> Reliability | None:
    return session.scalars(select(Reliability).where(Reliability.job_id == job_id)).first()


def runs(session: Session, check: Reliability) -> list[Evaluation]:
    """All runs in order: the evaluation that is checked, the repeats, the forms."""
    more = session.scalars(select(Evaluation).where(Evaluation.job_id == check.job_id).order_by(Evaluation.run)).all()
    return [session.get_one(Evaluation, check.evaluation_id), *more]


def groups(check: Reliability, every: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    """The runs that are compared with each other: the first one with its repeats, and with the other forms."""
    repeated, formed = every[: 1 + check.repeats], [*every[:1], *every[1 + check.repeats :]]
    known = {"repeats": list(repeated), "forms": formed}
    return {name: some for name, some in known.items() if len(some) > 1}


@dataclass(frozen=True)
class Answered:
    """What one run answered to a row, and whether that is right."""

    answer: str
    correct: bool


def answered(session: Session, some: Sequence[Evaluation], examples: Sequence[int] | None = None) -> dict[int, list[Answered]]:
    """What each run answered, in the order of the runs, for every row that all of them answered (or these `examples` of them), by example."""
    found: dict[int, dict[int, Answered]] = {}
    query = select(Prediction.example_id, Prediction.evaluation_id, Prediction.answer, Prediction.correct)
    query = query.where(Prediction.evaluation_id.in_([one.id for one in some])).order_by(Prediction.example_id)
    for example, run, answer, correct in session.execute(query if examples is None else query.where(Prediction.example_id.in_(examples))):
        found.setdefault(example, {})[run] = Answered(answer, correct)
    return {example: [rows[one.id] for one in some] for example, rows in found.items() if len(rows) == len(some)}


@dataclass(frozen=True)
class Gathered:
    """What a check is computed from: its runs in order, their shape and figure, and by kind the runs with the rows that all of them answered."""

    runs: Sequence[Evaluation]
    shape: Shape
    figure: Metric
    groups: Mapping[str, tuple[Sequence[Evaluation], Sequence[Given]]]


def gathered(session: Session, check: Reliability) -> Gathered:
    every = runs(session, check)
    first = every[0].scores or {}
    shape: Shape = first.get("shape", "labels")
    figure = METRICS[shape][first.get("main", {}).get("name", ACCURACY.name)]
    query = select(Prediction.evaluation_id, Prediction.example_id, Prediction.answer, Prediction.correct, Prediction.judged, Prediction.gold)
    query = query.where(Prediction.evaluation_id.in_([one.id for one in every])).order_by(Prediction.example_id)
    found: dict[int, dict[int, tuple[str, bool, float]]] = {}
    golds: dict[int, str] = {}
    for run, example, answer, correct, judged, gold in session.execute(query):
        value = evaluations.value_in(correct, judged, figure.name) if figure.by_row else 0.0
        found.setdefault(example, {})[run] = answer, correct, value
        golds[example] = gold
    given = {name: (some, _given(found, golds, some, figure.by_row)) for name, some in groups(check, every).items()}
    return Gathered(every, shape, figure, given)


def _given(found: Mapping[int, Mapping[int, tuple[str, bool, float]]], golds: Mapping[int, str], some: Sequence[Evaluation], by_row: bool) -> list[Given]:
    """The rows that all of some runs answered."""
    rows = {key: [row[one.id] for one in some] for key, row in found.items() if all(one.id in row for one in some)}
    return [Given([one[0] for one in row], [one[1] for one in row], [one[2] for one in row] if by_row else [], golds[key]) for key, row in rows.items()]


def computed(found: Gathered, scores: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """A check's scores, from what was gathered and the `scores` of runs that are not written yet, by evaluation. Many draws of all rows: it takes a while,
    outside of any transaction."""
    of = {one.id: scores.get(one.id) or one.scores or {} for one in found.runs}
    first, *further = of.values()
    told: dict[str, Any] = {"shape": found.shape, "figure": {"name": found.figure.name, "title": found.figure.title}, "n": first.get("n", 0)}
    for name, (some, rows) in found.groups.items():
        values = [value_of(of[one.id], found.figure) for one in some]
        told[name] = {"runs": len(some), **agreement(rows, found.shape), "spread": spread(values, rows, found.figure.name)}
    costs = [one.get("cost") for one in further]
    told |= {name: sum(int(one.get(name) or 0) for one in further) for name in ("input_tokens", "output_tokens")}
    return {**told, "cost": None if None in costs else sum(cost for cost in costs if cost is not None)}


def settle(session: Session, check_id: int, scores: dict[str, Any]) -> None:
    """Write a check's scores into its row."""
    session.get_one(Reliability, check_id).scores = scores
    session.flush()
