"""What differs between two texts, or between two versions of a prompt, by words or by lines. Pure.

Lines are compared first and words only inside the lines that changed, so that a long prompt is compared as fast as it is read.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any, Literal

By = Literal["word", "line"]
Kind = Literal["same", "removed", "added"]
KINDS: tuple[Kind, ...] = ("same", "removed", "added")

_WORD = re.compile(r"\s+|\w+|[^\w\s]")

MOST_WORDS = 2_000
"""Above so many words on a side, changed lines are told as lines: nobody reads single words there, and it would take seconds."""


@dataclass(frozen=True)
class Piece:
    """A stretch of text that both sides have, or one of them."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Section:
    """One part of a prompt on both sides; `pieces` has every character of both."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def changed(self) -> bool:
        return any(piece.kind != "same" for piece in self.pieces)


def difference(before: str, after: str, by: By = "word") -> tuple[Piece, ...]:
    """The pieces in reading order: "same" and "removed" joined are `before`, "same" and "added" joined are `after`."""
    lines = [text.splitlines(keepends=True) for text in (before, after)]
    found: list[Piece] = []
    for piece_before, piece_after in _blocks(*lines):
        if by == "line" or piece_before == piece_after or not piece_before or not piece_after:
            found += _told(piece_before, piece_after)
        else:
            found += _words("".join(piece_before), "".join(piece_after))
    return tuple(_joined(found))


def _words(before: str, after: str) -> Iterator[Piece]:
    words = [_WORD.findall(text) for text in (before, after)]
    if max(map(len, words)) > MOST_WORDS:
        yield from _told([before], [after])
        return
    for one, other in _blocks(*words):
        yield from _told(one, other)


def _blocks(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Stretches that are the same on both sides, and those between them, in order."""
    for _, start, stop, other_start, other_stop in SequenceMatcher(None, before, after).get_opcodes():
        yield before[start:stop], after[other_start:other_stop]


def _told(before: Sequence[str], after: Sequence[str]) -> Iterator[Piece]:
    one, other = "".join(before), "".join(after)
    if one == other:
        yield Piece("same", one)
        return
    yield Piece("removed", one)
    yield Piece("added", other)


def _joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Neighbours of one kind as one piece; what was removed stands before what was added in its place."""
    for _, group in groupby((piece for piece in pieces if piece.text), key=lambda piece: piece.kind == "same"):
        run = list(group)
        for kind in KINDS:
            text = "".join(piece.text for piece in run if piece.kind == kind)
            if text:
                yield Piece(kind, text)


def sections(before: Mapping[str, Any], after: Mapping[str, Any], by: By = "word") -> list[Section]:
    """Two versions' fields compared part by part, in the order in which a person reads them; parts that neither side has are left out."""
    parts = [_parts(fields) for fields in (before, after)]
    names = list(dict.fromkeys([*parts[0], *parts[1]]))
    names.sort(key=_place)
    found = [Section(name, difference(parts[0].get(name, ""), parts[1].get(name, ""), by)) for name in names]
    return [section for section in found if section.pieces]


def _parts(fields: Mapping[str, Any]) -> dict[str, str]:
    """A version as named texts. What its mode does not use is not shown."""
    mode = fields.get("mode", "structured")
    parts = {"mode": str(mode)}
    if mode == "structured":
        parts |= {name.replace("_", " "): str(fields.get(name, "")) for name in ("instruction", "input_prefix", "output_prefix")}
        for number, shot in enumerate(fields.get("shots") or [], 1):
            parts[f"shot {number}"] = f"{shot['input']}\n→ {shot['output']}"
    elif mode == "freeform":
        parts["text"] = str(fields.get("text", ""))
    else:
        for number, turn in enumerate(fields.get("messages") or [], 1):
            parts[f"turn {number}"] = f"{turn['role']}: {turn['content']}"
    parts["default values"] = "\n".join(f"{name} = {value}" for name, value in sorted((fields.get("defaults") or {}).items()))
    told = [f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in sorted((fields.get("parameters") or {}).items())]
    return parts | {"parameters": "\n".join(told)}


_ORDER = ("mode", "instruction", "input prefix", "output prefix", "text", "shot", "turn", "default values", "parameters")


def _place(name: str) -> tuple[int, int]:
    kind, _, number = name.rpartition(" ")
    return (_ORDER.index(kind), int(number)) if number.isdigit() else (_ORDER.index(name), 0)
