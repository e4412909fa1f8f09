"""Quality over labels: the points of an experiment's label curves, the fitted curves, and what more labels would buy."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from sqlalchemy.orm import Session

from app.db import reading
from app.domain import curve
from app.domain import evaluation as evaluations
from app.domain import experiment as experiments
from app.domain.access import Who, read
from app.domain.climbing import Standing
from app.domain.curve import Curve, Gain
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.experiment import Experiment
from app.domain.job import ACTIVE
from app.domain.scheme import Metric, value_of
from app.domain.targets import Targets
from app.services.ladders import RungRow, rows_of


@dataclass(frozen=True)
class At:
    """One label count: the mean validation score over `seeds` of its runs, with the 95 % interval."""

    labels: int
    score: float
    low: float
    high: float
    seeds: list[float]


@dataclass(frozen=True)
class Rising:
    """One rung's curve. `now` are the labels that its own run has; `fitted` and `gain` are none with fewer than three label counts."""

    title: str
    points: list[At]
    now: int
    under_way: int
    fitted: Curve | None
    gain: Gain | None
    price: float | None
    """What the labels of `gain` cost."""


@dataclass(frozen=True)
class Curves:
    experiment: Experiment
    version: DatasetVersion
    rising: list[Rising]
    more: int
    label_price: float | None


def find(person: Who, key: int, more: int | None = None, label_price: float | None = None) -> Curves:
    """`more` labels beside those that are there (none: as many again), at `label_price` (none: the experiment's own)."""
    with reading() as session:
        experiment = read(session, person, Experiment, key, "experiment")
        version = session.get_one(DatasetVersion, experiment.dataset_version_id)
        rows = [row for row in rows_of(session, experiment, version, Standing(session, experiments.rungs(session, key))) if row.curve]
        targets = Targets.model_validate(experiment.targets)
        price = targets.label_price if label_price is None else label_price
        buys = more or max((row.labels_used for row in rows), default=version.splits.get("train", 0))
        points = [(row, _points(session, row, experiment.figure)) for row in rows]
    return Curves(experiment, version, [_rising(row, found, experiment.figure, buys, price) for row, found in points], buys, price)


def _points(session: Session, row: RungRow, figure: Metric) -> list[At]:
    by_labels: dict[int, list[tuple[Evaluation, float]]] = defaultdict(list)
    for one in [*row.own, *row.curve]:
        if one.validation and one.validated:
            by_labels[one.labels].append((one.validation, value_of(one.validated, figure)))
    found = []
    for labels, runs in sorted(by_labels.items()):
        interval = evaluations.results(session, [one for one, _ in runs], figure).interval()
        found.append(At(labels, fmean(score for _, score in runs), interval.low, interval.high, [score for _, score in runs]))
    return found


def _rising(row: RungRow, points: list[At], figure: Metric, more: int, label_price: float | None) -> Rising:
    rows = next((one.validated["n"] for one in [*row.own, *row.curve] if one.validated), 0)
    fitted = curve.fit([curve.Point(at.labels, score) for at in points for score in at.seeds], rows, figure.low) if rows else None
    under_way = sum(one.state in ACTIVE for one in [*row.own, *row.curve])
    gain = fitted.gain(row.labels_used, more) if fitted else None
    return Rising(row.title, points, row.labels_used, under_way, fitted, gain, None if label_price is None else more * label_price)
