"""A file as frames: how it is read, its examples in chunks, its first problems, and the sum at the end."""

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace as changed

from app.domain.cutting import content_key
from app.readers import MAX_COLUMNS, MAX_ROWS, BrokenFile, Detected, Example, Mapping, Note, Problem, Row, Split
from app.readers.columns import choose, example, joined_already, labels_seen, lacking, refusal_saved, told
from app.readers.content import Watched
from app.readers.detect import detect
from app.readers.excerpts import visible
from app.readers.formats import READERS, Item
from app.readers.frames import CHARACTERS, ROWS, Broken, Chunk, End, Found, Frame, Progress
from app.readers.options import Options
from app.readers.packing import Unpacked, in_member, unpack
from app.readers.parquet import label_names

MOST_TEXT = 1 << 30
"""Characters of all cells together; a small file may say the same large text a million times."""

COUNTED = 6
"""Rows are counted up to so many times the limit."""

SHOWN = 20
"""Records that are shown as they stand, so that a person sees how the file is read."""

SHOWN_CHARACTERS = 500
"""Most characters of a cell that is shown."""


Said = TypeVar("Said")


@dataclass(frozen=True)
class Part:
    """One table on its way through: where its bytes come from and how they are read."""

    unpacked: Unpacked
    detected: Detected
    notes: list[Note]

    @property
    def name(self) -> str:
        """The file of an archive that it is, where several are read."""
        return self.unpacked.member if self.unpacked.split else ""

    def items(self) -> Iterator[Item]:
        return _to_the_end(READERS[self.detected.format](self.unpacked.content, self.detected), self.unpacked)

    def named(self, item: Said) -> Said | Problem:
        """What is said of its records: a problem names the file, where there are several."""
        return in_member(item, self.name) if isinstance(item, Problem) else item


def frames(path: Path, options: Options) -> Iterator[Frame]:
    """Everything there is to say about a file, which is read in chunks: once, but for a look at its beginning. Raises OSError when it cannot be opened."""
    file = Watched(path)
    opened = _opened(file, options)
    if isinstance(opened, Problem):
        yield from _frames([opened], file, options)
    else:
        yield from _read(opened, file, options)


def _opened(file: Watched, options: Options) -> list[Part] | Problem:
    """The tables to read: one, or the files of an archive that are a split each."""
    parts: list[Part] = []
    try:
        unpacked = unpack(file, options)
    except BrokenFile as broken:
        return broken.problem
    if isinstance(unpacked, Problem):
        return unpacked
    for one in unpacked:
        try:
            how = detect(one.content, options)
        except BrokenFile as broken:
            how = broken.problem
        if isinstance(how, Problem):
            return in_member(how, one.member if one.split else "")
        parts.append(Part(one, replace(how[0], packing=one.packing, member=one.member), how[1]))
    return parts


def _read(parts: list[Part], file: Watched, options: Options) -> Iterator[Frame]:
    looks = [_look(part, SHOWN // len(parts) or int(number < SHOWN)) for number, part in enumerate(parts)] if parts[0].name else []
    items = parts[0].items()
    # The columns of JSON records are those of the first chunk together: a record may leave out what it has no value for.
    first = _beginning(items)
    rows = [item for item in first if isinstance(item, Row)]
    columns = list(dict.fromkeys(chain((name for row in rows for name in row.cells), *(look.columns for look in looks))))
    detected = _detected(parts)
    guessed = None if detected.header or options.mapping else labels_seen(rows, columns) if detected.format in ("csv", "xlsx") else None
    mapping = guessed or refusal_saved(rows, columns, options, detected) or _mapping(columns, options, detected) if columns else None
    joined = joined_already(rows, columns, mapping) if isinstance(mapping, Mapping) else None
    columns = [name for name in columns if name != joined]
    head = [row for look in looks for row in look.head] or [_cut(row) for row in rows[:SHOWN]]
    chosen = mapping if isinstance(mapping, Mapping) else None
    yield Found(detected, columns, chosen, head, _label_names(parts[0], chosen))
    notes = [note for part in parts for note in part.notes]
    everything = chain([(parts[0], chain(first, items))], ((part, part.items()) for part in parts[1:]))
    differing = _differing(looks, columns, mapping) if isinstance(mapping, Mapping) else []
    if isinstance(mapping, Mapping) and not any(isinstance(one, Problem) for one in differing):
        notes += told(mapping, detected, guessed is not None)
        yield from _frames(chain(notes, differing, _examples(everything, mapping, joined, options.split)), file, options)
    else:
        unusable = [mapping] if isinstance(mapping, Problem) else []
        others = (part.named(item) for part, rest in everything for item in rest if not isinstance(item, Row))
        yield from _frames(chain(notes, differing, unusable, () if differing else others), file, options)


def _label_names(part: Part, mapping: Mapping | None) -> list[str]:
    """What the numbers of the output mean, where the file says it."""
    if mapping is None or mapping.output is None or part.detected.format != "parquet":
        return []
    return label_names(part.unpacked.content, mapping.output)


@dataclass(frozen=True)
class _Look:
    """The columns of one file among several, and its first records as they are shown."""

    part: Part
    columns: list[str]
    head: list[Row]


def _look(part: Part, shown: int) -> _Look:
    """A look at the beginning of a file that is read later."""
    rows = [item for item in _beginning(part.items()) if isinstance(item, Row)]
    return _Look(part, list(dict.fromkeys(name for row in rows for name in row.cells)), [_cut(row, part.name) for row in rows[:shown]])


def _detected(parts: list[Part]) -> Detected:
    """How the table is read; of several files, how the first one is."""
    if not parts[0].name:
        return parts[0].detected
    return replace(parts[0].detected, member="", members={part.name: part.unpacked.split for part in parts if part.unpacked.split})


def _differing(looks: list[_Look], columns: list[str], mapping: Mapping) -> list[Problem | Note]:
    """Where files that are read as one table have other columns: a problem if it is one that is read, else something to know."""
    found: list[Problem | Note] = []
    for look in looks:
        if not look.columns:  # why there are none is told when it is read
            continue
        name, missing = look.part.name, lacking(look.columns, mapping)
        if missing is not None:
            have = next(other.part.name for other in looks if missing in other.columns)
            advice = f"There is no column '{visible(missing)}', which {visible(have)} has. The columns are: {', '.join(map(visible, look.columns))}."
            found.append(in_member(Problem("columns_differ", 0, missing, "", f"{advice} Rename it there, choose another column, or leave the file out."), name))
        elif others := [column for column in columns if column not in look.columns]:
            found.append(Note("columns_differ", f"{visible(name)} goes without the columns {', '.join(map(visible, others))} of the other files."))
    return found


def _beginning(items: Iterator[Item]) -> list[Item]:
    """The first items: a chunk of them, fewer when they are long."""
    taken, size = [], 0
    for item in islice(items, ROWS):
        taken.append(item)
        size += sum(map(len, item.cells.values())) if isinstance(item, Row) else 0
        if size > CHARACTERS:
            break
    return taken


def _cut(row: Row, member: str = "") -> Row:
    """A record to be looked at."""
    cells = {name: cell if len(cell) <= SHOWN_CHARACTERS else cell[:SHOWN_CHARACTERS] + "…" for name, cell in row.cells.items()}
    return Row(row.line, cells, row.unusable, member)


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
    if not detected.members:
        return choose(columns, {**options.mapping, **({"split": None} if options.split else {})}, detected)
    if name := options.mapping.get("split"):
        return Problem("split_twice", 0, str(name), "", "Each file is a split already: a column cannot say it, too. Choose none for the split.")
    return choose(columns, {**options.mapping, "split": None}, detected)


def _examples(parts: Iterable[tuple[Part, Iterable[Item]]], mapping: Mapping, joined: str | None, whole: Split | None) -> Iterator[Example | Problem | Note]:
    """Rows become examples; all of them are in the split `whole`, where there is one. Rows without any value, which spreadsheets leave behind, are left out."""
    rows = empty = size = 0
    full = False
    for part, items in parts:
        unit, given, named = part.detected.unit, part.unpacked.split or whole, part.named
        for item in items:
            if not isinstance(item, Row):
                yield named(item)
            elif not item.cells.get(mapping.input, "").strip() and not any(map(str.strip, item.cells.values())) and not item.unusable:
                empty += 1
            elif full := rows == MAX_ROWS:
                yield named(_too_many(item, chain(items, (row for _, rest in parts for row in rest))))
                break
            elif full := size > MOST_TEXT:
                yield named(
                    Problem("too_much_text", item.line, "", "", f"The cells hold more than {MOST_TEXT:,} characters, which is the limit. Cut the file.")
                )
                break
            else:
                rows += 1
                size += sum(map(len, item.cells.values()))
                found = example(item, mapping, unit, joined, given)
                yield found if given is None else named(found)
        if full:
            break
    if empty:
        yield Note("empty_rows", f"{empty:,} rows without any value were left out.")


def _too_many(first: Row, rest: Iterator[Item]) -> Problem:
    """What is said of the `first` row beyond the limit. Those behind it are only counted, and no further than a person needs to know."""
    most = COUNTED * MAX_ROWS
    rows = MAX_ROWS + 1 + sum(1 for _ in islice((item for item in rest if isinstance(item, Row)), most - MAX_ROWS))
    found = f"more than {most:,}" if rows > most else f"{rows:,}"
    return Problem("too_many_rows", first.line, "", "", f"The file has {found} rows; the limit is {MAX_ROWS:,}. Cut it, or draw a sample.")


def _labelled(example: Example, labels: Map[str, str], merged: Counter[str]) -> Example:
    """An example by the label that its own one is read as."""
    if example.output is None or (into := labels.get(example.output)) is None:
        return example
    merged[example.output] += 1
    return changed(example, output=into)


def _frames(items: Iterable[Example | Problem | Note], file: Watched, options: Options) -> Iterator[Frame]:
    """Gather examples into chunks, tell the first problems, and count."""
    rows = unlabelled = problems = size = 0
    notes: list[Note] = []
    left_out, codes, merged = Counter[str](), Counter[str](), Counter[str]()
    labels = options.labels or {}
    chunk: list[Example] = []
    for item in items:
        if isinstance(item, Example):
            rows, unlabelled = rows + 1, unlabelled + (item.output is None)
            size += len(item.input) + len(item.output or "") + (sum(map(len, item.cells.values())) if item.cells else 0)
            chunk.append(_labelled(item, labels, merged) if labels else item)
            if len(chunk) == ROWS or size > CHARACTERS:
                yield Chunk(chunk, file.share, [content_key(one.input) for one in chunk])
                chunk, size = [], 0
        elif isinstance(item, Note):
            notes.append(item)
        elif item.code in options.leave_out:
            left_out[item.code] += 1
        else:
            problems += 1
            codes[item.code] += 1
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
        said = ", ".join(f"{code} {count:,}" for code, count in sorted(left_out.items()))
        notes.append(Note("rows_left_out", f"{left_out.total():,} rows with a problem were left out ({said})."))
    if merged:
        said = ", ".join(f"“{visible(label)}” as “{visible(labels[label])}”" for label in sorted(merged)[:5]) + (" and others" if len(merged) > 5 else "")
        notes.append(Note("labels_merged", f"The label of {merged.total():,} {'row is' if merged.total() == 1 else 'rows is'} read as another one ({said})."))
    yield End(rows, unlabelled, problems, notes, dict(left_out), dict(codes), dict(merged))
