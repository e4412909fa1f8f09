"""Drawing shots: which labelled examples become worked examples inside a prompt.

Pure. The caller passes rows of the train split and nothing else, so a shot can never come from the test split.
A row's place in the draw is a hash of seed and id: the same seed draws the same shots whatever the order of the rows,
on every machine and Python version, and a draw of 8 begins with the shots of the draw of 4. Only the nearest are another
set for every input, so prompts made of them share no prefix.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, NamedTuple

from app.domain import likeness
from app.errors import Invalid

Selection = Literal["random", "balanced", "diverse", "nearest"]
Fixed = Literal["random", "balanced", "diverse"]
"""The ways of drawing that give every input the same shots."""

SELECTIONS: dict[str, str] = {
    "random": "any rows",
    "balanced": "one of each label in turn",
    "diverse": "rows unlike each other",
    "nearest": "rows like the input",
}

MOST_COMPARED = 100_000
"""Rows that are compared by their words: of more, the first so many in the seed's order."""


class Candidate(NamedTuple):
    """A labelled train row that may become a shot."""

    id: int | str
    input: str
    output: str


def draw(rows: Iterable[Candidate], n: int, seed: int, selection: Fixed = "balanced") -> list[Candidate]:
    """n shots in the order they stand in the prompt. `balanced` takes one row of each label in turn; `random` takes any; `diverse` those unlike each other.

    Rows without an output cannot teach and are passed over; of rows with the same input only one is drawn.
    Raises Invalid when fewer than n remain.
    """
    shuffled = _shuffled(rows, seed)
    if selection == "diverse":
        apart = list(islice(_distinct(shuffled), MOST_COMPARED))
        shots = [apart[at] for at in likeness.spread([row.input for row in apart], n)]
    else:
        shots = list(islice(_distinct(_round_robin(shuffled, seed) if selection == "balanced" else shuffled), n))
    return _enough(shots, n, len(shots))


class Nearest:
    """The train rows, ready to be asked for those that are like an input. Rows without an output are passed over, of the same input only one stays."""

    def __init__(self, rows: Iterable[Candidate], seed: int) -> None:
        self._rows = list(islice(_distinct(_shuffled(rows, seed)), MOST_COMPARED))
        self._index = likeness.Nearest([row.input for row in self._rows])

    def draw(self, text: str, n: int) -> list[Candidate]:
        """n shots, the most like the input last: right before it. The input itself is none of them. Raises Invalid when there are fewer.

        Rows that have no word in common with the input come in the seed's order.
        """
        same = text.strip()
        others = (row for at in self._index.order(text) if (row := self._rows[at]).input.strip() != same)
        return _enough(list(islice(others, n))[::-1], n, len(self._rows))

    def knows(self, text: str) -> bool:
        """Whether any row has a word in common with the text."""
        return bool(self._index.scores(text).any())


def _shuffled(rows: Iterable[Candidate], seed: int) -> list[Candidate]:
    return sorted((row for row in rows if row.output), key=lambda row: (place(seed, row.id), str(row.id)))


def _enough(shots: list[Candidate], n: int, there: int) -> list[Candidate]:
    if len(shots) < n:
        raise Invalid(
            "too_few_shots",
            f"{n} shots were asked for, but the train split has {there} different labelled rows.",
            "Ask for fewer shots, or label more train rows.",
        )
    return shots


def place(seed: int, key: object) -> bytes:
    return hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()


def _distinct(rows: Iterable[Candidate]) -> Iterator[Candidate]:
    seen: set[str] = set()
    for row in rows:
        if row.input not in seen:
            seen.add(row.input)
            yield row


def _round_robin(rows: Iterable[Candidate], seed: int) -> Iterator[Candidate]:
    """First rows of all labels, then second rows of all labels, and so on; the order of the labels is drawn too."""
    by_label: dict[str, list[Candidate]] = {}
    for row in rows:
        by_label.setdefault(row.output, []).append(row)
    labels = sorted(by_label, key=lambda label: place(seed, label))
    for turn in range(max(map(len, by_label.values()), default=0)):
        yield from (by_label[label][turn] for label in labels if turn < len(by_label[label]))
