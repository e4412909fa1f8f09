"""Experiments: queue the rungs of a ladder, read the table and its verdict."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app import queue
from app.db import reading, transaction
from app.domain import dataset as datasets
from app.domain import evaluation as evaluations
from app.domain import experiment as experiments
from app.domain import ladder
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.access import Who, owned, page, read, visible, write
from app.domain.base import Owned
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.endpoint import check_answer
from app.domain.evaluation import Evaluation
from app.domain.experiment import PROMPT_RUNGS, TECHNIQUES, Experiment, Rung
from app.domain.fitting import Policy
from app.domain.job import FINAL, Job
from app.domain.ladder import Comparison, Recommendation, Step
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.rendering import Shot, check
from app.domain.shots import Candidate, draw
from app.errors import Invalid
from app.services.evaluations import usable

T = TypeVar("T", bound=Owned)


@dataclass(frozen=True)
class RungRow:
    """One line of the ladder."""

    rung: Rung
    model: Model
    prompt: PromptVersion
    tune_job: Job | None
    evaluation: Evaluation | None
    evaluation_job: Job | None
    comparison: Comparison | None
    labels_used: int

    @property
    def job(self) -> Job | None:
        """The job that this rung waits for now."""
        return self.evaluation_job or self.tune_job

    @property
    def state(self) -> str:
        return self.job.state if self.job else "queued"

    @property
    def scores(self) -> dict[str, Any] | None:
        return self.evaluation.scores if self.evaluation else None


@dataclass(frozen=True)
class Ladder:
    """An experiment as its page shows it."""

    experiment: Experiment
    dataset: Dataset
    version: DatasetVersion
    model: Model
    rows: list[RungRow]
    baseline: int | None
    recommendation: Recommendation | None

    @property
    def state(self) -> str:
        states = {row.state for row in self.rows}
        if states <= set(FINAL):
            return "finished"
        return "waiting" if states == {"queued"} else "running"

    @property
    def majority(self) -> dict[str, Any] | None:
        return next((row.scores["majority"] for row in self.rows if row.scores), None)


@dataclass(frozen=True)
class Line:
    """An experiment as a list shows it: `states` of its rungs in ladder order, the best rung scored so far and its scores."""

    experiment: Experiment
    dataset: Dataset
    version: DatasetVersion
    model: Model
    states: list[str]
    best: Rung | None
    scores: dict[str, Any] | None


def create(
    person: Who,
    *,
    name: str,
    dataset: int | str,
    model: int | str,
    rungs: Sequence[dict[str, Any]],
    prompt_version: int | str | None = None,
    fit: Policy = "refuse",
    margin: float = 0.0,
    targets: dict[str, Any] | None = None,
) -> int:
    """Queue an experiment; returns its id. Every rung's prompt and parameters are fixed now."""
    if not rungs:
        raise Invalid("no_rungs", "An experiment needs at least one rung.", f"Choose from: {', '.join(TECHNIQUES)}.")
    with transaction() as session:
        version = datasets.find(session, person, dataset)
        base = models.find(session, person, model)
        models.tunable(base)
        prompt = prompts.find(session, person, prompt_version) if prompt_version else prompts.default(session, person)
        check(prompt.template(), version.variables)
        title = name.strip() or session.get_one(Dataset, version.dataset_id).name
        row = Experiment(
            **owned(person), name=title, dataset_version_id=version.id, model_id=base.id, prompt_version_id=prompt.id, margin=margin, targets=targets or {}
        )
        session.add(row)
        session.flush()
        ordered = sorted(rungs, key=lambda rung: TECHNIQUES.index(_technique(rung)))
        for position, rung in enumerate(ordered):
            _add_rung(session, person, row, version, base, prompt, position, {**rung, "fit": rung.get("fit") or fit})
        queue.announce(session)
        return row.id


def _technique(rung: dict[str, Any]) -> str:
    technique = str(rung.get("technique", ""))
    if technique not in TECHNIQUES:
        raise Invalid("unknown_technique", f"There is no technique {technique!r}.", f"Choose from: {', '.join(TECHNIQUES)}.")
    return technique


def _add_rung(
    session: Session, person: Who, row: Experiment, version: DatasetVersion, base: Model, prompt: PromptVersion, position: int, wanted: dict[str, Any]
) -> None:
    technique = _technique(wanted)
    answer = wanted.get("answer") or ("likelihood" if version.label_texts() else "generate")
    usable(version, "test", answer)
    seed = int((wanted.get("seeds") or [0])[0])
    settings: dict[str, Any] = {"answer": answer, "seed": seed, "fit": wanted["fit"]}
    own = prompts.find(session, person, wanted["prompt_version"]) if wanted.get("prompt_version") else prompt
    if wanted.get("model") is not None:
        own, settings["model"] = _given(session, person, technique, wanted["model"], own, answer, version)
    if "model" in settings and technique in METHODS:
        settings["parameters"] = session.get_one(Model, settings["model"]).method_parameters
    elif technique in METHODS:
        parameters = parse(METHODS, technique, wanted.get("parameters") or {})
        version.measure(parameters.validate_by)
        settings["parameters"] = parameters.model_dump()
        own = prompts.derive(session, person, own, [], f"{row.name}: without shots")
    else:
        fallback = len(own.shots) if technique == "few_shot" and len(own.shots) > 1 else PROMPT_RUNGS[technique]
        settings["shots"] = fallback if wanted.get("shots") is None else int(wanted["shots"])
        settings["drawn"] = settings["shots"] != len(own.shots)
        own = prompts.derive(session, person, own, _shots(session, version, own, settings["shots"], seed), f"{row.name}: {settings['shots']} shots")
    rung = Rung(experiment_id=row.id, position=position, technique=technique, settings=settings, prompt_version_id=own.id, model_id=base.id)
    session.add(rung)
    session.flush()
    experiments.queue_rung(session, person, row, rung)


def _given(
    session: Session, person: Who, technique: str, key: int | str, prompt: PromptVersion, answer: str, version: DatasetVersion
) -> tuple[PromptVersion, int]:
    """A model that is there already, with the prompt that it is scored through: a tuned one brings its own. Raises Invalid."""
    model = models.find(session, person, key)
    if technique in METHODS and model.method != technique:
        raise Invalid("not_this_method", f"{model.name} was not tuned by {technique}.", "Choose a model of that method, or leave the model out to tune one.")
    check_answer(session, model, answer, version.label_texts(), prompt.mode)
    return session.get_one(PromptVersion, model.prompt_version_id) if model.prompt_version_id else prompt, model.id


def _shots(session: Session, version: DatasetVersion, prompt: PromptVersion, count: int, seed: int) -> list[Shot]:
    """The prompt's own shots when it has as many, else a seeded, class-balanced draw from the train split."""
    if count == len(prompt.shots):
        return list(prompt.template().shots)
    return [
        Shot(row.input, row.output)
        for row in draw((Candidate(case.position, case.input, case.answer) for case in datasets.cases(session, version, "train")), count, seed)
    ]


def find(person: Who, key: int) -> Ladder:
    """The whole table. Comparisons are against the first finished rung; the verdict is over all finished ones."""
    with reading() as session:
        experiment = read(session, person, Experiment, key, "experiment")
        version = session.get_one(DatasetVersion, experiment.dataset_version_id)
        rungs = experiments.rungs(session, key)
        steps = [Step(rung.position, rung.title, evaluations.correct(session, rung.evaluation_id), rung.tunes) for rung in rungs if _finished(session, rung)]  # type: ignore[arg-type]
        baseline = steps[0].position if steps else None
        comparisons = ladder.compare(steps, baseline, experiment.margin) if baseline is not None else {}
        return Ladder(
            experiment,
            session.get_one(Dataset, version.dataset_id),
            version,
            session.get_one(Model, experiment.model_id),
            [_row(session, version, rung, comparisons.get(rung.position)) for rung in rungs],
            baseline,
            ladder.recommend(steps, experiment.margin),
        )


def _finished(session: Session, rung: Rung) -> bool:
    return rung.evaluation_id is not None and session.get_one(Evaluation, rung.evaluation_id).scores is not None


def _row(session: Session, version: DatasetVersion, rung: Rung, comparison: Comparison | None) -> RungRow:
    evaluation = session.get(Evaluation, rung.evaluation_id) if rung.evaluation_id else None
    prompt = session.get_one(PromptVersion, rung.prompt_version_id)
    labels = version.splits.get("train", 0) + version.splits.get("validation", 0) if rung.tunes else len(prompt.shots)
    return RungRow(
        rung,
        session.get_one(Model, rung.model_id),
        prompt,
        session.get(Job, rung.tune_job_id) if rung.tune_job_id else None,
        evaluation,
        session.get_one(Job, evaluation.job_id) if evaluation else None,
        comparison,
        labels,
    )


def lines(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[Line], int | None]:
    """Experiments with their best score so far, newest first: the same number of queries however many there are."""
    with reading() as session:
        rows, following = page(session, visible(person, Experiment), Experiment, after, limit)
        versions = _by_id(session, DatasetVersion, {row.dataset_version_id for row in rows})
        names = _by_id(session, Dataset, {version.dataset_id for version in versions.values()})
        bases = _by_id(session, Model, {row.model_id for row in rows})
        rungs = session.scalars(select(Rung).where(Rung.experiment_id.in_([row.id for row in rows])).order_by(Rung.position)).all()
        scored = _by_id(session, Evaluation, {rung.evaluation_id for rung in rungs if rung.evaluation_id})
        under_way = {rung.id: scored[rung.evaluation_id].job_id if rung.evaluation_id else rung.tune_job_id for rung in rungs}
        work = _by_id(session, Job, {key for key in under_way.values() if key})
        found = []
        for row in rows:
            mine = [rung for rung in rungs if rung.experiment_id == row.id]
            done = [(rung, scores) for rung in mine if rung.evaluation_id and (scores := scored[rung.evaluation_id].scores)]
            best = max(done, key=lambda pair: (pair[1]["accuracy"], -pair[0].position), default=None)
            states = [work[key].state if (key := under_way[rung.id]) else "queued" for rung in mine]
            version = versions[row.dataset_version_id]
            found.append(Line(row, names[version.dataset_id], version, bases[row.model_id], states, *(best or (None, None))))
        return found, following


def _by_id(session: Session, table: type[T], keys: Collection[int]) -> dict[int, T]:
    return {row.id: row for row in session.scalars(select(table).where(table.id.in_(keys)))} if keys else {}


def of_job(person: Who, job: int) -> Experiment | None:
    """The experiment that a job works for."""
    with reading() as session:
        query = visible(person, Experiment).join(Rung, Rung.experiment_id == Experiment.id).outerjoin(Evaluation, Evaluation.id == Rung.evaluation_id)
        return session.scalars(query.where(or_(Rung.tune_job_id == job, Evaluation.job_id == job)).limit(1)).first()


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[Experiment], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Experiment), Experiment, after, limit)
        return list(rows), following


def of_model(person: Who, model: Model) -> list[Experiment]:
    """Experiments in which a tuned model takes part."""
    with reading() as session:
        found = session.scalars(visible(person, Experiment)).all()
        return [row for row in found if any(rung.model_id == model.id for rung in experiments.rungs(session, row.id))]


def rerun(person: Who, key: int, position: int) -> None:
    """Queue a failed or cancelled rung again; the others stand."""
    with transaction() as session:
        experiment = write(session, person, Experiment, key, "experiment")
        rung = next((rung for rung in experiments.rungs(session, key) if rung.position == position), None)
        if rung is None:
            raise Invalid("no_such_rung", f"This experiment has no rung {position}.", "Reload the page.")
        experiments.requeue_rung(session, person, experiment, rung)
        queue.announce(session)
