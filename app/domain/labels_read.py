"""How many labelled rows a cell of a ladder reads outside the test split: what its labels cost, and what its steps left unread."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.domain.base import by_id
from app.domain.candidates import MOST_ROWS
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import narrows
from app.domain.experiment import LINEAR, Cell, Experiment, Rung
from app.domain.job import Job
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.scheme import Scheme
from app.errors import Invalid


@dataclass(frozen=True)
class LabelsRead:
    """Distinct labelled rows. `train`: those learnt from, looked through for candidates, or shown as shots; `validation`: those by which a setting, a rung
    or the best moment of a run is chosen; `there`: the train rows that it might have read."""

    train: int
    validation: int
    there: int


class Readers:
    """What the cells of one experiment read, by two queries for all models that were there before."""

    def __init__(self, session: Session, experiment: Experiment, version: DatasetVersion, models: Sequence[Model]) -> None:
        """`models` are those of rungs that are only scored: each has read the rows that it was tuned on."""
        self._scheme, self._book, self._rows = Scheme.model_validate(experiment.scheme), version.book, version.splits
        self._validated = experiment.validation_rows
        self._jobs = by_id(session, Job, (model.job_id for model in models))
        self._versions = by_id(session, DatasetVersion, (model.dataset_version_id for model in models))

    def tuned(self, model: Model) -> Job | None:
        """The job that a model was tuned by, whichever comparison asked for it."""
        return self._jobs.get(model.job_id or 0)

    def of(self, rung: Rung, cell: Cell, prompt: PromptVersion, model: Model, job: Job | None) -> LabelsRead:
        """Shots that were drawn are train rows like the others; those that are the prompt's own come on top."""
        rows = self._rows
        job = job if rung.trains else self.tuned(model)
        if rung.tunes and not rung.trains and model.dataset_version_id in self._versions:
            rows = self._versions[model.dataset_version_id].splits
        there, held = self._there(rung, cell, rows, job), self._rows.get("validation", 0)
        learnt = self._learnt(rung, cell, there, job)
        indexed = min(cell.budget or self._rows.get("train", 0), MOST_ROWS) if self._narrows(rung, prompt) else 0
        shots = int(cell.settings.get("shots", len(prompt.shots)))  # before a rung is tuned, the prompt that it is asked by is not there yet
        drawn = shots if cell.settings.get("drawn", True) else 0
        watched = int((job.result or {}).get("validated_rows", 0)) if rung.tunes and job is not None else held if rung.technique == LINEAR else 0
        scored = min(self._validated, held) if cell.validation_id else 0
        return LabelsRead(min(max(there, indexed), learnt + indexed + drawn) + shots - drawn, min(held, watched + scored), there)

    def _there(self, rung: Rung, cell: Cell, rows: dict[str, int], job: Job | None) -> int:
        budget = job.settings.get("label_budget") if rung.tunes and job is not None else cell.budget
        return int(budget or rows.get("train", 0))

    def _learnt(self, rung: Rung, cell: Cell, there: int, job: Job | None) -> int:
        """Of a run that is over the rows of the steps that it made; of one that is still to come those of the steps that it is to make."""
        if rung.technique == LINEAR:
            return there
        if not rung.tunes:
            return 0
        try:
            parameters = parse(METHODS, rung.technique, cell.settings.get("parameters") or {})
        except Invalid:  # parameters that another release of Fettle took: the run is there all the same
            return there
        return parameters.rows_read(there, (job.result or {}).get("steps") if job is not None else None)

    def _narrows(self, rung: Rung, prompt: PromptVersion) -> bool:
        answer = rung.settings.get("answer", "likelihood")
        return answer != LINEAR and narrows(self._book, self._scheme, answer, prompt.template())
