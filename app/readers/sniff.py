"""What the bytes of a file are, whatever its name says: its encoding, or the sentence for a file that is no table."""

import codecs
import io
import re
from dataclasses import dataclass

from app.readers import Note, Problem
from app.readers.content import Content
from app.readers.excerpts import excerpt

HEAD = 1 << 20
"""Bytes looked at to tell the format, the delimiter and the header. The encoding is checked to the end of the file."""

TELLING = 1000
"""Bytes beyond ASCII that are enough to tell UTF-8 by."""

PARQUET = b"PAR1"

_NOT_READ = "{what} files are not read. Export the table as CSV (UTF-8) and upload that."
_NOT_A_TABLE = "This is {what}, not a table. Accepted: CSV, TSV, JSON, JSON Lines, Parquet, XLSX, and these in a ZIP or gzip."
_DAMAGED_PARQUET = "This Parquet file is incomplete or damaged. Write it again, or export the table as CSV (UTF-8)."

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PARE", "encrypted_parquet", "Encrypted Parquet"),
    (b"BZh", "archive", "Bzip2-compressed"),
    (b"\xfd7zXZ\x00", "archive", "XZ-compressed"),
    (b"\x28\xb5\x2f\xfd", "archive", "Zstandard-compressed"),
    (b"7z\xbc\xaf\x27\x1c", "archive", "7-Zip"),
    (b"Rar!", "archive", "RAR"),
    (b"ARROW1", "arrow", "Arrow"),
    (b"SQLite format 3\x00", "sqlite", "SQLite"),
    (b"%PDF-", "", "a PDF"),
    (b"\x89PNG", "", "an image (PNG)"),
    (b"\xff\xd8\xff", "", "an image (JPEG)"),
    (b"GIF8", "", "an image (GIF)"),
    (b"\x7fELF", "", "a program"),
    (b"MZ", "", "a program"),
    (b"\x89HDF", "", "an HDF5 file"),
    (b"{\\rtf", "", "an RTF document"),
    (b"GGUF", "", "a model (GGUF)"),
    (b"\x93NUMPY", "", "a NumPy array"),
    (b"\x80\x02", "", "a Python pickle"),
    (b"\x80\x03", "", "a Python pickle"),
    (b"\x80\x04", "", "a Python pickle"),
    (b"\x80\x05", "", "a Python pickle"),
)

_SPELT = (b"PARE", b"BZh", b"Rar!", b"ARROW1", b"GIF8", b"MZ", b"GGUF")
"""A table's first words may begin like these, too: they count with the zeros that every such file has, and no text."""

# Longest first: the mark of UTF-32 little-endian begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_NOT_IN_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


@dataclass(frozen=True)
class Sniffed:
    """The encoding, the decoded beginning (without the byte order mark), whether that is the whole file, what to tell, and whether
    the bytes themselves show that they are Unicode."""

    encoding: str
    head: str
    complete: bool
    note: Note | None = None
    unicode: bool = False


def sniff(content: Content, encoding: str | None = None) -> Sniffed | Problem:
    """Look at a file's bytes. A given `encoding` is believed. Raises OSError when the file cannot be opened."""
    with content.open("rb") as stream:
        head = stream.read(HEAD)
    if not head:
        return Problem("empty_file", 1, "", "", "The file is empty. Choose a file with a header such as input,output and rows below it.")
    note, unicode = None, False
    if encoding is None:
        refused = _binary(head)
        found = refused or _encoding(content, head)
        if isinstance(found, Problem):
            return found
        encoding, note = found
        unicode = encoding.startswith("utf") and (encoding != "utf-8" or _spells_utf8(content))
    elif encoding.startswith("utf-16"):
        # A mark decides which byte comes first; without one it is the lesser, as on nearly all machines.
        marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "utf-16" if marked else "utf-16-le" if encoding == "utf-16" else encoding
    text = head.decode(encoding, errors="replace")
    return _web_page(text) or Sniffed(encoding, text, len(head) < HEAD, note, unicode)


def _binary(head: bytes) -> Problem | None:
    if head.startswith(_OLD_OFFICE):
        sentence = "This workbook is password-protected or in the old .xls format. Save it as an unprotected .xlsx, or as CSV (UTF-8)."
        return Problem("old_office", 1, "", excerpt(head[:8].decode("latin-1")), sentence)
    if head[257:262] == b"ustar":
        return Problem("archive_not_read", 1, "", excerpt(head[:8].decode("latin-1")), _NOT_READ.format(what="Tar"))
    for magic, code, what in _MAGIC:
        if head.startswith(magic) and (magic not in _SPELT or not _is_text(head)):
            sentence = (_NOT_READ if code else _NOT_A_TABLE).format(what=what)
            return Problem(f"{code}_not_read" if code else "not_a_table", 1, "", excerpt(head[:8].decode("latin-1")), sentence)
    return None


def _encoding(content: Content, head: bytes) -> tuple[str, Note | None] | Problem:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return _not_utf8(head, "UTF-32") if name == "utf-32" else (name, None)
    if b"\0" in head and _last(content) == PARQUET:
        return Problem("damaged_parquet", 1, "", excerpt(head[:8].decode("latin-1")), _DAMAGED_PARQUET)
    if wide := _wide(head):
        return _not_utf8(head, wide)
    if 5 * head.count(0) > len(head) or (not _is_utf8(head) and len(_CONTROL.findall(head)) > len(head) // 20):
        return Problem("not_a_table", 1, "", excerpt(head[:40].decode("latin-1")), _NOT_A_TABLE.format(what="binary data"))
    return _one_byte_or_utf8(content)


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 without its mark, which shows in where the zeros stand; "" for anything else."""
    zeros = [head[at::4].count(0) / max(1, len(head[at::4])) for at in range(4)]
    if sum(share > 0.9 for share in zeros) == 3:
        return "UTF-32"
    even, odd = (zeros[0] + zeros[2]) / 2, (zeros[1] + zeros[3]) / 2
    return "UTF-16" if max(even, odd) > 0.4 and min(even, odd) < 0.05 else ""


def _last(content: Content) -> bytes:
    """The last four bytes of a file; none of a packed one."""
    with content.open("rb") as stream:
        if not stream.seekable():
            return b""
        stream.seek(max(0, stream.seek(0, io.SEEK_END) - 4))
        return stream.read()


def _is_utf8(head: bytes) -> bool:
    """Whether these bytes begin a UTF-8 text; the last character may be cut."""
    try:
        codecs.utf_8_decode(head, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def _is_text(head: bytes) -> bool:
    """Whether these bytes may be a text in an encoding that ASCII is part of: there is no zero in them, and hardly another control character."""
    return b"\0" not in head and len(_CONTROL.findall(head)) <= len(head) // 20


def is_parquet(content: Content) -> bool:
    """Whether a file is Parquet, be it damaged: a text that begins with the same letters does not end with them, and holds no zeros."""
    with content.open("rb") as stream:
        head = stream.read(len(PARQUET))
        if head != PARQUET:
            return False
        head += stream.read(HEAD)
    return not _is_text(head) or _last(content) == PARQUET


def _not_utf8(head: bytes, looks_like: str) -> Problem:
    sentence = f"This file is not UTF-8. It looks like {looks_like}. Save it as UTF-8 and upload again."
    likely = ("utf-16-be" if head[:1] == b"\0" else "utf-16-le",) if looks_like == "UTF-16" else ()
    return Problem("encoding_not_read", 1, "", excerpt(head[:40].decode("latin-1")), sentence, "encoding" if likely else "", likely)


def _one_byte_or_utf8(content: Content) -> tuple[str, Note | None]:
    """UTF-8 unless every line says otherwise. Bad bytes in a file with good UTF-8 stay problems of their lines.

    Western text in Windows-1252 has its non-ASCII letters one or two at a time and practically never spells valid UTF-8;
    other one-byte and two-byte encodings come in longer runs, and are not guessed at.
    """
    first: tuple[int, bytes] | None = None
    with content.open("rb") as stream:
        if all(block.isascii() for block in iter(lambda: stream.read(HEAD), b"")):
            return "utf-8", None
    with content.open("rb") as stream:
        for line, raw in enumerate(iter(lambda: stream.readline(HEAD), b""), 1):
            if raw.isascii():
                continue
            if _MULTIBYTE.search(raw) or _NOT_IN_1252.search(raw) or max(map(len, _HIGH_RUN.findall(raw))) > 2:
                return "utf-8", None
            at = next(_HIGH_RUN.finditer(raw)).start()
            first = first or (line, raw[max(0, at - 20) : at + 20])
    if first is None:
        return "utf-8", None
    shown = excerpt(first[1].decode("cp1252").strip())
    sentence = f"The file is not UTF-8 (first on line {first[0]}) and was read as Windows-1252: {shown}. Choose another encoding if this looks wrong."
    return "cp1252", Note("read_as_windows_1252", sentence)


def _spells_utf8(content: Content) -> bool:
    """Whether most of the bytes beyond ASCII are letters of UTF-8; by the first blocks that have any, wherever in the file they stand."""
    high = spelt = 0
    with content.open("rb") as stream:
        for block in iter(lambda: stream.read(HEAD), b""):
            if not block.isascii():
                high += sum(map(len, _HIGH_RUN.findall(block)))
                spelt += sum(map(len, _MULTIBYTE.findall(block)))
            if high > TELLING:
                break
    return 2 * spelt > high


def _web_page(text: str) -> Problem | None:
    start = text[:200].lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        return Problem("web_page", 1, "", excerpt(text), "This looks like a web page, not a table. Download the data itself and upload that.")
    if start.startswith("version https://git-lfs"):
        return Problem("git_lfs_pointer", 1, "", excerpt(text), "This is a Git LFS pointer, not the data. Fetch the file with `git lfs pull` and upload that.")
    return None
