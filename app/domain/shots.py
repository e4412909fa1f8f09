"""Drawing shots: which labelled examples become worked examples inside a prompt.

Pure. The caller passes rows of the train split and nothing else, so a shot can never come from the test split.
A row's place in the draw is a hash of seed and id: the same seed draws the same shots whatever the order of the rows,
on every machine and Python version, and a draw of 8 begins with the shots of the draw of 4.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, NamedTuple

from app.errors import Invalid

Selection = Literal["random", "balanced"]


class Candidate(NamedTuple):
    """A labelled train row that may become a shot."""

    id: int | str
    input: str
    output: str


def draw(rows: Iterable[Candidate], n: int, seed: int, selection: Selection = "balanced") -> list[Candidate]:
    """n shots in the order they stand in the prompt. `balanced` takes one row of each label in turn; `random` takes any.

    Rows without an output cannot teach and are passed over; of rows with the same input only one is drawn.
    Raises Invalid when fewer than n remain.
    """
    shuffled = sorted((row for row in rows if row.output), key=lambda row: (_place(seed, row.id), str(row.id)))
    order = _round_robin(shuffled, seed) if selection == "balanced" else iter(shuffled)
    shots = list(islice(_distinct(order), n))
    if len(shots) < n:
        raise Invalid(
            "too_few_shots",
            f"{n} shots were asked for, but the train split has {len(shots)} different labelled rows.",
            "Ask for fewer shots, or label more train rows.",
        )
    return shots


def _place(seed: int, key: object) -> bytes:
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
    labels = sorted(by_label, key=lambda label: _place(seed, label))
    for turn in range(max(map(len, by_label.values()), default=0)):
        yield from (by_label[label][turn] for label in labels if turn < len(by_label[label]))
