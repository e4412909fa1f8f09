"""What a person sees before an import: how a file is read, its first records as they stand, and a report of what is in it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from app.readers import Detected, Mapping, Note, Problem, Row
from app.readers.frames import Broken, Chunk, End, Found, Frame, Progress
from app.readers.options import Options
from app.readers.parent import DETECT, read_file

LABELS = 1_000
"""Different outputs that are counted; a column with more of them holds no labels."""


@dataclass
class Preview:
    """A file under some options. `detected` None: it cannot be told how to read it; the first problem says why, or asks.

    `head` are the first records as they stand. `rows` counts the examples read, `problem_count` all problems, of which `problems` are
    the first ones. `outputs` counts every output, and is empty when there are more than LABELS different ones or no output column.
    `complete` False: only the beginning was read, and every count is about that.
    """

    detected: Detected | None = None
    columns: list[str] = field(default_factory=list)
    mapping: Mapping | None = None
    head: list[Row] = field(default_factory=list)
    rows: int = 0
    unlabelled: int = 0
    outputs: dict[str, int] = field(default_factory=dict)
    many_outputs: bool = False
    splits: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    notes: list[Note] = field(default_factory=list)
    share: float = 0.0
    complete: bool = False


def preview(path: str | Path, options: Options = DETECT, rows: int | None = None) -> Preview:
    """Look at a file, to the end or until `rows` examples were read. Raises Invalid as read_file does."""
    found = Preview()
    for found in looking(path, options):
        if rows is not None and found.rows >= rows:
            break
    return found


def looking(path: str | Path, options: Options = DETECT) -> Iterator[Preview]:
    """The same preview again and again while it grows, to show how far it is. Leaving the iteration early ends the reading."""
    found = Preview()
    with closing(read_file(path, options=options)) as frames:
        for frame in frames:
            _take(found, frame)
            yield found


def _take(found: Preview, frame: Frame) -> None:
    match frame:
        case Found():
            found.detected, found.columns, found.mapping, found.head = frame.detected, frame.columns, frame.mapping, frame.head
        case Chunk():
            _count(found, frame)
        case Broken():
            found.problems.append(frame.problem)
            found.problem_count += 1
        case Progress():
            found.problem_count, found.share = frame.problems, frame.share
        case End():
            found.rows, found.unlabelled, found.problem_count, found.notes = frame.rows, frame.unlabelled, frame.problems, frame.notes
            found.share, found.complete = 1.0, True


def _count(found: Preview, chunk: Chunk) -> None:
    found.rows += len(chunk.examples)
    found.share = chunk.share
    for example in chunk.examples:
        if example.split is not None:
            found.splits[example.split] = found.splits.get(example.split, 0) + 1
        if example.output is None:
            found.unlabelled += 1
        elif not found.many_outputs:
            found.outputs[example.output] = found.outputs.get(example.output, 0) + 1
    if len(found.outputs) > LABELS:
        found.many_outputs = True
        found.outputs.clear()
