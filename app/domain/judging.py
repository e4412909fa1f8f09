"""Judging answers beyond right and wrong: what a judge is asked, and how its words are read. What its rulings amount to is `outcomes.py`. Pure.

One answer is graded by a rubric. Two are laid before the judge twice, in both orders, because judges favour a place (Zheng et al. 2023, arXiv 2306.05685).
"""

import re
from dataclasses import dataclass, replace
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain.rendering import Message, Part, Rendered, substitute
from app.domain.shots import place

Kind = Literal["pairwise", "rubric", "blind"]
Way = Literal["auto", "likelihood", "first_line", "constrained"]
"""How a judge's ruling is read. auto: by likelihood from a model that runs here, else from the first line of what it writes."""

UNREAD = ""
"""The value of a ruling that is none of those asked for."""

ONCE = ""
"""The order of a ruling on one answer."""

CRITERION = "Judge which answer helps the person who wrote the input more: what is right, complete and clear counts."

_REFERENCE = "\n\nReference answer:\n{reference}"
_PAIR = (
    "You compare two answers to the same input. {criterion}\n"
    "Neither the order in which the answers stand nor their length may decide.\n\n"
    "Input:\n{input}REFERENCE\n\n"
    "Answer A:\n{first}\n\n"
    "Answer B:\n{second}\n\n"
    "Which answer is better? Write A, B or tie, and nothing else."
)
_GRADE = "You grade an answer by a rubric.\n\nRubric:\n{criterion}\n\nInput:\n{input}REFERENCE\n\nAnswer:\n{first}\n\nWANTED, and nothing else."
_LEAD = "\n\nVerdict:"


class Scale(BaseModel):
    """The grades of a rubric: pass or fail, or whole points from a lowest to a highest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["points", "pass_fail"] = Field("points", description="points, or pass_fail.")
    low: int = Field(1, ge=0, le=8, description="The lowest of the points.")
    high: int = Field(5, ge=1, le=9, description="The highest of the points.")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"the highest grade ({self.high}) has to be above the lowest ({self.low})")
        return self

    @property
    def grades(self) -> tuple[str, ...]:
        """What may be given, the worst first."""
        return ("fail", "pass") if self.kind == "pass_fail" else tuple(str(number) for number in range(self.low, self.high + 1))

    def number(self, grade: str) -> float:
        """A grade as a number: 0 for a fail, 1 for a pass. Raises ValueError for what is no grade."""
        return float(self.grades.index(grade) + (0 if self.kind == "pass_fail" else self.low))

    @property
    def wanted(self) -> str:
        """What a judge is asked to write."""
        return "Write pass or fail" if self.kind == "pass_fail" else f"Write a whole number from {self.low} (worst) to {self.high} (best)"


class Brief(BaseModel):
    """What a judge is told, and how its ruling is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field("", max_length=10_000, description="What counts: the rubric, or between two answers what makes one better.")
    reference: bool = Field(True, description="Whether the judge reads the row's gold answer.")
    read: Way = Field("auto", description="How the ruling is read: by likelihood, from the first line of what is written, or constrained to the answers.")

    scale: Scale | None = Field(None, description="The grades of a rubric; none where two answers are compared.")

    @property
    def usual(self) -> str:
        """What counts where nothing is said."""
        return CRITERION

    @property
    def answers(self) -> tuple[str, ...]:
        """What a judge may say."""
        return ("A", "B", "tie") if self.scale is None else self.scale.grades


@dataclass(frozen=True)
class Material:
    """What is judged in one row: the input, the gold answer, and what was answered."""

    input: str
    reference: str
    first: str
    second: str = ""

    @property
    def same(self) -> bool:
        """Whether both answers are the same, white space at the ends aside."""
        return self.first.strip() == self.second.strip()


@dataclass(frozen=True)
class Turn:
    """One reading of a row: which answer stands first (`order`), the material in that order, and what comes of it without asking ("" where the judge
    has to be asked)."""

    order: str
    material: Material
    settled: str = UNREAD

    def means(self, word: str) -> str:
        """What is kept of a word that the judge may say."""
        return resolved(self.order, word)


def turns(kind: str, row: Material) -> list[Turn]:
    """How often a row is read: one answer once, two in both orders. The same answer twice is a tie, whoever reads it."""
    if kind == "rubric":
        return [Turn(ONCE, row)]
    settled = "tie" if row.same else UNREAD
    return [Turn("ab", row, settled), Turn("ba", replace(row, first=row.second, second=row.first), settled)]


def question(brief: Brief, given: Material, *, chat: bool) -> Rendered:
    """What the judge reads; as one turn of a chat, or as raw text that its ruling continues. Only the frame is trusted text."""
    frame = _PAIR if brief.scale is None else _GRADE.replace("WANTED", brief.scale.wanted)
    frame = frame.replace("REFERENCE", _REFERENCE if brief.reference and given.reference else "")
    parts = substitute(frame, {**vars(given), "criterion": brief.text.strip() or CRITERION})
    if chat:
        return Rendered(messages=(Message("user", parts),))
    return Rendered((*parts, Part(_LEAD, trusted=True)), stop=("\n",))


def said(brief: Brief, *, chat: bool) -> list[str]:
    """The answers as they follow the question."""
    return [one if chat else f" {one}" for one in brief.answers]


_BEFORE = r"^\W*?(?:(?:my|the|final)\s+)*(?:answer|verdict|grade|score|rating|judge?ment)?\s*(?:is)?[^\w.+\-\u2212]*"
_AFTER = r"(?:\W*|\s*[:;()/\u2013\u2014-].*|\s*[.,](?!\d).*|\W*\s+(?:is better|out of|points?)\b.*)$"


def read(brief: Brief, text: str) -> str:
    """The ruling in the first line that has something in it: one of the answers, maybe marked up, named or explained; UNREAD for anything else."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    known = {one.casefold(): one for one in brief.answers}
    either = "|".join(re.escape(one) for one in sorted(known, key=len, reverse=True))
    found = re.match(f"{_BEFORE}(?:a )?({either}){_AFTER}", line.casefold()) if "tie" in known else None
    found = found or re.match(f"{_BEFORE}(?<![-\u2212.])({either}){_AFTER}", line.casefold())
    return known[found[1]] if found else UNREAD


def drawn(seed: int, person: int, example: int) -> str:
    """Which answer a person sees first in a blind comparison: as good as thrown for each person and row, and the same however often it is asked."""
    return "ab" if place(seed, (person, example))[0] % 2 else "ba"


def resolved(order: str, word: str) -> str:
    """Whom a word favours: a, b, tie, or UNREAD. `A` is whoever stands first."""
    if word not in ("A", "B"):
        return word
    return order[0] if word == "A" else order[1]
