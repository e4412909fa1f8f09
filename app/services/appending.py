"""Appending a file to a dataset: what is new goes into the next version, what is there already stays where it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.db import reading
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example, known_by
from app.domain.lineage import KEYS_AT_ONCE, WISHES, Keep
from app.errors import Invalid
from app.readers import Example as Read
from app.readers import Note, Problem
from app.readers.frames import Broken, Chunk, End, Found, Frame
from app.readers.names import misnamed
from app.readers.options import Options
from app.services.datasets import DatasetView, find
from app.services.patience import to_its_end
from app.services.presets import preset
from app.services.versions import New, Watch, amend, derive

_Content = tuple[str, str | None, frozenset[Any]]
"""What makes two rows the same: input, output and all other cells."""

BROKEN = "broken_file"
"""The code of a refusal that has problems with their places."""

AT_ONCE_ROWS, AT_ONCE_BYTES = 20_000, 2_000_000
"""A version of up to so many rows takes a file of up to so many bytes within the request; anything longer is an upload with its progress."""


def at_once(person: Who, reference: int | str, size: int) -> bool:
    """Whether a file of so many bytes is appended while its sender waits: the older rows are copied, too."""
    return size <= AT_ONCE_BYTES and find(person, reference).version.rows <= AT_ONCE_ROWS


@dataclass(frozen=True)
class _Met:
    """Rows of a file beside those of a version: the ones that are new, those that give a waiting row its label (by its id), and how many stand there already."""

    new: list[Read]
    filled: dict[int, Read]
    repeated: int


def _meet(rows: Sequence[Read], keys: Sequence[int], there: set[_Content], waiting: Mapping[int, int], repeats: bool = False) -> _Met:
    """`there` grows by the rows that got their label: the same row again stands there."""
    new: list[Read] = []
    filled: dict[int, Read] = {}
    for row, content in zip(rows, keys, strict=True):
        key = waiting.get(content)
        if not repeats and _content(row) in there:
            continue
        if key is not None and row.output is not None and key not in filled:
            filled[key] = row
            there.add(_content(row))
        else:
            new.append(row)
    return _Met(new, filled, len(rows) - len(new) - len(filled))


def _content(row: Read) -> _Content:
    return row.input, row.output, _frozen(row.cells)


class Meeting:
    """Counts, before anything is stored, how the rows of a file would go into a dataset's newest version."""

    def __init__(self, person: Who, reference: int | str) -> None:
        """Raises NotFound when the dataset is gone."""
        self._version = find(person, reference).version
        self._new = self._repeated = 0
        # The ids of waiting rows that got a label, and hashes of the rows that gave it: their texts may be many.
        self._filled, self._given = set[int](), set[int]()

    def take(self, chunk: Chunk) -> None:
        there, waiting = _standing(self._version, set(chunk.keys))
        if self._given:
            there |= {content for row in chunk.examples if hash(content := _content(row)) in self._given}
        met = _meet(chunk.examples, chunk.keys, there, {content: key for content, key in waiting.items() if key not in self._filled})
        self._filled |= met.filled.keys()
        self._given |= {hash(_content(row)) for row in met.filled.values()}
        self._new += len(met.new)
        self._repeated += met.repeated

    def told(self) -> dict[str, Any]:
        """The version, and of the file's rows how many are new, stand there already, or give a waiting row its label."""
        return {"version": self._version.reference, "new": self._new, "repeated": self._repeated, "labelled": len(self._filled)}


class _Arrivals:
    """A file's rows on their way into a draft. Rows that are there already are left out; labels of waiting rows are filled in."""

    def __init__(self, frames: Iterator[Frame], repeats: bool, about: dict[str, Any], watch: Watch) -> None:
        self._frames, self._repeats, self._about, self._watch = frames, repeats, about, watch

    def __call__(self, draft: DatasetVersion) -> Iterator[Sequence[New]]:
        self._about.update(repeated=0, labelled=0)
        came = 0
        problems: list[Problem] = []
        named: Note | None = None
        for frame in self._frames:
            if isinstance(frame, Found):
                self._about["detected"] = asdict(frame.detected)
                named = misnamed(self._about["filename"], frame.detected)
            elif isinstance(frame, Broken):
                problems.append(frame.problem)
            elif isinstance(frame, Chunk) and not problems:
                new = self._new(draft, frame)
                came += len(new)
                self._watch.read = frame.share
                yield new
            elif isinstance(frame, End) and frame.problems:
                raise refused(problems, frame.problems)
            elif isinstance(frame, End):
                self._about["notes"] = [asdict(note) for note in (*([named] if named else ()), *frame.notes)]
                self._about.update({"left_out": sum(frame.left_out.values())} if frame.left_out else {})
        if not came and not self._about["labelled"]:
            raise Invalid("nothing_new", f"All {self._about['repeated']:,} rows of the file are in the dataset already.", "There is nothing to append.")

    def _new(self, draft: DatasetVersion, chunk: Chunk) -> list[New]:
        there, waiting = _standing(draft, set(chunk.keys))
        met = _meet(chunk.examples, chunk.keys, there, waiting, self._repeats)
        self._about["repeated"] += met.repeated
        self._about["labelled"] += len(met.filled)
        given = _given(list(met.filled))
        amend(draft, [{"key": key, "output": row.output, "split": WISHES[row.split or given[key] or ""]} for key, row in met.filled.items()])
        return [New(row.input, row.output, row.split, row.line, row.cells or None) for row in met.new]


def _standing(version: DatasetVersion, keys: set[int]) -> tuple[set[_Content], dict[int, int]]:
    """The rows of a version with these contents, and the ids of those among them that wait for a label, by content. Rows that a draft has got new are no
    older rows of it."""
    wanted = sorted(keys)
    there: set[_Content] = set()
    waiting: dict[int, int] = {}
    columns = Example.id, Example.content_key, Example.input, Example.output, Example.cells, Example.added_in
    with reading() as session:
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            for row in session.execute(select(*columns).where(known_by(session, version.id, wanted[start : start + KEYS_AT_ONCE]))):
                if version.sealed_at is not None or row.added_in != version.number:
                    there.add((row.input, row.output, _frozen(row.cells)))
                if row.output is None:
                    waiting[row.content_key] = row.id
    return there, waiting


def _given(keys: Sequence[int]) -> dict[int, str | None]:
    """The splits that waiting rows, by their ids, were given by the file they came with."""
    found: dict[int, str | None] = {}
    with reading() as session:
        for start in range(0, len(keys), KEYS_AT_ONCE):
            query = select(Example.id, Example.given).where(Example.id.in_(keys[start : start + KEYS_AT_ONCE]))
            found |= dict(session.execute(query).all())
    return found


def _frozen(cells: Mapping[str, Any] | None) -> frozenset[Any]:
    return frozenset((cells or {}).items())


def refused(problems: Sequence[Problem], count: int) -> Invalid:
    """What is said of a broken file; `count` are all its problems, of which the first are here."""
    first = problems[0]
    where = f"line {first.line}: " if first.line else ""
    message = f"The file was not taken: {count:,} problem{'s' if count > 1 else ''}."
    detail = {"problems": [asdict(problem) for problem in problems], "count": count}
    return Invalid(BROKEN, message, f"First, {where}{first.advice}", detail=detail)


def append_file(
    person: Who,
    reference: int | str,
    path: Path,
    filename: str,
    options: Options | None = None,
    reason: str = "",
    repeats: bool = False,
    watch: Watch | None = None,
    sha256: str | None = None,
    read: Callable[[Path, Options], Iterator[Frame]] = to_its_end,
) -> DatasetView:
    """The next version with a file's rows behind the others. Without options the file is read as the dataset's first one was (app/services/presets.py).
    The version remembers the file's name and the `sha256` of its bytes.

    A row that is in the dataset already is left out unless `repeats`; one whose text waits unlabelled there gives it its label.
    Raises Invalid with the problems of a broken file, or when nothing in it is new; Conflict when the version is not the newest.
    """
    watch = watch or Watch()
    version = find(person, reference).version
    about: dict[str, Any] = {"filename": filename, **({"sha256": sha256} if sha256 else {})}
    arrivals = _Arrivals(read(path, preset(version, path) if options is None else options), repeats, about, watch)
    return derive(person, version.reference, Keep("append", about), reason, arrivals, watch)
