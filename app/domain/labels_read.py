"""How many labelled rows a cell of a ladder reads outside the test split: what its labels cost."""

from dataclasses import dataclass

from app.domain.candidates import MOST_ROWS
from app.domain.dataset import DatasetVersion
from app.domain.evaluation import narrows
from app.domain.experiment import LINEAR, Cell, Experiment, Rung
from app.domain.prompt import PromptVersion
from app.domain.scheme import Scheme


@dataclass(frozen=True)
class LabelsRead:
    """Distinct labelled rows. `train`: those learnt from, looked through for candidates, or shown as shots."""

    train: int


class Readers:
    """What the cells of one experiment read."""

    def __init__(self, experiment: Experiment, version: DatasetVersion) -> None:
        self._scheme, self._book, self._train = Scheme.model_validate(experiment.scheme), version.book, version.splits.get("train", 0)

    def of(self, rung: Rung, cell: Cell, prompt: PromptVersion) -> LabelsRead:
        """Shots that were drawn are train rows like the others; those that are the prompt's own come on top."""
        there = cell.budget or self._train
        learnt = there if rung.tunes or rung.technique == LINEAR else 0
        indexed = min(there, MOST_ROWS) if self._narrows(rung, prompt) else 0
        shots = len(prompt.shots)
        drawn = shots if cell.settings.get("drawn", True) else 0
        return LabelsRead(min(there, learnt + indexed + drawn) + shots - drawn)

    def _narrows(self, rung: Rung, prompt: PromptVersion) -> bool:
        answer = rung.settings.get("answer", "likelihood")
        return answer != LINEAR and narrows(self._book, self._scheme, answer, prompt)
