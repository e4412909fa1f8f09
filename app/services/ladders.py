"""A ladder from the rows: each rung's cells, what they scored together, and the verdict over all rungs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from sqlalchemy.orm import Session

from app.domain import evaluation as evaluations
from app.domain import experiment as experiments
from app.domain import ladder
from app.domain.base import by_id
from app.domain.climbing import Standing
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.experiment import LINEAR, Cell, Experiment, Rung
from app.domain.figures import mean_rates
from app.domain.job import ACTIVE, Job
from app.domain.labels_read import LabelsRead, Readers
from app.domain.ladder import Comparison, Cost, Step
from app.domain.methods import METHODS
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.recommendation import Recommendation, recommend
from app.domain.scheme import ACCURACY, Metric, value_of
from app.domain.signal import Signal, signal
from app.domain.targets import Targets, Terms
from app.settings import settings

Scores = dict[str, Any]

MEANS = ("accuracy", "macro_f1", "balanced_accuracy", "mcc", "off_list", "not_offered", "input_tokens", "output_tokens")
"""Figures of several seeds that are told as their mean; the others are those of the first seed."""


@dataclass(frozen=True)
class CellRow:
    """One cell with what its jobs made of it."""

    cell: Cell
    title: str
    model: Model
    prompt: PromptVersion
    tune_job: Job | None
    validation: Evaluation | None
    validation_job: Job | None
    evaluation: Evaluation | None
    evaluation_job: Job | None
    read: LabelsRead

    @property
    def labels(self) -> int:
        """Distinct labelled train rows that it read, or will read: learnt from, looked through for candidates, or shown as shots."""
        return self.read.train

    @property
    def job(self) -> Job | None:
        """The job that this cell waits for now, or waited for last."""
        return self.evaluation_job or self.validation_job or self.tune_job

    @property
    def state(self) -> str:
        """Without a job it waits for nothing but the opening of the test rows."""
        return self.job.state if self.job else "succeeded"

    @property
    def validated(self) -> Scores | None:
        return self.validation.scores if self.validation else None

    @property
    def tested(self) -> Scores | None:
        return self.evaluation.scores if self.evaluation else None


@dataclass(frozen=True)
class RungRow:
    """One line of the ladder. `scores` are the test rows', `validation` the validation rows', both over all seeds of what is chosen: in them `value`,
    `interval` and `seeds` are of the figure that the experiment compares by."""

    rung: Rung
    cells: list[CellRow]
    curve: list[CellRow]
    scores: Scores | None
    validation: Scores | None
    request_cost: float | None
    comparison: Comparison | None = None
    elsewhere: str = ""
    """The device and dtype that it answered on where that is another than most rungs': its times, and what they cost, say nothing beside theirs."""
    trained_elsewhere: str = ""
    """The device it was tuned on where requests are priced by another: what tuning took there has no price by this machine's hour."""
    apart: str = ""
    """What tells it from another rung of the same title."""

    @property
    def own(self) -> list[CellRow]:
        """The cells that stand for the rung: all, until one combination is chosen."""
        return [one for one in self.cells if self.rung.stands(one.cell)]

    @property
    def lead(self) -> CellRow:
        return self.own[0]

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.rung.settings, **self.lead.cell.settings}

    @property
    def title(self) -> str:
        return f"{self._title}, {self.apart}" if self.apart else self._title

    @property
    def _title(self) -> str:
        if self.rung.chosen is not None or len({one.cell.number for one in self.cells}) == 1:
            return self.lead.title
        name = experiments.TITLES.get(self.rung.technique) or METHODS[self.rung.technique].title
        return f"{name}, {len({one.cell.number for one in self.cells})} settings"

    @property
    def wording(self) -> str:
        """The prompt version that was chosen, as it was asked for; empty where there was one to choose from."""
        asked = (self.rung.settings.get("wanted") or {}).get("prompt_version")
        several = isinstance(asked, list) and len(asked) > 1 and self.rung.chosen is not None
        return str(self.lead.cell.settings.get("prompt_version", "")) if several else ""

    @property
    def model(self) -> Model:
        return self.lead.model

    @property
    def prompt(self) -> PromptVersion:
        return self.lead.prompt

    @property
    def tune_job(self) -> Job | None:
        return self.lead.tune_job

    @property
    def evaluation(self) -> Evaluation | None:
        return self.lead.evaluation

    @property
    def evaluation_job(self) -> Job | None:
        return self.lead.evaluation_job

    @property
    def labels_used(self) -> int:
        """Distinct labelled rows that a seed of it read outside test: those it was trained on, its shots, and where there are many labels those that a
        row's candidates are found by. Validation rows are told apart."""
        return self.lead.labels

    @property
    def validation_labels(self) -> int:
        """Distinct validation rows by which a setting, a rung or the best moment of a run is chosen."""
        return self.lead.read.validation

    @property
    def artefact_bytes(self) -> int | None:
        """What a tuned rung's files take; 0 for a prompt, none where the files are not here."""
        folder = settings().storage_folder / self.model.folder
        if not self.rung.tunes or self.model.kind != "tuned":
            return 0 if not self.rung.tunes else None
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else None

    @property
    def job(self) -> Job | None:
        """The job that this rung waits for now: of several the first that is not over, else one that did not succeed."""
        found = [one.job for one in self.own if one.job]
        order = ("running", "stopping", "queued", "failed", "cancelled", "succeeded")
        return min(found, key=lambda job: order.index(job.state), default=None)

    @property
    def state(self) -> str:
        return experiments.state_of([one.state for one in self.own])

    @property
    def seeds_lost(self) -> int:
        """Seeds that failed or were cancelled, of a rung that is scored by the others."""
        return sum(one.state in ("failed", "cancelled") for one in self.own)


@dataclass(frozen=True)
class Verdicts:
    """What may be said so far: each finished rung against the baseline, and the recommendation."""

    baseline: int | None
    comparisons: Mapping[int, Comparison]
    recommendation: Recommendation | None
    signal: Signal | None = None


def rows_of(session: Session, experiment: Experiment, version: DatasetVersion, now: Standing) -> list[RungRow]:
    """The rungs with their cells, by a number of queries that does not grow with them."""
    found, work, cells = now.evaluations, now.jobs, [cell for rung in now.rungs for cell in now.cells[rung.id]]
    models, prompts = by_id(session, Model, (cell.model_id for cell in cells)), by_id(session, PromptVersion, (cell.prompt_version_id for cell in cells))
    there = [models[cell.model_id] for rung in now.rungs if rung.tunes and not rung.trains for cell in now.cells[rung.id]]
    readers = Readers(session, experiment, version, there)

    def row(rung: Rung, cell: Cell) -> CellRow:
        validation, tested = found.get(cell.validation_id or 0), found.get(cell.evaluation_id or 0)
        return CellRow(
            cell,
            experiments.title(rung.technique, {**rung.settings, **cell.settings}),
            models[cell.model_id],
            prompts[cell.prompt_version_id],
            work.get(cell.tune_job_id or 0),
            validation,
            work[validation.job_id] if validation else None,
            tested,
            work[tested.job_id] if tested else None,
            readers.of(rung, cell, prompts[cell.prompt_version_id], models[cell.model_id], work.get(cell.tune_job_id or 0)),
        )

    rows = [_rung_row(session, rung, [row(rung, cell) for cell in now.cells[rung.id]], experiment.figure) for rung in now.rungs]
    apart = experiments.told_apart([(one.title, [{**one.rung.settings, **cell.cell.settings} for cell in one.own]) for one in rows])
    rows = [replace(one, apart=words) for one, words in zip(rows, apart, strict=True)]
    here = place_of([one.scores or one.validation for one in rows if one.rung.position >= 0])
    return [_placed(one, one.tune_job or readers.tuned(one.model), here, Targets.model_validate(experiment.targets)) for one in rows]


def _rung_row(session: Session, rung: Rung, cells: list[CellRow], figure: Metric) -> RungRow:
    row = RungRow(rung, [one for one in cells if not one.cell.labels], [one for one in cells if one.cell.labels], None, None, None)
    if rung.chosen is None:
        return row
    under_way = any(one.evaluation_job and one.evaluation_job.state in ACTIVE for one in row.own)
    scores = None if under_way else pooled(session, [one.evaluation for one in row.own], figure)
    validation = pooled(session, [one.validation for one in row.own], figure)
    return replace(row, scores=scores, validation=validation)


def _placed(row: RungRow, tuned: Job | None, here: tuple[str, str] | None, targets: Targets) -> RungRow:
    """The row, whose model a job has `tuned`, with what its requests cost, or with where it ran when that is not where most did: an hour of this machine is no price of another one's."""
    shown = row.scores or row.validation
    if shown is None or "latency_ms" not in shown:
        return row
    away = row.rung.technique != LINEAR and elsewhere(shown, here)  # the linear baseline runs on a processor wherever the others do
    told = " ".join(shown["measured"][name] for name in ("device", "dtype") if name in shown["measured"]) if away else ""
    trained = str((tuned.result or {}).get("device", "")) if tuned else ""
    cost = None if away else request_cost(shown, row.model.remote, targets.machine_hour)
    return replace(row, request_cost=cost, elsewhere=told, trained_elsewhere=trained if here and trained != here[0].partition(":")[0] else "")


def pooled(session: Session, seeds: Sequence[Evaluation | None], figure: Metric) -> Scores | None:
    """The scores of several seeds as those of one: means, and the figure over all seeds' answers to each row, with its interval over rows."""
    done = [one for one in seeds if one is not None and one.scores]
    each = [dict(one.scores or {}) for one in done]
    if not each:
        return None
    values = [value_of(scores, figure) for scores in each]
    if len(each) == 1 and figure == ACCURACY:
        return {**each[0], "value": values[0], "seeds": values}
    # Other figures have an interval in their scores as it was reckoned when they were scored, and percentiles where they are no mean over rows.
    together = evaluations.results(session, done, figure)
    interval = together.interval()
    if len(each) == 1:
        return {**each[0], "value": values[0], "interval": [interval.low, interval.high], "seeds": values}
    means = {name: fmean(scores[name] for scores in each) for name in MEANS if all(name in scores for scores in each)}
    costs = [scores.get("cost") for scores in each]
    cost = None if None in costs else fmean(float(one or 0.0) for one in costs)
    same = {"correct": None, "value": together.value, "interval": [interval.low, interval.high], "cost": cost, "seeds": values}
    checks = {"checks": mean_rates(each)} if "checks" in each[0] else {}
    return {**each[0], **means, **same, **checks}


def terms_of(experiment: Experiment, version: DatasetVersion, shown: Sequence[RungRow]) -> Terms:
    """What the recommendation goes by: on the test rows once they are open, before that on validation rows.

    More labels are no advice where tuning was too short to read those that are there: then it is not told how many classes they are of."""
    read = [row.lead.read for row in shown if row.rung.tunes]
    cut = bool(read) and max(one.train for one in read) < max(one.there for one in read)
    rows, classes = "validation" if experiment.opened_at is None else "test", None if cut else len(version.label_texts()) or None
    figure = "" if experiment.figure == ACCURACY else experiment.figure.title
    return Terms(**Targets.model_validate(experiment.targets).model_dump(), margin=experiment.margin, classes=classes, rows=rows, figure=figure)


def steps_of(session: Session, experiment: Experiment, rows: Sequence[RungRow], terms: Terms) -> tuple[list[Step], Step | None]:
    """The scored rungs as the comparison takes them, and what always the most frequent label has right; none for free text."""
    provisional = experiment.opened_at is None
    scored = [row for row in rows if (row.validation if provisional else row.scores)]
    found = [_step(session, row, terms, provisional, experiment.figure) for row in scored]
    return found, _floor(session, scored[0], provisional, experiment.figure) if scored else None


def judge(steps: Sequence[Step], floor: Step | None, terms: Terms, chosen: int | None = None) -> Verdicts:
    """The comparisons, with the `chosen` rung where it has figures and else with the first that has, and the recommendation."""
    if not steps:
        return Verdicts(None, {}, None)
    climbing = [step for step in steps if step.position >= 0 and not step.signal]
    usual = (climbing or list(steps))[0].position
    baseline = chosen if chosen in {step.position for step in steps} else usual
    linear = next((step for step in steps if step.position == experiments.BELOW), None)
    said = signal([step for step in steps if step is not linear], floor, linear)
    return Verdicts(baseline, ladder.compare(steps, baseline, terms.margin, terms.rows, terms.figure), recommend(steps, terms, floor), said)


def request_cost(scores: Mapping[str, Any], remote: bool, machine_hour: float | None) -> float | None:
    """US dollars a request: what its endpoint asked, or the seconds of this machine. None without a price."""
    if remote:
        return None if scores.get("cost") is None else float(scores["cost"]) / scores["n"]
    return None if machine_hour is None else float(scores["latency_ms"]["p50"]) / 3_600_000 * machine_hour


def _evaluated(row: RungRow, provisional: bool) -> list[Evaluation]:
    found = [one.validation if provisional else one.evaluation for one in row.own]
    return [one for one in found if one is not None and one.scores]


def place_of(scores: Iterable[Mapping[str, Any] | None]) -> tuple[str, str] | None:
    """(device, dtype) of most rungs that ran on this machine: times are compared within it alone."""
    places = Counter((where["device"], where.get("dtype", "")) for one in scores if one and "device" in (where := one.get("measured") or {}))
    return places.most_common(1)[0][0] if places else None


def elsewhere(scores: Mapping[str, Any], here: tuple[str, str] | None) -> bool:
    """Whether figures are from another device or dtype than most. What an endpoint answered is from none of them."""
    where = scores.get("measured") or {}
    if here is None or "device" not in where:
        return False
    return bool(where["device"] != here[0]) or where.get("dtype", here[1]) != here[1]  # what has no dtype, the linear baseline, is of no other


def _step(session: Session, row: RungRow, terms: Targets, provisional: bool, figure: Metric) -> Step:
    scores, hour = (row.validation if provisional else row.scores) or {}, terms.machine_hour
    tuning = 0.0 if not row.rung.tunes else None if hour is None or row.trained_elsewhere else (row.model.training_seconds or 0.0) / 3600 * hour
    latency = scores["latency_ms"]
    return Step(
        row.rung.position,
        row.title,
        evaluations.results(session, _evaluated(row, provisional), figure),
        row.rung.tunes,
        row.validation["value"] if row.validation else None,
        None if row.elsewhere else latency["p95"],
        latency["n"],
        Cost(row.request_cost, tuning, row.labels_used),
        bool(row.rung.settings.get("signal")),
        row.wording,
    )


def _floor(session: Session, row: RungRow, provisional: bool, figure: Metric) -> Step | None:
    majority = ((row.validation if provisional else row.scores) or {}).get("majority")
    if not majority:
        return None
    label = majority["label"]
    found = evaluations.always(session, _evaluated(row, provisional)[0], label, figure)
    return Step(experiments.FLOOR, f"always answering \u201c{label}\u201d", found)
