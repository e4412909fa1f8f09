"""What a person sees before an import: how a file is read, its first records as they stand, and a report of what is in it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from app.readers import Detected, Mapping, Note, Problem, Row
from app.readers.frames import Broken, Chunk, End, Found, Frame, Progress
from app.readers.names import misnamed
from app.readers.options import Options
from app.readers.parent import DETECT, read_file

LABELS = 1_000
"""Different outputs that are counted; a column with more of them holds no labels."""

LONGEST_LABEL = 1_000
"""Characters; a column with a longer output holds no labels."""


@dataclass
class Preview:
    """A file under some options. `detected` None: it cannot be told how to read it; the first problem says why, or asks.

    `head` are the first records as they stand. `rows` counts the examples read, `problem_count` all problems, of which `problems` are
    the first ones, and `codes` counts them by their code; rows left out by a person's choice are counted in `left_out` by their problem's code, those whose label is read as another one in
    `merged` by what the file calls it. `outputs` counts every output; it
    is empty when they are no labels (`many_outputs`): more than LABELS different ones, or one of more than LONGEST_LABEL characters. `splits` counts the rows
    of each split that the file gives and that have an output: the others wait in none.
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
    codes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    merged: dict[str, int] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    share: float = 0.0
    complete: bool = False


def preview(path: str | Path, options: Options = DETECT, rows: int | None = None, filename: str = "") -> Preview:
    """Look at a file, to the end, or until `rows` examples were read or it shows that there will be none. Raises Invalid as read_file does.

    `filename` is what its owner calls it; that changes nothing but a note when the name says something else than the content.
    """
    found = Preview()
    for found in looking(path, options, filename):
        if rows is not None and (found.rows >= rows or _is_told(found, options)):
            break
    return found


def _is_told(found: Preview, options: Options) -> bool:
    """Whether the beginning says why there are no examples: there is no column to read, or every problem that is told is one of them already."""
    return found.detected is not None and (found.problem_count >= options.problems or (found.mapping is None and found.problem_count > 0))


def looking(path: str | Path, options: Options = DETECT, filename: str = "", each: Callable[[Chunk], None] | None = None) -> Iterator[Preview]:
    """The same preview again and again while it grows, to show how far it is. Leaving the iteration early ends the reading. `each` is shown every chunk."""
    found = Preview()
    with closing(read_file(path, options=options)) as frames:
        for frame in frames:
            _take(found, frame)
            if each is not None and isinstance(frame, Chunk):
                each(frame)
            if isinstance(frame, Found) and (note := misnamed(filename, frame.detected)):
                found.notes.append(note)
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
            found.rows, found.unlabelled, found.problem_count = frame.rows, frame.unlabelled, frame.problems
            found.notes, found.left_out, found.codes, found.merged = [*found.notes, *frame.notes], frame.left_out, frame.codes, frame.merged
            found.share, found.complete = 1.0, True


def _count(found: Preview, chunk: Chunk) -> None:
    found.rows += len(chunk.examples)
    found.share = chunk.share
    for example in chunk.examples:
        if example.split is not None and example.output is not None:
            found.splits[example.split] = found.splits.get(example.split, 0) + 1
        if example.output is None:
            found.unlabelled += 1
        elif not found.many_outputs:
            found.outputs[example.output] = found.outputs.get(example.output, 0) + 1
            found.many_outputs = len(found.outputs) > LABELS or len(example.output) > LONGEST_LABEL
    if found.many_outputs:
        found.outputs.clear()
