"""The samples of a job as its page shows them: the same few rows, answered by the untuned model and at some of the steps since.

Of a search these are the samples of the trial that won or leads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.access import Who
from app.pages.job_words import best_of
from app.services import jobs
from app.services.jobs import Answered, Tuning
from app.services.kept import checkpoint_steps

MOST = 6
"""Columns of answers: more cannot be read side by side."""

LONG = 90
"""Characters after which a text is cut; the whole of it unfolds."""


@dataclass(frozen=True)
class Text:
    """A text on the page: `cut` is its start when it is too long to stand there whole."""

    whole: str
    cut: str = ""


@dataclass(frozen=True)
class Answer:
    text: Text
    right: bool


@dataclass(frozen=True)
class Column:
    """The answers of one step; step 0 is the untuned model. `asked` is the one that somebody came for, `kept` one whose checkpoint is still there."""

    step: int
    best: bool
    asked: bool = False
    kept: bool = False


@dataclass(frozen=True)
class Line:
    """One validation row with its answers in the order of the columns; None where a step did not answer it."""

    row: int
    input: Text
    gold: Text
    answers: list[Answer | None]


@dataclass(frozen=True)
class Samples:
    columns: list[Column]
    lines: list[Line]
    steps: int
    """How many steps have answers, shown or not."""


def table(person: Who, tuning: Tuning | None, key: int, asked: int | None = None) -> Samples | None:
    """The table of a job's samples, with those that were the newest at the step `asked` among them; None while there are none."""
    answered = [one for one in jobs.samples(person, key) if one.sample.trial == (tuning.leading or 0)] if tuning else []
    if tuning is None or not answered:
        return None
    best = best_of(tuning)
    steps = sorted({one.sample.step for one in answered})
    wanted = None if asked is None else max((step for step in steps if step <= asked), default=steps[0])
    kept = checkpoint_steps(key)
    columns = [
        Column(step, best is not None and step == best.step, step == wanted, step in kept) for step in chosen(steps, best.step if best else None, wanted)
    ]
    return Samples(columns, _lines(answered, columns), len(steps))


def chosen(steps: Sequence[int], *wanted: int | None) -> list[int]:
    """At most MOST of the steps (in order): the first, the newest, the `wanted` ones such as the best, and evenly many between them."""
    if len(steps) <= MOST:
        return list(steps)
    kept = {steps[0], steps[-1], *(step for step in steps if step in wanted)}
    others = [step for step in steps if step not in kept]
    room = MOST - len(kept)
    return sorted(kept | {others[(2 * place + 1) * len(others) // (2 * room)] for place in range(room)})


def _lines(answered: Sequence[Answered], columns: Sequence[Column]) -> list[Line]:
    found = {(one.sample.row, one.sample.step): one for one in answered}
    rows = {one.sample.row: one.sample for one in answered}
    return [Line(row, _text(rows[row].input), _text(rows[row].gold), [_answer(found.get((row, column.step))) for column in columns]) for row in sorted(rows)]


def _answer(one: Answered | None) -> Answer | None:
    return Answer(_text(one.sample.text), one.right) if one else None


def _text(text: str) -> Text:
    whole = text.strip()
    start = " ".join(whole.split())
    return Text(whole, f"{start[:LONG].rstrip()}…" if len(start) > LONG else "")
