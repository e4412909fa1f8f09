"""A file as frames: how it is read, its examples in chunks, its first problems, and the sum at the end."""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Map
from itertools import chain, islice
from pathlib import Path

from app.readers import MAX_COLUMNS, MAX_ROWS, Detected, Example, Mapping, Note, Problem, Row, csv, json_lines, json_list
from app.readers.columns import choose, example
from app.readers.detect import detect
from app.readers.frames import CHARACTERS, ROWS, Broken, Chunk, End, Found, Frame, Progress
from app.readers.options import Options

KEPT = 20
"""Problems told in full; the others are counted."""

Item = Row | Problem | Note

READERS: Map[str, Callable[[Path, Detected], Iterator[Item]]] = {"csv": csv.read, "json_lines": json_lines.read, "json": json_list.read}


def frames(path: Path, options: Options) -> Iterator[Frame]:
    """Everything there is to say about a file, which is read once, in chunks. Raises OSError when it cannot be opened."""
    how = detect(path, options)
    if isinstance(how, Problem):
        yield from _frames([how])
        return
    detected, notes = how
    items = READERS[detected.format](path, detected)
    # The columns of JSON records are those of the first chunk together: a record may leave out what it has no value for.
    first = list(islice(items, ROWS))
    columns = list(dict.fromkeys(name for item in first if isinstance(item, Row) for name in item.cells))
    mapping = _mapping(columns, options, detected) if columns else None
    if isinstance(mapping, Mapping):
        yield Found(detected, columns, mapping)
        yield from _frames(chain(notes, _examples(chain(first, items), mapping)))
    else:
        unusable = [mapping] if mapping else []
        yield from _frames(chain(notes, unusable, (item for item in chain(first, items) if not isinstance(item, Row))))


def _mapping(columns: list[str], options: Options, detected: Detected) -> Mapping | Problem:
    if len(columns) > MAX_COLUMNS:
        return Problem("too_many_columns", 1, "", "", f"The records name {len(columns):,} different fields; the limit is {MAX_COLUMNS}.")
    return choose(columns, options.mapping, detected)


def _examples(items: Iterable[Item], mapping: Mapping) -> Iterator[Example | Problem | Note]:
    """Rows become examples. Rows without any value, which spreadsheets leave behind, are left out."""
    rows = empty = 0
    for item in items:
        if not isinstance(item, Row):
            yield item
        elif not any(map(str.strip, item.cells.values())):
            empty += 1
        elif rows == MAX_ROWS:
            yield Problem("too_many_rows", item.line, "", "", f"The file has more than {MAX_ROWS:,} rows, which is the limit. Cut it, or draw a sample.")
            break
        else:
            rows += 1
            yield example(item, mapping)
    if empty:
        yield Note("empty_rows", f"{empty:,} rows without any value were left out.")


def _frames(items: Iterable[Example | Problem | Note]) -> Iterator[Frame]:
    """Gather examples into chunks, tell the first problems, and count."""
    rows = unlabelled = problems = size = 0
    notes: list[Note] = []
    chunk: list[Example] = []
    for item in items:
        if isinstance(item, Note):
            notes.append(item)
        elif isinstance(item, Problem):
            problems += 1
            if problems <= KEPT:
                yield Broken(item)
            elif problems % 10_000 == 0:
                yield Progress(rows, problems)
        else:
            rows, unlabelled = rows + 1, unlabelled + (item.output is None)
            size += len(item.input) + len(item.output or "") + sum(map(len, item.cells.values()))
            chunk.append(item)
            if len(chunk) == ROWS or size > CHARACTERS:
                yield Chunk(chunk)
                chunk, size = [], 0
    if chunk:
        yield Chunk(chunk)
    if not rows and not problems:
        problems = 1
        yield Broken(Problem("no_rows", 1, "", "", "The file has no rows. Add rows, each with a value for the input."))
    yield End(rows, unlabelled, problems, notes)
