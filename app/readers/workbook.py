"""An XLSX workbook: which sheets it has, how its cells are formatted, and its table of texts.

The parts are read with expat, which streams, and never with a declaration of entities in them: those are how small XML grows
large. Cells keep the digits that are stored; a library that hands out floats and dates cannot tell 7 from 007 any more.
"""

import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from posixpath import dirname, join, normpath
from xml.parsers import expat

from app.readers import BrokenFile
from app.readers.content import Content, Held, Member, seekable
from app.readers.xlsx_formats import BUILT_IN

PIECE = 1 << 16

UNSAFE = "This workbook is damaged or unsafe. Open it, save it as a new .xlsx, or export the table as CSV (UTF-8)."

_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_OFFICE = {
    "xl/workbook.bin": "This is a binary workbook (.xlsb). Save it as .xlsx, or export the table as CSV (UTF-8).",
    "word/document.xml": "This is a Word document, not a table. Export the table in it as CSV (UTF-8).",
    "ppt/presentation.xml": "This is a presentation, not a table. Export the table in it as CSV (UTF-8).",
    "META-INF/manifest.xml": "This is an OpenDocument file. Save the sheet as .xlsx, or export the table as CSV (UTF-8).",
}
_MACROS = "xl/vbaProject.bin"

Attributes = dict[str, str]


def kind_of_office(names: Collection[str]) -> str:
    """What an archive with these members is: "xlsx", the sentence for an office file that is not read, or "" for any other archive."""
    if "xl/workbook.xml" in names:
        return "xlsx"
    if "[Content_Types].xml" not in names and not ("META-INF/manifest.xml" in names and "content.xml" in names):
        return ""
    return next((sentence for name, sentence in _OFFICE.items() if name in names), "This is not a workbook that can be read. Export the table as CSV (UTF-8).")


@dataclass(frozen=True)
class Sheet:
    name: str
    hidden: bool
    part: str


@dataclass(frozen=True)
class Workbook:
    """What has to be known before a sheet can be read. `formats` holds the number format of each cell style, "" for General."""

    archive: Content
    sheets: tuple[Sheet, ...]
    formats: tuple[str, ...]
    since_1904: bool
    macros: bool
    texts_part: str

    @cached_property
    def texts(self) -> list[str]:
        """The workbook's table of texts. Takes memory by its size, which the cap on the child bounds."""
        return list(_texts(Member(self.archive, self.texts_part))) if self.texts_part else []


def open_workbook(content: Content) -> Workbook:
    """Raises BrokenFile for what is no workbook, is damaged, or is unsafe."""
    with seekable(content) as stream:
        archive = content if _is_seekable(content) else Held(stream.read())
        try:
            stream.seek(0)
            with zipfile.ZipFile(stream) as parts:
                names = {member.filename for member in parts.infolist()}
                if any(member.flag_bits & 0x1 for member in parts.infolist()):
                    raise BrokenFile("encrypted_archive", "This workbook is encrypted. Save it without a password.")
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise BrokenFile("damaged_workbook", UNSAFE) from error
    kind = kind_of_office(names)
    if kind != "xlsx":
        raise BrokenFile("not_a_workbook", kind or "This is an archive, not a workbook. Upload the table itself, or the archive of one table.")
    book = Member(archive, "xl/workbook.xml")
    sheets: list[tuple[str, bool, str]] = []
    since_1904, links = False, _links(archive, names)
    for tag, attributes in _starts(book):
        if tag == "sheet":
            sheets.append((attributes.get("name", ""), attributes.get("state", "visible") != "visible", _key(attributes)))
        elif tag == "workbookPr":
            since_1904 = attributes.get("date1904", "") in ("1", "true")
    found = tuple(Sheet(name, hidden, links[key][1]) for name, hidden, key in sheets if key in links and links[key][0].endswith("/worksheet"))
    if not found:
        raise BrokenFile("no_sheet", "This workbook has no sheet with cells. Put the table on a sheet.")
    texts = next((part for kind, part in links.values() if kind.endswith("/sharedStrings") and part in names), "")
    styles = next((part for kind, part in links.values() if kind.endswith("/styles") and part in names), "")
    return Workbook(archive, found, _formats(Member(archive, styles)) if styles else (), since_1904, _MACROS in names, texts)


def _key(attributes: Attributes) -> str:
    """The key of a part, whose attribute is the one with a namespace."""
    return next((value for name, value in attributes.items() if name.endswith(" id")), "")


def _is_seekable(content: Content) -> bool:
    with content.open("rb") as stream:
        return stream.seekable()


def _links(archive: Content, names: Collection[str]) -> dict[str, tuple[str, str]]:
    """The workbook's parts: by key, what each is and where."""
    place = "xl/_rels/workbook.xml.rels"
    if place not in names:
        raise BrokenFile("damaged_workbook", UNSAFE)
    links = {}
    for tag, attributes in _starts(Member(archive, place)):
        if tag == "Relationship" and attributes.get("TargetMode") != "External":
            target = attributes.get("Target", "")
            part = target.lstrip("/") if target.startswith("/") else normpath(join(dirname("xl/workbook.xml"), target))
            links[attributes.get("Id", "")] = (attributes.get("Type", ""), part)
    return links


def _formats(styles: Member) -> tuple[str, ...]:
    own: dict[str, str] = {}
    formats: list[str] = []
    inside = False
    for tag, attributes in _starts(styles):
        if tag == "numFmt":
            own[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
        elif tag in ("cellXfs", "cellStyles", "cellStyleXfs", "dxfs"):
            inside = tag == "cellXfs"
        elif tag == "xf" and inside:
            key = attributes.get("numFmtId", "0")
            formats.append(own[key] if key in own else BUILT_IN.get(int(key) if key.isdecimal() else 0, ""))
    return tuple(formats)


def _starts(content: Content) -> Iterator[tuple[str, Attributes]]:
    """The elements of a part with their attributes, as they begin."""
    found: list[tuple[str, Attributes]] = []
    for _ in parse(content, lambda tag, attributes: found.append((tag, attributes)), None, None):
        yield from found
        found.clear()


def _texts(content: Content) -> Iterator[str]:
    found: list[str] = []
    pieces: list[str] = []
    reading = [False, False]  # inside of a text; inside of a reading aid, which is not part of it

    def start(tag: str, _: Attributes) -> None:
        if tag == "si":
            pieces.clear()
        elif tag == "rPh":
            reading[1] = True
        reading[0] = tag == "t"

    def end(tag: str) -> None:
        if tag == "si":
            found.append(unescaped("".join(pieces)))
        elif tag == "rPh":
            reading[1] = False
        reading[0] = False

    def text(data: str) -> None:
        if reading[0] and not reading[1]:
            pieces.append(data)

    for _ in parse(content, start, end, text):
        yield from found
        found.clear()


def unescaped(text: str) -> str:
    """A text with its `_x000D_` as the characters they stand for."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def parse(content: Content, start: Callable[[str, Attributes], None], end: Callable[[str], None] | None, text: Callable[[str], None] | None) -> Iterator[None]:
    """Feed a part to the handlers, elements without their namespaces, and stop after each piece. Raises BrokenFile for XML that is broken or unsafe."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    short: dict[str, str] = {}

    def bare(name: str) -> str:
        return short.setdefault(name, name.rpartition(" ")[2])

    def refuse(*_: object) -> None:
        raise BrokenFile("unsafe_workbook", UNSAFE)

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda tag, attributes: start(short.get(tag) or bare(tag), attributes)
    if end is not None:
        parser.EndElementHandler = lambda tag: end(short.get(tag) or bare(tag))
    parser.CharacterDataHandler = text
    try:
        with content.open("rb") as stream:
            while piece := stream.read(PIECE):
                parser.Parse(piece, False)
                yield
            parser.Parse(b"", True)
            yield
    except (expat.ExpatError, ValueError) as error:
        raise BrokenFile("damaged_workbook", UNSAFE) from error
