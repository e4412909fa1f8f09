"""A file as frames: how it is read, its examples in chunks, its first problems, and the sum at the end."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from app.domain.cutting import content_key
from app.readers import MAX_COLUMNS, MAX_ROWS, BrokenFile, Detected, Example, Mapping, Note, Problem, Row
from app.readers.columns import choose, example, labels_seen, told
from app.readers.content import Watched
from app.readers.detect import detect
from app.readers.formats import READERS, Item
from app.readers.frames import CHARACTERS, ROWS, Broken, Chunk, End, Found, Frame, Progress
from app.readers.options import Options
from app.readers.packing import Unpacked, unpack

MOST_TEXT = 1 << 30
"""Characters of all cells together; a small file may say the same large text a million times."""

SHOWN = 20
"""Records that are shown as they stand, so that a person sees how the file is read."""

SHOWN_CHARACTERS = 500
"""Most characters of a cell that is shown."""


def frames(path: Path, options: Options) -> Iterator[Frame]:
    """Everything there is to say about a file, which is read once, in chunks. Raises OSError when it cannot be opened."""
    file = Watched(path)
    opened = _opened(file, options)
    if isinstance(opened, Problem):
        yield from _frames([opened], file, options)
    else:
        yield from _read(*opened, file, options)


def _opened(file: Watched, options: Options) -> tuple[Unpacked, Detected, list[Note]] | Problem:
    try:
        unpacked = unpack(file, options)
        if isinstance(unpacked, Problem):
            return unpacked
        how = detect(unpacked.content, options)
    except BrokenFile as broken:
        return broken.problem
    if isinstance(how, Problem):
        return how
    return unpacked, replace(how[0], packing=unpacked.packing, member=unpacked.member), how[1]


def _read(unpacked: Unpacked, detected: Detected, notes: list[Note], file: Watched, options: Options) -> Iterator[Frame]:
    items = _to_the_end(READERS[detected.format](unpacked.content, detected), unpacked)
    # The columns of JSON records are those of the first chunk together: a record may leave out what it has no value for.
    first = _beginning(items)
    rows = [item for item in first if isinstance(item, Row)]
    columns = list(dict.fromkeys(name for row in rows for name in row.cells))
    guessed = None if detected.header or options.mapping else labels_seen(rows, columns) if detected.format in ("csv", "xlsx") else None
    mapping = guessed or _mapping(columns, options, detected) if columns else None
    yield Found(detected, columns, mapping if isinstance(mapping, Mapping) else None, [_cut(row) for row in rows[:SHOWN]])
    if isinstance(mapping, Mapping):
        notes = [*notes, *told(mapping, detected, guessed is not None)]
        yield from _frames(chain(notes, _examples(chain(first, items), mapping, detected)), file, options)
    else:
        unusable = [mapping] if mapping else []
        yield from _frames(chain(notes, unusable, (item for item in chain(first, items) if not isinstance(item, Row))), file, options)


def _beginning(items: Iterator[Item]) -> list[Item]:
    """The first items: a chunk of them, fewer when they are long."""
    taken, size = [], 0
    for item in islice(items, ROWS):
        taken.append(item)
        size += sum(map(len, item.cells.values())) if isinstance(item, Row) else 0
        if size > CHARACTERS:
            break
    return taken


def _cut(row: Row) -> Row:
    """A record to be looked at."""
    return Row(row.line, {name: cell if len(cell) <= SHOWN_CHARACTERS else cell[:SHOWN_CHARACTERS] + "…" for name, cell in row.cells.items()}, row.unusable)


def _to_the_end(items: Iterator[Item], unpacked: Unpacked) -> Iterator[Item]:
    """The items of a reader; where its bytes cannot be read on, the reason as the last of them."""
    try:
        yield from items
    except BrokenFile as broken:
        yield broken.problem
    yield from unpacked.notes


def _mapping(columns: list[str], options: Options, detected: Detected) -> Mapping | Problem:
    if len(columns) > MAX_COLUMNS:
        return Problem("too_many_columns", 1, "", "", f"The records name {len(columns):,} different fields; the limit is {MAX_COLUMNS}.")
    return choose(columns, options.mapping, detected)


def _examples(items: Iterable[Item], mapping: Mapping, detected: Detected) -> Iterator[Example | Problem | Note]:
    """Rows become examples. Rows without any value, which spreadsheets leave behind, are left out."""
    rows = empty = size = 0
    for item in items:
        if not isinstance(item, Row):
            yield item
        elif not item.cells.get(mapping.input, "").strip() and not any(map(str.strip, item.cells.values())) and not item.unusable:
            empty += 1
        elif rows == MAX_ROWS:
            yield Problem("too_many_rows", item.line, "", "", f"The file has more than {MAX_ROWS:,} rows, which is the limit. Cut it, or draw a sample.")
            break
        elif size > MOST_TEXT:
            yield Problem("too_much_text", item.line, "", "", f"The cells hold more than {MOST_TEXT:,} characters, which is the limit. Cut the file.")
            break
        else:
            rows += 1
            size += sum(map(len, item.cells.values()))
            yield example(item, mapping, detected.unit)
    if empty:
        yield Note("empty_rows", f"{empty:,} rows without any value were left out.")


def _frames(items: Iterable[Example | Problem | Note], file: Watched, options: Options) -> Iterator[Frame]:
    """Gather examples into chunks, tell the first problems, and count."""
    rows = unlabelled = problems = size = 0
    notes: list[Note] = []
    left_out: Counter[str] = Counter()
    chunk: list[Example] = []
    for item in items:
        if isinstance(item, Example):
            rows, unlabelled = rows + 1, unlabelled + (item.output is None)
            size += len(item.input) + len(item.output or "") + (sum(map(len, item.cells.values())) if item.cells else 0)
            chunk.append(item)
            if len(chunk) == ROWS or size > CHARACTERS:
                yield Chunk(chunk, file.share, [content_key(one.input) for one in chunk])
                chunk, size = [], 0
        elif isinstance(item, Note):
            notes.append(item)
        elif item.code in options.leave_out:
            left_out[item.code] += 1
        else:
            problems += 1
            if problems <= options.problems:
                yield Broken(item)
            elif problems % 10_000 == 0:
                yield Progress(rows, problems, file.share)
    if chunk:
        yield Chunk(chunk, file.share, [content_key(one.input) for one in chunk])
    if not rows and not problems:
        problems = 1
        yield Broken(Problem("no_rows", 1, "", "", "The file has no rows. Add rows, each with a value for the input."))
    if left_out:
        codes = ", ".join(f"{code} {count:,}" for code, count in sorted(left_out.items()))
        notes.append(Note("rows_left_out", f"{left_out.total():,} rows with a problem were left out ({codes})."))
    yield End(rows, unlabelled, problems, notes, dict(left_out))
