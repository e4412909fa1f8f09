"""What the reading child tells its parent: length-prefixed msgpack frames on its standard output, in this order."""

import struct
from typing import BinaryIO

import msgspec

from app.readers import Detected, Example, Mapping, Note, Problem, Row

LENGTH = struct.Struct(">I")

ROWS = 500
"""Most examples in one chunk."""

CHARACTERS = 1_000_000
"""A chunk is closed when its cells hold so many, so that a frame stays small whatever the cells are."""


class Found(msgspec.Struct, frozen=True, tag="found"):
    """How the file is read. Comes before the first chunk; not at all when that cannot be told, and a Broken says why.

    Without a `mapping` the file is refused, and a Broken says why; so it is with a header that cannot name the `columns`, which are
    empty then. `head` are the first records that could be read, as they stand, long cells cut. `label_names` are what the numbers of the
    output mean, from 0 on, where the file says it.
    """

    detected: Detected
    columns: list[str]
    mapping: Mapping | None
    head: list[Row] = []
    label_names: list[str] = []


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """At most ROWS examples, in the order of the file. `share` is how much of the file's bytes was read so far, from 0 to 1.

    `keys` are what the inputs are known by (domain/cutting.py: content_key).
    """

    examples: list[Example]
    share: float = 0.0
    keys: list[int] = []


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """One of the first problems; the others are only counted."""

    problem: Problem


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """A sign of life between problems that are only counted."""

    rows: int
    problems: int
    share: float = 0.0


class End(msgspec.Struct, frozen=True, tag="end"):
    """The last frame. The file is refused when `problems` is not 0. `unlabelled` examples have no output.

    `left_out` counts, by code, the rows that a person wanted left out; `codes` counts all problems by theirs. `merged` counts, by what the file calls
    them, the labels that a person wanted read as another one.
    """

    rows: int
    unlabelled: int
    problems: int
    notes: list[Note]
    left_out: dict[str, int] = {}
    codes: dict[str, int] = {}
    merged: dict[str, int] = {}


class Capped(msgspec.Struct, frozen=True, tag="capped"):
    """Instead of everything that would follow: the child reached its cap on memory."""


Frame = Found | Chunk | Broken | Progress | End | Capped

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


def write(frame: Frame, stream: BinaryIO) -> None:
    body = _encoder.encode(frame)
    stream.write(LENGTH.pack(len(body)) + body)


def decode(body: bytes) -> Frame:
    """Raises msgspec.MsgspecError for bytes that are no frame."""
    return _decoder.decode(body)
