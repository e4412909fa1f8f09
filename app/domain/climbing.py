"""What follows what in an experiment: cells are tuned and validated, a combination is chosen, then the test rows are opened for all rungs at once.

`follow` runs in the transaction that ends a job, so nothing is lost between two jobs. It looks at everything there is and queues what is
due, so it does not matter which job ended, or in which order.
"""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.domain import dataset as datasets
from app.domain import experiment as experiments
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.base import by_id, db_now
from app.domain.evaluation import Evaluation
from app.domain.experiment import BELOW, LINEAR, Cell, Experiment, Rung
from app.domain.job import ACTIVE, Job
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.scheme import value_of
from app.errors import Conflict


class Standing:
    """What has come of the cells of some rungs: they, their evaluations and their jobs, by three queries however many there are."""

    def __init__(self, session: Session, rungs: Sequence[Rung]) -> None:
        found = experiments.cells(session, [rung.id for rung in rungs])
        self.evaluations = by_id(session, Evaluation, (key for cell in found for key in (cell.validation_id, cell.evaluation_id)))
        self.jobs = by_id(session, Job, [*(one.job_id for one in self.evaluations.values()), *(cell.tune_job_id for cell in found)])
        self.rungs = rungs
        self.cells: dict[int, list[Cell]] = {rung.id: [] for rung in rungs}
        for cell in found:
            self.cells[cell.rung_id].append(cell)

    def own(self, rung: Rung) -> list[Cell]:
        """The cells that stand for a rung."""
        return [cell for cell in self.cells[rung.id] if rung.stands(cell)]

    def job(self, cell: Cell) -> Job | None:
        """The job that a cell waits for now, or waited for last; none for one that waits for the test rows to be opened."""
        evaluation_id = cell.evaluation_id or cell.validation_id
        key = self.evaluations[evaluation_id].job_id if evaluation_id else cell.tune_job_id
        return self.jobs[key] if key else None

    def state(self, rung: Rung) -> str:
        return experiments.state_of([job.state if (job := self.job(cell)) else "succeeded" for cell in self.own(rung)])

    def over(self, rung: Rung) -> bool:
        return all(job is None or job.state not in ACTIVE for job in map(self.job, self.own(rung)))

    def sound(self, rung: Rung, cell: Cell) -> bool:
        """Whether a cell can be tested: its model is there, and its validation, if it had one, succeeded."""
        if cell.validation_id:
            return self.evaluations[cell.validation_id].scores is not None
        return not rung.trains or (cell.tune_job_id is not None and self.jobs[cell.tune_job_id].state == "succeeded")

    @property
    def ready(self) -> bool:
        """Whether the test rows may be opened: every rung is chosen and validated, or has failed, and one has not. Nobody waits for the linear baseline."""
        climbing = [rung for rung in self.rungs if rung.position != BELOW]
        return all(map(self.over, climbing)) and any(self.sound(rung, cell) for rung in climbing for cell in self.own(rung))

    @property
    def given_up(self) -> list[Rung]:
        """The rungs that somebody cancelled before they could be tested. The test rows are not opened by themselves without them: it happens once, and
        whoever cancels means the rung. One that failed holds nobody up."""
        return [rung for rung in self.rungs if rung.position != BELOW and self._given_up(rung)]

    def _given_up(self, rung: Rung) -> bool:
        own = self.own(rung)
        cancelled = any((job := self.job(cell)) is not None and job.state == "cancelled" for cell in own)
        return cancelled and not any(self.sound(rung, cell) for cell in own)


def begin(session: Session, person: Who, experiment: Experiment, rung: Rung, cell: Cell) -> None:
    """Queue the first job of a cell."""
    if not rung.trains:
        _validate(session, person, experiment, rung, cell)
        return
    job = experiments.queue_tuning(session, person, experiment, rung, cell)
    if job.state == "succeeded" and (model := session.scalars(select(Model).where(Model.job_id == job.id)).first()):
        _adopt(session, person, experiment, rung, cell, model)


def _validate(session: Session, person: Who, experiment: Experiment, rung: Rung, cell: Cell) -> None:
    version = session.get_one(datasets.DatasetVersion, experiment.dataset_version_id)
    if version.splits.get("validation"):
        experiments.queue_scoring(session, person, experiment, rung, cell, "validation")


def advance(session: Session, job: Job, model: Model | None) -> None:
    """What follows a finished tune job: the cells that wait for it get its tuned model, and their validation is queued."""
    if model is None:
        return
    for cell in session.scalars(select(Cell).where(Cell.tune_job_id == job.id).order_by(Cell.id)):
        rung = session.get_one(Rung, cell.rung_id)
        _adopt(session, job.person(), session.get_one(Experiment, rung.experiment_id), rung, cell, model)
    session.flush()


def _adopt(session: Session, person: Who, experiment: Experiment, rung: Rung, cell: Cell, model: Model) -> None:
    """A cell's tuned model is there: it is scored through what it was tuned through, which under a soft prompt is not the prompt it started from; with
    the shots, and held to the form, that the rung asks for."""
    cell.model_id = model.id
    cell.prompt_version_id = model.prompt_version_id or cell.prompt_version_id
    if "shown" in cell.settings:
        own, shown = session.get_one(PromptVersion, cell.prompt_version_id), session.get_one(PromptVersion, cell.settings["shown"])
        name = f"{experiment.name}: {experiments.title(rung.technique, {**rung.settings, **cell.settings})}"
        cell.prompt_version_id = prompts.derive(session, person, own, shown.template().shots, name, cell.settings.get("constraint")).id
    _validate(session, person, experiment, rung, cell)


def follow(session: Session, job: Job) -> None:
    """What follows any job that has ended, however it did: choose, and open the test rows when everything else is known."""
    evaluations = select(Evaluation.id).where(Evaluation.job_id == job.id)
    mine = or_(Cell.tune_job_id == job.id, Cell.validation_id.in_(evaluations), Cell.evaluation_id.in_(evaluations))
    key = session.scalars(select(Rung.experiment_id).join(Cell, Cell.rung_id == Rung.id).where(mine)).first()
    if key is not None:
        go_on(session, job.person(), key)


def go_on(session: Session, person: Who, experiment_id: int) -> None:
    """Queue whatever is due in an experiment."""
    experiment = _locked(session, experiment_id)
    rungs = experiments.rungs(session, experiment_id)
    now = Standing(session, rungs)
    chosen = [_choose(session, person, experiment, rung, now) for rung in rungs if rung.chosen is None and now.over(rung)]
    if any(chosen):
        now = Standing(session, rungs)  # with the seeds and the label curves that are due since
    if experiment.opened_at is None and experiment.opens and now.ready and not now.given_up:
        experiment.opened_at = session.scalar(select(db_now()))
    if experiment.opened_at is not None:
        for rung in rungs:
            _test(session, person, experiment, rung, now)
    session.flush()


def _locked(session: Session, experiment_id: int) -> Experiment:
    """An experiment as it is now, for one transaction at a time: else of two jobs that end at the same moment neither would see that the other is
    over, and two people who press a button would both queue what it queues."""
    query = select(Experiment).where(Experiment.id == experiment_id).with_for_update()
    return session.scalars(query, execution_options={"populate_existing": True}).one()


def open_test(session: Session, person: Who, experiment_id: int) -> None:
    """Open the test rows for all rungs. Raises Conflict when they are open, or while a rung is under way."""
    experiment = _locked(session, experiment_id)
    if experiment.opened_at is not None:
        raise Conflict("test_opened", "The test rows are opened for this experiment already.", "Its table shows what they say.")
    if not Standing(session, experiments.rungs(session, experiment_id)).ready:
        message = "The test rows are opened once, when every rung has been scored on validation rows."
        raise Conflict("rungs_under_way", message, "Wait for the rungs that are under way, or cancel them and open the test rows without them.")
    experiment.opened_at = session.scalar(select(db_now()))
    go_on(session, person, experiment_id)


def rerun(session: Session, person: Who, rung: Rung) -> None:
    """Queue again what failed or was cancelled in a rung: the scoring alone when its model is there. Raises Conflict when nothing did."""
    experiment = _locked(session, rung.experiment_id)
    now = Standing(session, [rung])
    lost = [cell for cell in now.cells[rung.id] if (job := now.job(cell)) and job.state in ("failed", "cancelled")]
    if not lost:
        raise Conflict("rung_not_over", "Nothing of this rung has failed or was cancelled.", "Only what failed or was cancelled can be run again.")
    for cell in lost:
        if cell.evaluation_id:
            experiments.queue_scoring(session, person, experiment, rung, cell, "test")
        elif cell.validation_id:
            experiments.queue_scoring(session, person, experiment, rung, cell, "validation")
        else:
            begin(session, person, experiment, rung, cell)


def _choose(session: Session, person: Who, experiment: Experiment, rung: Rung, now: Standing) -> bool:
    """Fix the combination with the best mean validation score, the first of equals; then its other seeds and the label curve are due. False where
    nothing was scored."""
    scores: dict[int, list[float]] = {}
    for cell in now.cells[rung.id]:
        if cell.validation_id and (found := now.evaluations[cell.validation_id].scores):
            scores.setdefault(cell.number, []).append(value_of(found, experiment.figure))
    if scores:
        rung.chosen = max(sorted(scores), key=lambda number: sum(scores[number]) / len(scores[number]))
        complete(session, person, experiment, rung, now.cells[rung.id])
    return bool(scores)


def complete(session: Session, person: Who, experiment: Experiment, rung: Rung, cells: Sequence[Cell]) -> None:
    """Queue what a chosen combination still lacks: its other seeds, and the points of its label curve."""
    if not rung.trains and rung.technique != LINEAR:
        return  # every draw of a prompt was there from the start, and a model that is there has one run
    like = next(cell for cell in cells if cell.number == rung.chosen and not cell.labels)
    there = {(cell.labels, cell.seed) for cell in cells if cell.number == rung.chosen}
    due = [(0, seed) for seed in rung.seeds] + [(labels, seed) for labels in rung.settings.get("curve", []) for seed in rung.seeds]
    for labels, seed in due:
        if (labels, seed) not in there:
            # A tuned cell's prompt may be the one under its soft prompt: the others begin with the one the rung began with.
            prompt = like.settings.get("through", like.prompt_version_id)
            row = Cell(
                rung_id=rung.id, number=rung.chosen, labels=labels, seed=seed, settings=like.settings, prompt_version_id=prompt, model_id=rung.base(experiment)
            )
            session.add(row)
            session.flush()
            begin(session, person, experiment, rung, row)


def _test(session: Session, person: Who, experiment: Experiment, rung: Rung, now: Standing) -> None:
    """Queue the test scoring of a rung that is chosen and validated: each seed once."""
    if rung.chosen is None or not now.over(rung):
        return
    for cell in now.own(rung):
        if cell.evaluation_id is None and now.sound(rung, cell):
            experiments.queue_scoring(session, person, experiment, rung, cell, "test")


def is_look(session: Session, evaluation: Evaluation) -> bool:
    """Whether scores of this evaluation are one more look at test rows or a reserve. Of a rung's seeds, and of the runs of a reliability check, the first that is
    scored is one, whichever that is: the others are no further look. Until the transaction ends no other of them is asked about."""
    if evaluation.split not in datasets.SEALED:
        return False
    if evaluation.run is not None:
        session.execute(select(Job.id).where(Job.id == evaluation.job_id).with_for_update())
        together = select(Evaluation.scores).where(Evaluation.job_id == evaluation.job_id, Evaluation.id != evaluation.id)
        return not any(session.scalars(together))
    query = select(Rung.id, Rung.experiment_id).join(Cell, Cell.rung_id == Rung.id).where(Cell.evaluation_id == evaluation.id)
    rung = session.execute(query).first()
    if rung is None:
        return True
    _locked(session, rung.experiment_id)
    scored = select(Evaluation.scores).join(Cell, Cell.evaluation_id == Evaluation.id).where(Cell.rung_id == rung.id, Evaluation.id != evaluation.id)
    return not any(session.scalars(scored))
