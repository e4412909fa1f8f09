"""Files in: csv, JSON Lines and JSON lists become examples, or problems that say where and what to do.

Everything is text: `007`, `NA`, `None`, `true` and `1.0` stay what they were. Nothing is guessed about a cell's type,
nothing is repaired in silence: a row is read exactly, or it is a problem with its line. `parent.read_file` is the door;
all parsing happens in a child process with caps on memory and time.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

MAX_CELL = 200_000
"""Most characters in one cell."""

MAX_LINE = 2_000_000
"""Most characters in one physical line, or in one JSON record over several lines."""

MAX_COLUMNS = 200
MAX_ROWS = 1_000_000

MEMORY = 400 << 20
"""Bytes of address space the reading child may use above what it has at its start."""

CPU_SECONDS = 60
"""Processor time the reading child may use."""

Format = Literal["csv", "json_lines", "json"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Problem:
    """Why a file is refused. `line` is the physical line where the record begins; `excerpt` shows invisible characters.

    `code` is stable; `advice` is the whole sentence for a person: what is wrong, and what to do. `column` is empty where none is to blame.
    """

    code: str
    line: int
    column: str
    excerpt: str
    advice: str


@dataclass(frozen=True)
class Note:
    """Something a person should know about a file that is accepted."""

    code: str
    sentence: str


# Rows and examples are made by the million; a msgspec struct is a frozen dataclass at a fraction of the cost.
class Row(msgspec.Struct, frozen=True):
    """One record as it stands in the file. `nested` names the cells that hold JSON text of a list or an object."""

    line: int
    cells: dict[str, str]
    nested: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Detected:
    """How a file is read. `delimiter`, `quote` (empty: no quoting) and `header` count for csv; `first_line` is where its records begin."""

    format: Format
    encoding: str
    delimiter: str = ","
    header: bool = True
    quote: str = '"'
    first_line: int = 1


@dataclass(frozen=True)
class Mapping:
    """Which column holds what. Without `split` the splits are made later; without `output` the rows are unlabelled."""

    input: str
    output: str | None = None
    split: str | None = None


class Example(msgspec.Struct, frozen=True):
    """A row as the product uses it. `output` None: unlabelled. `cells` are the other columns, for prompts that name them."""

    line: int
    input: str
    output: str | None = None
    split: Split | None = None
    cells: dict[str, str] = {}
