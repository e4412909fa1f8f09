"""What a run is judged by on its validation rows: the measure a choice stands for, and which of two validations is the better one.

Pure: the form, the job's page and the engine read the same rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from app.errors import Invalid

LOSS = "validation_loss"
"""The metric point that every validation reports: nats per answer token."""


@dataclass(frozen=True)
class Measure:
    """One figure to choose the best moment of a run by. `name` is a value of `validate_by`, `title` reads in a sentence."""

    name: str
    title: str
    by_labels: bool = False
    """Whether it compares the labels' likelihoods, and so needs labels."""
    written: bool = False
    """Whether the model has to write its answers for it."""
    sign: int = 1
    """-1 where less is better."""

    @property
    def point(self) -> str:
        """The name of its metric points."""
        return f"validation_{self.name}"

    @property
    def is_share(self) -> bool:
        """Whether it is a count of right rows over all rows, so that a binomial interval fits it."""
        return self.name in ("accuracy", "exact_match")

    def rank(self, values: Mapping[str, float]) -> tuple[float, float]:
        """A key that is larger for a better validation: by this measure, and where that is equal by a smaller loss."""
        return self.sign * values[self.point], -values.get(LOSS, inf)


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("accuracy", "accuracy", by_labels=True),
        Measure("macro_f1", "macro F1", by_labels=True),
        Measure("exact_match", "exact match", written=True),
        Measure("rouge_l", "ROUGE-L", written=True),
        Measure("loss", "loss", sign=-1),
    )
}


def measure_of(validate_by: str, *, labels: bool, rows: bool) -> Measure:
    """The measure that `validate_by` stands for, given whether the answers are labels and whether there are validation rows.

    Raises Invalid `cannot_validate` for a combination that cannot be.
    """
    if validate_by == "auto":
        return MEASURES["accuracy" if labels else "loss"]
    measure = MEASURES[validate_by]
    if not rows:
        raise _refused(f"validate_by is {validate_by}, but there are no validation rows.", "Add a validation split, or leave validate_by on auto.")
    if measure.by_labels and not labels:
        sentence = f"validate_by is {validate_by}, which compares labels, but the answers are free text."
        raise _refused(sentence, "Choose exact_match, rouge_l or loss.")
    return measure


def _refused(sentence: str, advice: str) -> Invalid:
    return Invalid("cannot_validate", sentence, advice, detail={"field": "validate_by"})
