"""Experiments: queue the rungs of a ladder, read the table and its verdict, open the test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app import queue
from app.db import reading, transaction
from app.domain import climbing, looks
from app.domain import dataset as datasets
from app.domain import experiment as experiments
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.access import Who, owned, page, read, visible, write
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.evaluation import Evaluation
from app.domain.experiment import BELOW, QUICK_ROWS, TECHNIQUES, VALIDATION_ROWS, Cell, Experiment, Rung
from app.domain.fitting import Policy
from app.domain.job import ACTIVE, FINAL
from app.domain.ladder import Step
from app.domain.looks import Looks
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.recommendation import Recommendation
from app.domain.rendering import check
from app.domain.scheme import Scheme
from app.domain.signal import Signal
from app.domain.targets import MARGIN, Targets
from app.errors import Invalid
from app.services import evaluations as evaluating
from app.services import quick_look as quick_looks
from app.services import rungs as adding
from app.services import yardstick
from app.services.ladders import RungRow, judge, rows_of, steps_of, terms_of

MOST_CURVE = 12
"""Label budgets of one label curve."""


@dataclass(frozen=True)
class Ladder:
    """An experiment as its page shows it."""

    experiment: Experiment
    dataset: Dataset
    version: DatasetVersion
    model: Model
    prompt: PromptVersion
    rows: list[RungRow]
    linear: RungRow | None
    """The linear baseline, which nobody chose: no rung to count, yet one that may be recommended."""
    baseline: int | None
    """The place of the rung that the others are compared with: the one that was chosen, and where that has no figures, or none was, the first that has."""
    recommendation: Recommendation | None
    ready: bool = False
    """Whether the test rows may be opened now."""
    given_up: Sequence[int] = ()
    """Places of the rungs that somebody cancelled: without them the test rows are opened by a person, not by themselves."""
    signal: Signal | None = None
    looks: Mapping[str, Looks] = field(default_factory=dict)
    """How often the rows of its sealed splits were scored and seen, in whichever version."""
    floor: Step | None = None
    """What always the most frequent label gets; none for free text."""

    @property
    def all_rows(self) -> list[RungRow]:
        """The rungs from below, the linear baseline among them."""
        return [self.linear, *self.rows] if self.linear else self.rows

    @property
    def chosen_baseline(self) -> RungRow | None:
        """The rung that somebody wants the others compared with."""
        return next((row for row in self.rows if row.rung.settings.get("baseline")), None)

    @property
    def labelled(self) -> bool:
        """Whether answers are labels, so that the majority and the linear baseline say something."""
        return Scheme.model_validate(self.experiment.scheme).shape in ("auto", "labels") and len(self.version.label_texts()) > 1

    @property
    def held(self) -> list[RungRow]:
        """The cancelled rungs for which the test rows wait, although they would have opened by themselves; none while others are under way."""
        return [row for row in self.rows if row.rung.position in self.given_up] if self.experiment.opens and self.ready else []

    @property
    def provisional(self) -> bool:
        """Whether all figures are those of validation rows."""
        return self.experiment.opened_at is None

    @property
    def state(self) -> str:
        """waiting, running, provisional (the test rows are not opened yet) or finished."""
        states = {row.state for row in self.rows}
        if states <= set(FINAL):
            curves = any(point.state in ACTIVE for row in self.all_rows for point in row.curve)
            return "running" if curves else "provisional" if self.provisional and "succeeded" in states else "finished"
        return "waiting" if states == {"queued"} and not any(row.validation for row in self.rows) else "running"

    @property
    def recommended(self) -> RungRow | None:
        """The row that the recommendation names."""
        position = self.recommendation.position if self.recommendation else None
        return next((row for row in self.all_rows if row.rung.position == position), None)

    @property
    def best(self) -> RungRow | None:
        """The recommended rung, or while there is no recommendation the one that scored highest; none before test rows are scored."""
        scored = [row for row in self.rows if row.scores]
        recommended = self.recommended
        return recommended if recommended and recommended.scores else max(scored, key=lambda row: (row.scores or {})["value"], default=None)

    @property
    def majority(self) -> dict[str, Any] | None:
        """The most frequent label with its share of the rows, and what always answering it is worth by the figure."""
        shown = [row.validation if self.provisional else row.scores for row in self.rows]
        found = next((scores["majority"] for scores in shown if scores and "majority" in scores), None)
        return {**found, "value": self.floor.value} if found and self.floor else None


def create(
    person: Who,
    *,
    name: str,
    dataset: int | str,
    model: int | str,
    rungs: Sequence[dict[str, Any]],
    prompt_version: int | str | None = None,
    fit: Policy = "refuse",
    margin: float = MARGIN,
    targets: Targets | None = None,
    validation_rows: int = VALIDATION_ROWS,
    open_test: bool = True,
    scheme: Mapping[str, Any] | None = None,
    quick_look: bool = False,
    baseline: int | None = None,
) -> int:
    """Queue an experiment; returns its id. Every rung's prompt and parameters are fixed now. `scheme` says how answers are read and judged, and with
    its metric what rungs are compared by, where that is not the usual (app/domain/scheme.py). A `quick_look` is cut short (app/services/quick_look.py).

    All rungs are scored on (at most) `validation_rows` first. The test rows are opened when all are: by themselves, or with `open_test` false, of a quick
    look, or after a rung was cancelled, when somebody asks for it. The others are compared with `rungs[baseline]`, else with the first that has figures.
    """
    if quick_look:
        validation_rows, rungs = QUICK_ROWS, quick_looks.capped(person, rungs, dataset=dataset, model=model, prompt_version=prompt_version)
    with transaction() as session:
        version = datasets.find(session, person, dataset)
        base = models.find(session, person, model)
        models.tunable(base)
        prompt = prompts.find(session, person, prompt_version) if prompt_version else prompts.default(session, person)
        check(prompt.template(), version.variables)
        row = Experiment(
            **owned(person),
            name=name.strip() or session.get_one(Dataset, version.dataset_id).name,
            dataset_version_id=version.id,
            model_id=base.id,
            prompt_version_id=prompt.id,
            margin=margin,
            targets=(targets or Targets()).model_dump(exclude_none=True),
            validation_rows=validation_rows,
            opens=open_test and not quick_look,
            opened_at=None,
            scheme=yardstick.settled(session, version, evaluating.scheme_of(scheme or {})).as_json(),
        )
        session.add(row)
        session.flush()
        _add_rungs(adding.Place(session, person, row, version, base, prompt), [{**rung, "fit": rung.get("fit") or fit} for rung in rungs], baseline)
        climbing.go_on(session, person, row.id)
        queue.announce(session)
        return row.id


def _add_rungs(place: adding.Place, wanted: Sequence[dict[str, Any]], baseline: int | None) -> None:
    """The rungs in ladder order and the linear baseline; then the seeds and label curves of what is chosen already."""
    if not wanted:
        raise Invalid("no_rungs", "An experiment needs at least one rung.", f"Choose from: {', '.join(TECHNIQUES)}.")
    session, person = place.session, place.person
    signals = [_signals(session, person, rung) for rung in wanted]
    _check_baseline(signals, baseline)
    # A large model behind an endpoint stands first: it tells whether the task can be learnt at all, with the best of all wordings unless one is said.
    order = sorted(range(len(wanted)), key=lambda at: (not signals[at], TECHNIQUES.index(adding.technique_of(wanted[at]))))
    wordings = adding.wordings(place, [wanted[at] for at in order])
    asked = [{**wanted[at], "prompt_version": wordings} if signals[at] and wanted[at].get("prompt_version") is None else wanted[at] for at in order]
    made = [adding.add(place, position, rung, baseline=order[position] == baseline) for position, rung in enumerate(asked)]
    curve = sorted({budget for rung in made for budget in rung.settings["curve"]})
    if len(curve) > MOST_CURVE:
        raise Invalid("too_many_budgets", f"A label curve of {len(curve)} budgets was asked for.", f"It has at most {MOST_CURVE}.")
    linear = adding.add_linear(place, curve)
    for rung in [*made, *([linear] if linear else [])]:
        if rung.chosen is not None:
            climbing.complete(session, person, place.experiment, rung, experiments.cells(session, [rung.id]))


def _check_baseline(signals: Sequence[bool], baseline: int | None) -> None:
    """Raises Invalid for a baseline that is no rung, or is the signal."""
    detail = {"field": "baseline"}
    if baseline is not None and not 0 <= baseline < len(signals):
        message = f"There is no rung {baseline} to compare the others with."
        raise Invalid("no_such_baseline", message, f"Count the rungs from 0: the last one is {len(signals) - 1}.", detail=detail)
    if baseline is not None and signals[baseline]:
        message = "The signal is a large model that tells whether the task can be learnt; the others are not compared with it."
        raise Invalid("signal_as_baseline", message, "Choose another rung, or leave baseline out.", detail=detail)


def _signals(session: Session, person: Who, rung: dict[str, Any]) -> bool:
    prompted = rung.get("model") is not None and rung.get("technique") in experiments.PROMPT_RUNGS
    return prompted and models.find(session, person, rung["model"]).remote


def find(person: Who, key: int) -> Ladder:
    """The whole table. Comparisons are against one rung, the verdict is over all finished ones."""
    with reading() as session:
        experiment = read(session, person, Experiment, key, "experiment")
        version = session.get_one(DatasetVersion, experiment.dataset_version_id)
        rungs = experiments.rungs(session, key)
        now = climbing.Standing(session, rungs)
        rows = rows_of(session, experiment, version, now)
        terms = terms_of(experiment, version, rows)
        steps, floor = steps_of(session, experiment, rows, terms)
        said = judge(steps, floor, terms, next((row.rung.position for row in rows if row.rung.settings.get("baseline")), None))
        rows = [replace(row, comparison=said.comparisons.get(row.rung.position)) for row in rows]
        return Ladder(
            experiment,
            session.get_one(Dataset, version.dataset_id),
            version,
            session.get_one(Model, experiment.model_id),
            session.get_one(PromptVersion, experiment.prompt_version_id),
            [row for row in rows if row.rung.position != BELOW],
            next((row for row in rows if row.rung.position == BELOW), None),
            said.baseline,
            said.recommendation,
            experiment.opened_at is None and now.ready,
            [rung.position for rung in now.given_up],
            said.signal,
            looks.of_sealed(session, version),
            floor,
        )


def of_job(person: Who, job: int) -> Experiment | None:
    """The experiment that a job works for."""
    with reading() as session:
        mine = select(Evaluation.id).where(Evaluation.job_id == job)
        query = visible(person, Experiment).join(Rung, Rung.experiment_id == Experiment.id).join(Cell, Cell.rung_id == Rung.id)
        return session.scalars(query.where(or_(Cell.tune_job_id == job, Cell.validation_id.in_(mine), Cell.evaluation_id.in_(mine))).limit(1)).first()


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[Experiment], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Experiment), Experiment, after, limit)
        return list(rows), following


def of_model(person: Who, model: Model) -> list[Experiment]:
    """Experiments in which a tuned model takes part."""
    with reading() as session:
        with_it = select(Rung.experiment_id).join(Cell, Cell.rung_id == Rung.id).where(Cell.model_id == model.id)
        return list(session.scalars(visible(person, Experiment).where(Experiment.id.in_(with_it))))


def rerun(person: Who, key: int, position: int) -> None:
    """Queue what failed or was cancelled in a rung again; the others stand."""
    with transaction() as session:
        write(session, person, Experiment, key, "experiment")
        rung = next((rung for rung in experiments.rungs(session, key) if rung.position == position), None)
        if rung is None:
            raise Invalid("no_such_rung", f"This experiment has no rung {position}.", "Reload the page.")
        climbing.rerun(session, person, rung)
        queue.announce(session)


def open_test(person: Who, key: int) -> None:
    """Open the test rows for all rungs of an experiment, once. Raises Conflict while a rung is under way, and the second time."""
    with transaction() as session:
        write(session, person, Experiment, key, "experiment")
        climbing.open_test(session, person, key)
        queue.announce(session)
