"""Where the bytes of a table come from: a file as it lies there, or something packed in one, unpacked while it is read and counted."""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from app.readers import UNPACKED, BrokenFile, Note

PIECE = 1 << 16
"""Bytes unpacked at a time."""

HELD = 64 << 20
"""Most bytes of a packed file that has to be read from its end, which means: held in memory."""

RATIO = 100
FREELY = 64 << 20
"""What unpacks to more than this may not be more than RATIO times its packed size."""

GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")

_TOO_LARGE = "Upload less at a time, or the file as it is, not packed."


class Content(Protocol):
    """Bytes that can be read from their beginning as often as one likes. A Path is one."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """A new stream. Raises OSError; reading a packed one raises BrokenFile."""


class Watched:
    """A file, and how much of it was read."""

    def __init__(self, path: Path) -> None:
        self._path, self._stream = path, path.open("rb")
        self._stream.close()
        self._size = path.stat().st_size

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        self._stream = self._path.open(mode)
        return self._stream

    @property
    def share(self) -> float:
        """How far the stream opened last has come, from 0 to 1."""
        return 1.0 if self._stream.closed or not self._size else min(1.0, self._stream.tell() / self._size)


@dataclass(frozen=True)
class Held:
    """Bytes in memory."""

    data: bytes

    def open(self, _: Literal["rb"], /) -> BinaryIO:
        return io.BytesIO(self.data)


@dataclass(frozen=True)
class Gzip:
    """What a gzip file holds, its parts joined. `notes` grows when the reading comes upon something."""

    packed: Content
    notes: list[Note] = field(default_factory=list)

    def open(self, _: Literal["rb"], /) -> BinaryIO:
        return _counted(self._pieces(), _length(self.packed))

    def _pieces(self) -> Iterator[bytes]:
        with self.packed.open("rb") as stream:
            part, data = zlib.decompressobj(31), b""
            while data := data or stream.read(PIECE):
                if part.eof:
                    data = (data + stream.read(PIECE)).lstrip(b"\0")
                    if data and not data.startswith(GZIP):
                        note = Note("bytes_behind_gzip", "Bytes behind the end of the compressed data were left out.")
                        self.notes.extend([note] if note not in self.notes else [])
                        return
                    part = zlib.decompressobj(31) if data else part
                    continue
                try:
                    yield part.decompress(data, PIECE)
                except zlib.error as error:
                    raise BrokenFile("damaged_archive", "The gzip file is damaged. Compress the table again, or upload it as it is.") from error
                data = part.unused_data if part.eof else part.unconsumed_tail
        if not part.eof:
            raise BrokenFile("damaged_archive", "The gzip file ends too early: it is incomplete. Upload it again.")


@dataclass(frozen=True)
class Member:
    """One file of a ZIP archive, or one part of a workbook."""

    archive: Content
    name: str

    def open(self, _: Literal["rb"], /) -> BinaryIO:
        return _counted(self._pieces(), _length(self.archive))

    def _pieces(self) -> Iterator[bytes]:
        try:
            with self.archive.open("rb") as stream, zipfile.ZipFile(stream) as archive, archive.open(self.name) as member:
                while piece := member.read(PIECE):
                    yield piece
        except NotImplementedError as error:
            raise BrokenFile("packing_not_read", f"'{self.name}' is compressed in a way that is not read. Use ordinary ZIP (Deflate).") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise BrokenFile("damaged_archive", f"The archive is damaged at '{self.name}'. Pack it again, or upload the table itself.") from error


def seekable(content: Content) -> BinaryIO:
    """A stream that can go back. Packed content is held in memory for it. Raises BrokenFile when it is too large for that."""
    stream = content.open("rb")
    if stream.seekable():
        return stream
    with stream:
        data = stream.read(HELD + 1)
    if len(data) > HELD:
        raise BrokenFile("packed_too_large", f"Parquet and XLSX files of more than {HELD >> 20} MB are read only as they are, not packed. Unpack it first.")
    return io.BytesIO(data)


def _length(content: Content) -> int:
    with content.open("rb") as stream:
        return stream.seek(0, io.SEEK_END)


def _counted(pieces: Iterator[bytes], packed: int) -> BinaryIO:
    return io.BufferedReader(_Counted(pieces, packed), PIECE)


def most_unpacked(packed: int) -> int:
    """How many bytes may come out of an archive of so many."""
    return min(UNPACKED, max(FREELY, RATIO * packed))


def too_much(most: int) -> str:
    """The advice for an archive that unpacks to more than that."""
    return f"The archive unpacks to more than allowed (stopped at {most >> 20:,} MB). {_TOO_LARGE}"


class _Counted(io.RawIOBase):
    """Unpacked pieces as a stream that ends with BrokenFile when there are too many: what an archive says of its own size is not believed."""

    def __init__(self, pieces: Iterator[bytes], packed: int) -> None:
        self._pieces, self._most = pieces, most_unpacked(packed)
        self._piece, self._count = b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._piece:
            found = next(self._pieces, None)
            if found is None:
                return 0
            self._piece = found
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece, self._count = self._piece[size:], self._count + size
        if self._count > self._most:
            raise BrokenFile("unpacks_too_large", too_much(self._most))
        return size

    def close(self) -> None:
        close: Callable[[], None] | None = getattr(self._pieces, "close", None)
        if close is not None:
            close()
        super().close()
