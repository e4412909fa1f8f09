"""The ladder: an experiment's rungs on one frozen split, the cells they are made of, and what the jobs of a cell do.

A rung is one technique with its settings. It has a cell for each combination of its lists and each of its seeds: what is run, validated and
tested. Cells of a rung with lists are scored on validation rows and the best combination is chosen there; what follows when is `climbing.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain import dataset as datasets
from app.domain import job as jobs
from app.domain import tuning
from app.domain.access import Who, owned
from app.domain.base import Base, Owned
from app.domain.evaluation import Evaluation
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.scheme import DEFAULT, Metric, Scheme
from app.domain.targets import MARGIN

PROMPT_RUNGS = {"zero_shot": 0, "one_shot": 1, "few_shot": 8}
TECHNIQUES = (*PROMPT_RUNGS, *METHODS)
LINEAR = "linear"
"""The baseline beside the majority: logistic regression over TF-IDF, learnt from the train rows. No technique to choose: it is always in the table."""

BELOW = -1
"""The place of the linear baseline: under the ladder."""
FLOOR = -2
"""The place of the majority, which is no rung: under everything."""

VALIDATION_ROWS = 300
"""Validation rows that a cell is scored on: enough to choose the best, few enough not to double the time."""
QUICK_ROWS = 100
"""The same of a quick look."""

CALIBRATIONS = ("raw", "normalised", "calibrated")
"""How label likelihoods are weighed: as they are, by the token, or after what the model favours without an input."""

TITLES = {LINEAR: "TF-IDF + logistic regression", "zero_shot": "zero-shot", "one_shot": "one-shot", "few_shot": "few-shot"}


class Experiment(Owned, Base):
    """Rungs compared on the test split of one dataset version.

    `opened_at` is when the test rows were opened for its rungs, all at once; `opens` says that this happens by itself when every rung has been
    scored on validation rows, and not by a button.
    """

    __tablename__ = "experiment"

    name: Mapped[str]
    dataset_version_id: Mapped[int] = mapped_column(ForeignKey("dataset_version.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    prompt_version_id: Mapped[int] = mapped_column(ForeignKey("prompt_version.id"))
    margin: Mapped[float] = mapped_column(default=MARGIN)
    targets: Mapped[dict[str, Any]] = mapped_column(default=dict)
    validation_rows: Mapped[int] = mapped_column(default=VALIDATION_ROWS)
    opens: Mapped[bool] = mapped_column(default=True)
    opened_at: Mapped[int | None]
    scheme: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """How every rung's answers are read and judged; its main figure is what rungs are compared by."""

    @property
    def figure(self) -> Metric:
        return Scheme.model_validate(self.scheme).figure


class Rung(Base):
    """One technique of an experiment. Its state is that of its cells' jobs; nothing is stored twice.

    `chosen` is the combination that is tested: none until the cells of a rung with several have been scored on validation rows.
    """

    __tablename__ = "rung"
    __table_args__ = (UniqueConstraint("experiment_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"))
    position: Mapped[int]
    technique: Mapped[str]
    settings: Mapped[dict[str, Any]]
    """What all its cells share: answer, fit, seeds, and model where it brings one; `curve` are the label budgets of its label curve; `baseline`: the
    others are compared with it."""
    chosen: Mapped[int | None]

    @property
    def tunes(self) -> bool:
        return self.technique in METHODS

    @property
    def trains(self) -> bool:
        """Whether its cells are tuned. One with a model of its own (`settings["model"]`) is only scored."""
        return self.tunes and not self.settings.get("model")

    def stands(self, cell: "Cell") -> bool:
        """Whether a cell is one of those that stand for the rung: of the chosen combination, or any while none is chosen. A point of its label curve
        is none of them."""
        return not cell.labels and self.chosen in (None, cell.number)

    @property
    def seeds(self) -> list[int]:
        return [int(seed) for seed in self.settings.get("seeds") or [0]]


class Cell(Base):
    """One run of a rung: a combination of its lists (`number`) under one seed.

    `labels` is the label budget of a point of the label curve; 0 for a cell of the rung itself. `settings` are its own: shots, selection,
    calibration, or parameters.
    """

    __tablename__ = "cell"
    __table_args__ = (UniqueConstraint("rung_id", "number", "labels", "seed"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    rung_id: Mapped[int] = mapped_column(ForeignKey("rung.id", ondelete="CASCADE"))
    number: Mapped[int]
    labels: Mapped[int] = mapped_column(default=0)
    seed: Mapped[int]
    settings: Mapped[dict[str, Any]]
    prompt_version_id: Mapped[int] = mapped_column(ForeignKey("prompt_version.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    tune_job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"), index=True)
    validation_id: Mapped[int | None] = mapped_column(ForeignKey("evaluation.id"), index=True)
    """Its score on validation rows: on it the combination and the best rung are chosen."""
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("evaluation.id"), index=True)

    @property
    def budget(self) -> int | None:
        """How many train labels it may read; none: all."""
        return self.labels or self.settings.get("label_budget")


def title(technique: str, settings: dict[str, Any]) -> str:
    """What a cell of these settings is called: by what is done, whatever it was asked for as."""
    shots, selection = settings.get("shots", 0), settings.get("selection", "balanced")
    budget = f"{settings['label_budget']:,} labels" if settings.get("label_budget") else ""
    asked = ["" if selection == "balanced" else selection, settings.get("calibration", ""), "constrained" if settings.get("constraint") else ""]
    if technique in PROMPT_RUNGS:
        name = TITLES["zero_shot"] if not shots else TITLES["one_shot"] if (technique, shots) == ("one_shot", 1) else f"{shots}-shot"
        return ", ".join(filter(None, [name, *asked, settings.get("named", ""), budget]))
    name = TITLES.get(technique) or METHODS[technique].title
    if settings.get("model"):
        name = f"{name}, model {settings['model']}"
    elif (settings.get("parameters") or {}).get("keep_text"):
        name = f"{name} beside its text"
    return ", ".join(filter(None, [name, f"{shots}-shot" if shots else "", *asked, budget]))


def told_apart(rungs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """What each of an experiment's rungs, (title, the settings of its cells), has that others of the same title do not, in words: "rank 4". ""
    where the title is its own. Verdicts name rungs by their titles, so no two are called the same."""
    found = []
    for at, (title, cells) in enumerate(rungs):
        same = [(other, _said(settings)) for other, (name, settings) in enumerate(rungs) if name == title]
        mine = _said(cells)
        words = [word for name, word in mine.items() if any(said.get(name) != word for _, said in same)]
        twins = [other for other, said in same if said == mine]
        if len(twins) > 1:
            drawn = [_seeds(rungs[other][1]) for other in twins]
            words.append(_seeds(cells) if len({*drawn}) == len(twins) else f"no. {twins.index(at) + 1}")
        found.append(", ".join(words) if len(same) > 1 else "")
    return found


def _said(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """{setting: in words} of what a rung's cells have, the several values of a list after each other."""
    each = [{**(cell.get("parameters") or {}), **{name: cell[name] for name in ("prompt_version", "answer", "fit") if name in cell}} for cell in cells]
    names = dict.fromkeys(name for one in each for name in one)
    values = {name: list(dict.fromkeys(_worded(one.get(name)) for one in each)) for name in names}
    return {name: f"{_spelt(name)} {' or '.join(some)}" for name, some in values.items()}


def _seeds(cells: Sequence[Mapping[str, Any]]) -> str:
    """Those of the rung, which all its cells share."""
    seeds = [str(seed) for cell in cells[:1] for seed in cell.get("seeds", ())]
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {' and '.join(seeds)}"


def _spelt(name: str) -> str:
    return name.removesuffix("_version").replace("_", " ")


def _worded(value: Any) -> str:
    return "as usual" if value is None else ("on" if value else "off") if isinstance(value, bool) else str(value)


def state_of(states: Sequence[str]) -> str:
    """A rung's state by those of its cells' last jobs."""
    under_way = [state for state in states if state in jobs.ACTIVE]
    if under_way:
        return "queued" if set(states) == {"queued"} else next((state for state in under_way if state != "queued"), "running")
    return "succeeded" if "succeeded" in states else states[0]


def rungs(session: Session, experiment_id: int) -> Sequence[Rung]:
    return session.scalars(select(Rung).where(Rung.experiment_id == experiment_id).order_by(Rung.position)).all()


def cells(session: Session, rung_ids: Sequence[int]) -> Sequence[Cell]:
    """All cells of these rungs: by rung, combination, label budget (the rung's own first) and in the order they were made."""
    return session.scalars(select(Cell).where(Cell.rung_id.in_(rung_ids)).order_by(Cell.rung_id, Cell.number, Cell.labels, Cell.id)).all()


def queue_evaluation(
    session: Session,
    person: Who,
    model: Model,
    prompt: PromptVersion,
    version: datasets.DatasetVersion,
    split: str,
    answer: str,
    limit: int | None,
    fit: str,
    name: str = "",
    scheme: Scheme = DEFAULT,
    **more: Any,
) -> Evaluation:
    """A new evaluation with the job that fills it. `fit` says what happens to rows that are too long for the model, `scheme` how answers are judged;
    `more` are further settings of the job.

    What is answered by the linear baseline or behind an endpoint needs no device.
    """
    settings = {
        "model": model.id,
        "prompt_version": prompt.reference,
        "dataset": version.reference,
        "split": split,
        "answer": answer,
        "limit": limit,
        "fit": fit,
        **more,
    }
    job = jobs.add(session, person, "evaluate", name or f"{model.shown} on {split}", settings, light=model.remote or answer == LINEAR)
    evaluation = Evaluation(
        **owned(person),
        job_id=job.id,
        model_id=model.id,
        prompt_version_id=prompt.id,
        dataset_version_id=version.id,
        split=split,
        answer=answer,
        row_limit=limit,
        scheme=scheme.as_json(),
        scores=None,
    )
    session.add(evaluation)
    session.flush()
    return evaluation


def queue_tuning(session: Session, person: Who, experiment: Experiment, rung: Rung, cell: Cell) -> jobs.Job:
    """The tune job of a cell: queued now, or that of another cell which is tuned the same and only asked with other shots."""
    job = _same_tuning(session, experiment, rung, cell)
    if job is None:
        version, prompt = session.get_one(datasets.DatasetVersion, experiment.dataset_version_id), session.get_one(PromptVersion, cell.prompt_version_id)
        base, parameters = session.get_one(Model, experiment.model_id), parse(METHODS, rung.technique, cell.settings.get("parameters", {}))
        settings = tuning.settings_of(session, person, base, version, prompt, parameters, cell.seed)
        if cell.budget:
            settings["label_budget"] = cell.budget
        job = jobs.add(session, person, "tune", job_name(experiment, rung, cell), settings)
    cell.tune_job_id = job.id
    return job


def _same_tuning(session: Session, experiment: Experiment, rung: Rung, cell: Cell) -> jobs.Job | None:
    query = select(Cell, jobs.Job).join(Rung, Rung.id == Cell.rung_id).join(jobs.Job, jobs.Job.id == Cell.tune_job_id)
    query = query.where(Rung.experiment_id == experiment.id, Rung.technique == rung.technique, Cell.id != cell.id, Cell.seed == cell.seed)
    query = query.where(jobs.Job.state.not_in(("failed", "cancelled")), jobs.Job.finish.is_(False)).order_by(Cell.id)
    alike = ("parameters", "through")
    for other, job in session.execute(query):
        if other.budget == cell.budget and all(other.settings.get(name) == cell.settings.get(name) for name in alike):
            return job
    return None


def queue_scoring(session: Session, person: Who, experiment: Experiment, rung: Rung, cell: Cell, split: str) -> None:
    """Queue the scoring of a cell on validation rows or on the test rows."""
    version = session.get_one(datasets.DatasetVersion, experiment.dataset_version_id)
    prompt, model = session.get_one(PromptVersion, cell.prompt_version_id), session.get_one(Model, cell.model_id)
    answer, fit = rung.settings.get("answer", "likelihood"), rung.settings.get("fit", "refuse")
    more: dict[str, Any] = {}
    if cell.budget:
        more = {"label_budget": cell.budget, "seed": cell.seed}
    own = {"scoring": cell.settings["calibration"]} if cell.settings.get("calibration") else {}
    scheme = Scheme.model_validate({**experiment.scheme, **own})
    limit = experiment.validation_rows if split == "validation" else None
    evaluation = queue_evaluation(session, person, model, prompt, version, split, answer, limit, fit, job_name(experiment, rung, cell, split), scheme, **more)
    if split == "validation":
        cell.validation_id = evaluation.id
    else:
        cell.evaluation_id = evaluation.id


def job_name(experiment: Experiment, rung: Rung, cell: Cell, rows: str = "") -> str:
    """ "8-shot, seed 2, test rows: tickets"; "LoRA, rank 4: tickets", with what was asked of its tuning that is not the usual; of a point of the label curve
    "LoRA, 64 labels: tickets". The experiment's name, which all of its jobs have, comes last: where a list has no room for the whole, what tells them apart
    stays."""
    own = _unusual(rung, cell.settings.get("parameters") or {}) if rung.trains else ""
    seed = f", seed {cell.seed}" if len(rung.seeds) > 1 else ""
    budget = f", {cell.labels} labels" if cell.labels else ""
    of = f", {rows} rows" if rows else ""
    return f"{title(rung.technique, {**rung.settings, **cell.settings})}{own}{budget}{seed}{of}: {experiment.name}"


def _unusual(rung: Rung, parameters: Mapping[str, Any]) -> str:
    said = {"fit": rung.settings.get("fit", "refuse"), "keep_text": parameters.get("keep_text")}  # of every rung, and in its title
    usual = {name: field.default for name, field in METHODS[rung.technique].model_fields.items()} | said
    return "".join(f", {_spelt(name)} {_worded(value)}" for name, value in parameters.items() if value != usual.get(name))
