"""What a file is packed in: gzip, ZIP, or nothing. Nothing is ever written to a disk; one member is read, or those that are a split each, others are only
looked at."""

import stat
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from app.readers import BrokenFile, Note, Packing, Problem, Row, Split
from app.readers.content import GZIP, ZIP, Content, Gzip, Member, most_unpacked, seekable, too_much
from app.readers.detect import detect
from app.readers.excerpts import visible
from app.readers.formats import READERS
from app.readers.names import splits_of
from app.readers.options import Options
from app.readers.workbook import kind_of_office

MEMBERS = 1_000
"""Most members of an archive."""

COUNTED = 10_000
"""Rows counted of a table that a person may choose."""

LISTED = 10
"""Tables named when a person has to choose."""

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")


@dataclass(frozen=True)
class Unpacked:
    """A table inside. `notes` may grow while it is read. `split` is the one that all its rows are in, where its file stands for one."""

    content: Content
    packing: Packing = ""
    member: str = ""
    notes: list[Note] = field(default_factory=list)
    split: Split | None = None


def unpack(file: Content, wanted: Options) -> list[Unpacked] | Problem:
    """What is to be read: one table, or the files of an archive that are a split each. Raises OSError, and BrokenFile for an archive that cannot be read."""
    head = _head(file)
    if head.startswith(ZIP):
        if problem := _too_many(file):
            return problem
        members = _members(file)
        if not kind_of_office({member.filename for member in members}):
            return _unsafe(members) or _of_archive(file, [member for member in members if not _is_left_by_a_system(member)], wanted)
    if wanted.members is not None:
        return Problem("no_archive", 0, "", "", "This is no ZIP archive of several files: none of them can be a split. Say nothing of members.")
    if not head.startswith(GZIP):
        return [Unpacked(file)]
    gzip = Gzip(file)
    problem = _not_packed_again(gzip)
    return problem or [Unpacked(gzip, "gzip", "", gzip.notes)]


def _of_archive(file: Content, members: Sequence[zipfile.ZipInfo], wanted: Options) -> list[Unpacked] | Problem:
    if wanted.members is not None:
        return _splits(file, members, wanted.members)
    one = _chosen(file, [member.filename for member in members], wanted)
    return one if isinstance(one, Problem) else [one]


def _splits(file: Content, members: Sequence[zipfile.ZipInfo], given: Mapping[str, str]) -> list[Unpacked] | Problem:
    """The files that are a split each, in the order in which they lie in the archive."""
    names = [member.filename for member in members]
    if missing := next((name for name in given if name not in names), None):
        return _no_such_member(missing, names)
    taken = sorted((member for member in members if given.get(member.filename)), key=lambda member: member.header_offset)
    if not taken:
        shown = ", ".join(visible(name) for name in names[:LISTED])
        return Problem("choose_splits", 0, "", "", f"Say of the files which split each is: train, validation, test or reserve. The archive holds: {shown}.")
    with file.open("rb") as stream:
        most = most_unpacked(stream.seek(0, 2))
    # No member gives more bytes than the archive says of it, so that this holds for all of them together.
    if sum(member.file_size for member in taken) > most:
        return Problem("unpacks_too_large", 0, "", "", too_much(most))
    others = [name for name in names if not given.get(name)]
    more = f" and {len(others) - LISTED:,} more" if len(others) > LISTED else ""
    notes = [Note("others_in_archive", f"Left out: {', '.join(map(visible, others[:LISTED]))}{more}.")] if others else []
    parts: list[Unpacked] = []
    for member in taken:
        one = _taken(file, member.filename, notes if not parts else [])
        if isinstance(one, Problem):
            return in_member(one, member.filename)
        parts.append(replace(one, split=cast("Split", given[member.filename])))
    return parts


def in_member(problem: Problem, name: str) -> Problem:
    """A problem in one of several files that are read."""
    return replace(problem, member=name, advice=f"{visible(name)}: {problem.advice}") if name else problem


def _no_such_member(wanted: str, names: Sequence[str]) -> Problem:
    shown = ", ".join(visible(name) for name in names[:LISTED])
    return Problem("no_such_member", 0, "", "", f"There is no '{visible(wanted)}' in the archive. It holds: {shown}.", "member", tuple(names))


def _told(names: Sequence[str]) -> str:
    """The splits that files seem to be, as a sentence; "" where fewer than two are called like one."""
    guessed = splits_of(names)
    each = ", ".join(f"{visible(name)} as {split}" for name, split in guessed.items())
    return f" Or read each file as a split: {each}." if len(guessed) > 1 else ""


def _head(content: Content) -> bytes:
    with content.open("rb") as stream:
        return stream.read(4)


def _not_packed_again(content: Content) -> Problem | None:
    """Why what was unpacked cannot be read: an archive again. Workbooks are archives too, and may be packed."""
    head = _head(content)
    if not head.startswith((GZIP, *ZIP)):
        return None
    if head.startswith(ZIP) and kind_of_office({member.filename for member in _members(content)}):
        return None
    return Problem("nested_archive", 0, "", "", "There is an archive inside the archive. Unpack it and upload the table inside.")


def _members(content: Content) -> list[zipfile.ZipInfo]:
    try:
        with seekable(content) as stream, zipfile.ZipFile(stream) as archive:
            return [member for member in archive.infolist() if not member.is_dir() or _is_unsafe(member)]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise BrokenFile("damaged_archive", "The ZIP archive is incomplete or damaged. Pack it again, or upload the table itself.") from error


def _too_many(file: Content) -> Problem | None:
    """A look at how many members the archive's last record claims, before all of them are read into memory."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - (1 << 16) - 200))
        tail = stream.read()
    at, at_64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise BrokenFile("damaged_archive", "The ZIP archive is incomplete or damaged. Pack it again, or upload the table itself.")
    count, length = _END.unpack_from(tail, at)[4:6]
    if 0 <= at_64 < at and len(tail) - at_64 >= _END_64.size:
        count, length = _END_64.unpack_from(tail, at_64)[7:9]
    if count <= MEMBERS and length <= MEMBERS * 1024:
        return None
    return Problem("too_many_members", 0, "", "", f"The archive holds more than {MEMBERS:,} files, which is the limit. Pack only the table.")


def _unsafe(members: list[zipfile.ZipInfo]) -> Problem | None:
    """Members no honest archive of tables has; the first one is named."""
    seen: set[str] = set()
    for member in members:
        name = visible(member.filename[:100])
        if _is_unsafe(member):
            return Problem("unsafe_member", 0, "", name, f"The archive holds '{name}', a name that points outside of it. Pack the table anew.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            return Problem("link_in_archive", 0, "", name, f"'{name}' is a link or a device; archives may not contain those. Pack the file itself.")
        if member.flag_bits & 0x1:
            return Problem("encrypted_archive", 0, "", name, f"'{name}' is encrypted; password-protected archives are not supported. Pack it without.")
        if member.filename.casefold() in seen:
            return Problem("duplicate_member", 0, "", name, f"'{name}' is in the archive twice. Pack it once.")
        seen.add(member.filename.casefold())
    return None


def _is_unsafe(member: zipfile.ZipInfo) -> bool:
    name = member.orig_filename
    parts = name.replace("\\", "/").split("/")
    return "\0" in name or "\\" in name or name.startswith("/") or ".." in parts or parts[0].endswith(":") or member.filename == ""


def _is_left_by_a_system(member: zipfile.ZipInfo) -> bool:
    """What macOS and Windows add to an archive unasked."""
    folder, _, name = member.filename.rpartition("/")
    return folder.split("/")[0] == "__MACOSX" or name.startswith("._") or name in (".DS_Store", "Thumbs.db", "desktop.ini")


def _chosen(file: Content, names: list[str], wanted: Options) -> Unpacked | Problem:
    """The one table of the archive, or the one a person chose; else the question which."""
    shown = ", ".join(visible(name) for name in names[:LISTED])
    if not names:
        return Problem("empty_archive", 0, "", "", "The archive holds no file. Pack the table into it.")
    if wanted.member is not None:
        if wanted.member not in names:
            return _no_such_member(wanted.member, names)
        return _taken(file, wanted.member, [])
    if len(names) == 1:
        return _taken(file, names[0], [])
    counts = {name: _count(Member(file, name), wanted) for name in names[:LISTED]}
    tables = [name for name, count in counts.items() if count]
    if len(tables) == 1 and len(names) <= LISTED:
        others = ", ".join(visible(name) for name in names if name != tables[0])
        return _taken(file, tables[0], [Note("others_in_archive", f"Read {visible(tables[0])}; left out, as they are no tables: {others}.")])
    if not tables and len(names) <= LISTED:
        return Problem("no_table_in_archive", 0, "", "", f"No file in the archive can be read as a table. It holds: {shown}.", "member", tuple(names))
    choices = ", ".join(f"{visible(name)} ({_rows(counts[name])})" for name in tables) or shown
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    asked = tuple(names if more else tables or names)
    return Problem("choose_member", 0, "", "", f"The archive holds several tables. Choose one: {choices}{more}.{_told(asked)}", "member", asked)


def _taken(file: Content, name: str, notes: list[Note]) -> Unpacked | Problem:
    content = Member(file, name)
    return _not_packed_again(content) or Unpacked(content, "zip", name, notes)


def _count(content: Content, wanted: Options) -> int:
    """How many rows of at least two columns can be read, up to COUNTED; none of a file that is no table."""
    try:
        how = None if _not_packed_again(content) else detect(content, wanted)
        if how is None or isinstance(how, Problem):
            return 0
        rows = problems = 0
        for item in READERS[how[0].format](content, how[0]):
            rows += isinstance(item, Row) and len(item.cells) > 1
            problems += isinstance(item, Problem)
            if rows >= COUNTED or problems > max(10, rows):
                break
        return rows if rows >= problems else 0
    except BrokenFile:
        return 0


def _rows(count: int) -> str:
    return f"more than {COUNTED:,} rows" if count >= COUNTED else f"{count:,} {'row' if count == 1 else 'rows'}"
