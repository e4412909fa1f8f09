"""How an evaluation gets its answers and judges them: a person's choice, kept with the evaluation. Pure.

The shape of the task (labels, text, JSON, a number) follows from the rows unless it is said, and the measures follow the shape.
"""

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain.label_book import LabelBook
from app.domain.scoring import Extractor, extract, is_right
from app.domain.scoring.calibration import Weighing
from app.domain.scoring.house_style import Check, passes, titles
from app.domain.scoring.json_fields import Comparator, Compared, compare
from app.domain.scoring.reading import close, found_json, number_in, pattern_problem
from app.domain.scoring.texts import PER_ROW

Shape = Literal["labels", "text", "json", "number"]

MANY_LABELS = 30
"""Above so many labels a row is offered the candidates among them and not all."""


@dataclass(frozen=True)
class Metric:
    """One figure, at most 1 and at least `low`. `by_row`: it is the mean of a value of every row, so that two evaluations are paired by it."""

    name: str
    title: str
    by_row: bool = True
    low: float = 0.0

    @property
    def of_right_rows(self) -> bool:
        """Whether one system gains or loses a row against another by having it right or wrong."""
        return self.name == "accuracy" or not self.by_row


ACCURACY = Metric("accuracy", "accuracy")
METRICS: Mapping[str, Mapping[str, Metric]] = {
    shape: {one.name: one for one in metrics}
    for shape, metrics in {
        "labels": (
            ACCURACY,
            Metric("balanced_accuracy", "balanced accuracy", by_row=False),
            Metric("macro_f1", "macro F1", by_row=False),
            Metric("mcc", "MCC", by_row=False, low=-1.0),
        ),
        "text": (
            Metric("chrf", "chrF"),
            Metric("rouge_l", "ROUGE-L"),
            Metric("rouge_1", "ROUGE-1"),
            Metric("rouge_2", "ROUGE-2"),
            Metric("bleu", "BLEU"),
            Metric("token_f1", "token F1"),
            Metric("accuracy", "exact match"),
        ),
        "json": (Metric("field_f1", "field F1"), Metric("accuracy", "all fields right"), Metric("json_valid", "valid JSON")),
        "number": (Metric("accuracy", "right number"),),
    }.items()
}
"""The figures of each shape; the first one is the main one unless another is chosen."""

Name = Literal["accuracy", "balanced_accuracy", "macro_f1", "mcc", "chrf", "rouge_l", "rouge_1", "rouge_2", "bleu", "token_f1", "field_f1", "json_valid"]


class Scheme(BaseModel):
    """How answers are got and judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scoring: Weighing = Field("raw", description="How label likelihoods are compared: raw, normalised by tokens, or calibrated without an input.")
    extractor: Literal["auto", "exact", "first_line", "regex", "json_field"] = Field(
        "auto", description="What counts of a generated answer. auto: its first line for labels and numbers, else all of it."
    )
    pattern: str = Field("", max_length=1000, description="The regular expression of the extractor regex; its first group is the answer.")
    json_field: str = Field("", max_length=200, description="The dotted path of the extractor json_field.")
    shape: Literal["auto", "labels", "text", "json", "number"] = Field("auto", description="What answers are. auto looks at the gold ones.")
    metric: Literal["auto"] | Name = Field("auto", description="The main figure. auto takes the first one of the shape.")
    tolerance: float = Field(0.0, ge=0.0, description="How far a number may be from the gold one.")
    fields: dict[str, Comparator] = Field({}, max_length=200, description="Comparators of JSON fields by dotted path; exact where none is given.")
    checks: list[Check] = Field([], max_length=40, description="House-style checks that every answer passes or fails.")
    candidates: int = Field(20, ge=2, le=200, description=f"Labels offered to a row where there are more than {MANY_LABELS}.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.extractor == "regex" and not self.pattern:
            raise ValueError("say which pattern finds the answer")
        if self.extractor == "regex" and (problem := pattern_problem(self.pattern)):
            raise ValueError(f"the pattern cannot be read: {problem}")
        if self.extractor == "json_field" and not self.json_field:
            raise ValueError("say which json_field is the answer")
        return self

    def has_many(self, labels: Sized) -> bool:
        """Whether these are so many that a row is offered only the candidates among them."""
        return len(labels) > MANY_LABELS and self.shape in ("auto", "labels")

    def most_offered(self, labels: Sequence[str]) -> Sequence[str]:
        """The labels that a row is offered, at most: all of them, or as many as there are candidates, the longest."""
        return labels if not self.has_many(labels) else sorted(labels, key=len, reverse=True)[: self.candidates]

    def shape_of(self, labels: bool, golds: Sequence[str]) -> Shape:
        """What the answers are, from the gold ones unless it was said."""
        if self.shape != "auto":
            return self.shape
        if labels or not golds:
            return "labels" if labels else "text"
        if all(isinstance(found_json(gold), dict | list) and gold.strip()[:1] in "{[" for gold in golds):
            return "json"
        return "number" if all(_is_number(gold) for gold in golds) else "text"

    def main(self, shape: Shape) -> Metric:
        """The main figure; the shape's first one where the chosen one is of another shape."""
        return METRICS[shape].get(self.metric, next(iter(METRICS[shape].values())))

    def read(self, text: str, shape: Shape, book: LabelBook) -> str:
        """The answer in what a model wrote: for labels the display text that it spells, where it spells one."""
        chosen = self.extractor
        way: Extractor = ("first_line" if shape in ("labels", "number") else "exact") if chosen == "auto" else chosen
        found = extract(text, way, self.pattern if way == "regex" else self.json_field)
        return (book.read(found) or found) if shape == "labels" else found

    def as_json(self) -> dict[str, Any]:
        """What differs from the defaults."""
        return self.model_dump(exclude_defaults=True)

    @property
    def figure(self) -> Metric:
        """What an experiment compares by: the main figure of the shape, which is labels where none is said."""
        return self.main("labels" if self.shape == "auto" else self.shape)


DEFAULT = Scheme()


def value_of(scores: Mapping[str, Any], figure: Metric) -> float:
    """A figure among an evaluation's scores. Those from before there were several have only the share of right rows."""
    found = (scores.get("metrics") or {}).get(figure.name)
    return float(scores["accuracy"] if found is None else found["value"])


@dataclass(frozen=True)
class Judged:
    """One answer: right or wrong, the value of each measure by name, and what checks and fields say of it. `refused` says why there is none (the code of
    an error), "" where there is one."""

    correct: bool
    values: Mapping[str, float] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""

    def as_json(self) -> dict[str, Any] | None:
        """As it is kept; nothing where there is nothing but right or wrong."""
        found: dict[str, Any] = {name: dict(getattr(self, name)) for name in ("values", "checks", "fields")}
        found["refused"] = self.refused
        return {name: value for name, value in found.items() if value} or None


def judge(scheme: Scheme, shape: Shape, gold: str, answer: str, *, written: str | None = None, source: str = "") -> Judged:
    """An answer against the gold one. Checks look at all that was `written`; `source` is what the model was told of the row."""
    text = answer if written is None else written
    checks = {title: passes(check, text, source) for title, check in zip(titles(scheme.checks), scheme.checks, strict=True)}
    correct, values, fields = _JUDGES[shape](scheme, gold, answer)
    return Judged(correct, values, checks, fields)


def unanswered(scheme: Scheme, shape: Shape, gold: str, why: str) -> Judged:
    """A row without an answer: wrong, worth nothing by every measure, and it passes no check, also none that an empty text would pass."""
    found = judge(scheme, shape, gold, "")
    return Judged(False, dict.fromkeys(found.values, 0.0), dict.fromkeys(found.checks, False), found.fields, why)


_Found = tuple[bool, Mapping[str, float], Mapping[str, str]]


def _judge_label(scheme: Scheme, gold: str, answer: str) -> _Found:
    del scheme
    return is_right(answer, gold), {}, {}


def _judge_text(scheme: Scheme, gold: str, answer: str) -> _Found:
    del scheme
    return is_right(answer, gold), {name: measure(gold, answer) for name, measure in PER_ROW.items()}, {}


def _judge_json(scheme: Scheme, gold: str, answer: str) -> _Found:
    found: Compared = compare(gold, answer, scheme.fields)
    return found.right, {"field_f1": found.f1, "json_valid": float(found.valid)}, found.statuses


def _judge_number(scheme: Scheme, gold: str, answer: str) -> _Found:
    wanted, given = number_in(gold), number_in(answer)
    return wanted is not None and given is not None and close(wanted, given, scheme.tolerance), {}, {}


def _is_number(text: str) -> bool:
    """Nothing but a number, with a sign of currency or per cent perhaps."""
    bare = text.strip().strip("$\u20ac\u00a3\u00a5% ")
    return number_in(bare) is not None and not any(letter.isalpha() and letter not in "eE" for letter in bare) and len(bare.split()) == 1


_JUDGES: Mapping[Shape, Callable[[Scheme, str, str], _Found]] = {
    "labels": _judge_label,
    "text": _judge_text,
    "json": _judge_json,
    "number": _judge_number,
}
