"""What the checks of health look at, gathered in walks over the rows: some 80 bytes a row are kept, and no text but that of the labels."""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from app.domain.scoring import normalise
from app.readers import Example
from app.readers.findings import SHOWN, Finding, Fix, Group
from app.readers.several import Parts

PROTECTED = {"test": 0, "reserve": 0, "validation": 1, "train": 2}
"""Of two rows that should not both be there, the one in the split that stands earlier stays: scores on the test split stay comparable."""

SPLITS = ("", "train", "validation", "test", "reserve")

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")

Mark = Callable[[Example], object]
"""Whether there is something about an example."""

DIGEST = 16
"""Bytes that stand for a text: among a million texts two have the same by chance once in 10**26 versions."""


class Table:
    """The examples of a version. `examples` are walked over twice, in the same order; `near` are groups of examples with nearly the same input, by
    their numbers; `marks` are looked for in every example, by the code of their finding.

    A row without an output has the answer -1, an empty one too; what `answer` is equal for is equal.
    """

    def __init__(self, examples: Iterable[Example], near: Sequence[Group], marks: Mapping[str, Mark]) -> None:
        self._examples, self.near, self.free = examples, near, False
        self._marks = {code: (1 << place, mark) for place, (code, mark) in enumerate(marks.items())}
        self.lengths, self.lines, self._splits, self._flags = array("q"), array("q"), bytearray(), bytearray()
        self.numeric = self.output_characters = self.input_characters = 0
        self._inside, self._empty = array("q"), -1
        self._parts = Parts()
        inputs, same, outputs = bytearray(), bytearray(), bytearray()
        labelled = array("q")
        for number, example in enumerate(examples):
            self._note(example)
            same += digest(normalise(example.input))
            if example.output is not None:
                labelled.append(number)
                inputs += digest(example.input)
                outputs += digest(example.output)
        self.labelled: Sequence[int] = labelled
        self.same, self._first_same = _codes(same)
        self.distinct_inputs = len(_codes(inputs)[1])
        self._answers, self._first_answers = self._of_all(*_codes(outputs))
        self._empty_code = self._answers[self._empty] if self._empty >= 0 else -1

    def _note(self, example: Example) -> None:
        self.lengths.append(len(example.input))
        self.lines.append(example.line)
        self._splits.append(SPLITS.index(example.split or ""))
        self._flags.append(sum(bit for bit, mark in self._marks.values() if mark(example)))
        if example.output is not None:
            self._parts.add(example.output)
            self.numeric += NUMBER.fullmatch(example.output) is not None
            self.output_characters += len(example.output)
            self.input_characters += len(example.input)
            if not example.output:
                self._empty = len(self.lines) - 1

    def _of_all(self, codes: Sequence[int], firsts: Sequence[int]) -> "tuple[array[int], list[int]]":
        """The labelled rows' codes as those of all rows, and the number of the first row of each."""
        answers = array("q", [-1]) * len(self)
        for number, code in zip(self.labelled, codes, strict=True):
            answers[number] = code
        return answers, [self.labelled[first] for first in firsts]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def distinct_outputs(self) -> int:
        return len(self._first_answers)

    @property
    def parts_repeat(self) -> bool:
        """Whether outputs that are several labels in one name the same ones again and again."""
        return self._parts.repeat

    @cached_property
    def _texts(self) -> list[str]:
        """The labels by their codes; empty when outputs repeat too little to be labels. They are read in the second walk, and with them which rows' inputs
        hold them."""
        if not (2 * self.distinct_outputs <= len(self.labelled) or self.distinct_outputs <= 2):
            return []
        texts = [""] * self.distinct_outputs
        patterns: dict[int, re.Pattern[str] | None] = {}
        for number, example in enumerate(self._examples):
            if example.output is None:
                continue
            code = self._answers[number]
            if code not in patterns:
                texts[code] = example.output
                word = rf"(?<!\w){re.escape(example.output)}(?!\w)"
                patterns[code] = re.compile(word, re.IGNORECASE) if len(example.output) > 1 else None
            pattern = patterns[code]
            if pattern is not None and pattern.search(example.input):
                self._inside.append(number)
        return texts

    @cached_property
    def classes(self) -> Counter[str]:
        """The labels with their counts, in the order in which they come; empty when outputs repeat too little to be labels."""
        counts = Counter(self._answers[number] for number in self.labelled) if self._texts else Counter[int]()
        return Counter({self._texts[code]: counts[code] for code in range(len(self._texts))})

    @property
    def holding_their_label(self) -> Sequence[int]:
        """Labelled rows whose input holds their label as a word."""
        return self._inside if self._texts else ()

    @cached_property
    def same_input(self) -> list[list[int]]:
        """Examples with the same normalised input, where there are several."""
        return _groups(self.same, len(self._first_same))

    @cached_property
    def per_split(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        if self.classes:
            for number in self.labelled:
                split = counts.setdefault(self.split(number), {})
                split[self.output(number)] = split.get(self.output(number), 0) + 1
        return counts

    def split(self, number: int) -> str:
        return SPLITS[self._splits[number]]

    def has_output(self, number: int) -> bool:
        return self._answers[number] >= 0

    def answer(self, number: int) -> int:
        code = self._answers[number]
        return -1 if code == self._empty_code else code

    def output(self, number: int) -> str:
        """A label; "" for a row that has none."""
        code = self._answers[number]
        return self._texts[code] if code >= 0 else ""

    def marked(self, code: str) -> list[int]:
        """The rows that have a mark."""
        bit = self._marks[code][0]
        return [number for number, flags in enumerate(self._flags) if flags & bit]

    def having(self, test: Callable[[str], object]) -> list[int]:
        """Labelled rows whose label passes a test."""
        passing = {code for code, text in enumerate(self._texts) if test(text)}
        return [number for number in self.labelled if self._answers[number] in passing]

    def crosses(self, group: Group) -> bool:
        """Does a group of rows stand in two splits?"""
        return len({self.split(number) for number in group if self.split(number)}) > 1

    def copies(self, groups: Iterable[Group]) -> list[int]:
        """In each group, the rows outside the most protected split in it."""
        found = []
        for group in groups:
            kept = min((PROTECTED.get(self.split(number), 3) for number in group), default=3)
            found += [number for number in group if PROTECTED.get(self.split(number), 3) > kept]
        return found

    def repeats(self, groups: Iterable[Group]) -> list[int]:
        """In each group, all rows but the first one of its most protected split."""
        found = []
        for group in groups:
            kept = min(group, key=lambda number: (PROTECTED.get(self.split(number), 3), number))
            found += [number for number in group if number != kept]
        return found

    def finding(
        self, code: str, harm: int, count: int, sentence: str, rows: Iterable[int] = (), concerned: Iterable[int] | None = None, fix: Fix | None = None
    ) -> Finding:
        """A finding with its rows; `concerned` are those that its lines name, where that is not all of them."""
        rows = tuple(rows)
        named = rows if concerned is None else tuple(concerned)
        return Finding(code, harm, count, sentence, tuple(self.lines[number] for number in named[:SHOWN]), rows, fix)


def digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def _codes(digests: bytearray) -> tuple[Sequence[int], list[int]]:
    """Digests as small numbers, in the order in which they come first, and the place of each one's first."""
    import numpy as np

    if not digests:
        return (), []
    _, firsts, inverse = np.unique(np.frombuffer(digests, dtype=f"V{DIGEST}"), return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), dtype=np.int64)
    ranks[np.argsort(firsts)] = np.arange(len(firsts))
    codes: Any = array("q")
    codes.frombytes(ranks[inverse.reshape(-1)].tobytes())
    return codes, sorted(firsts.tolist())


def _groups(codes: Sequence[int], kinds: int) -> list[list[int]]:
    """The places of equal codes, where there are several, in the order in which they come first."""
    import numpy as np

    if not kinds:
        return []
    given = np.asarray(codes)
    order = np.argsort(given, kind="stable")
    ends = np.cumsum(np.bincount(given, minlength=kinds))
    return [order[start:end].tolist() for start, end in _spans(ends) if end - start > 1]


def _spans(ends: Any) -> Iterator[tuple[int, int]]:
    yield from pairwise([0, *ends.tolist()])
