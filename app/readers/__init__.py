"""Files in: csv and its relatives, JSON, JSON Lines, Parquet and XLSX, also in a ZIP or gzip, become examples, or problems with their place.

Everything is text: `007`, `NA`, `None`, `true` and `1.0` stay what they were. Nothing is guessed about a cell's type,
nothing is repaired in silence: a row is read exactly, or it is a problem with its line. `parent.read_file` is the door;
all parsing happens in a child process with caps on memory and time.
"""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

MAX_CELL = 1_000_000
"""Most characters in one cell."""

MAX_LINE = 4_000_000
"""Most characters in one physical line, or in one JSON record over several lines."""

MAX_COLUMNS = 200
MAX_ROWS = 1_000_000

MEMORY = 400 << 20
"""Bytes of memory the reading child may use in all."""

UNPACKED = 1 << 30
"""Most bytes that a packed file may unpack to."""

CPU_SECONDS = 60
"""Processor time the reading child may use."""

Format = Literal["csv", "label_lines", "json_lines", "json", "parquet", "xlsx"]
Packing = Literal["", "gzip", "zip"]
LineEnds = Literal["LF", "CRLF", "CR"]
Split = Literal["train", "validation", "test", "reserve"]


@dataclass(frozen=True)
class Problem:
    """Why a file is refused. `line` is the physical line where the record begins; `excerpt` shows invisible characters.

    `code` is stable; `advice` is the whole sentence for a person: what is wrong, and what to do. `column` is empty where none is to blame.
    What a person can put right by an option of reading names it in `asks` (encoding, first_line, member, sheet, under), with values
    for it in `choices`. `member` is the file of an archive that it stands in, where several are read; `advice` begins with it then.
    """

    code: str
    line: int
    column: str
    excerpt: str
    advice: str
    asks: str = ""
    choices: tuple[str, ...] = ()
    member: str = ""


class BrokenFile(Exception):
    """A file that cannot be read on, found out while its bytes come in."""

    def __init__(self, code: str, advice: str, excerpt: str = "") -> None:
        super().__init__(advice)
        self.problem = Problem(code, 0, "", excerpt, advice)


@dataclass(frozen=True)
class Note:
    """Something a person should know about a file that is accepted."""

    code: str
    sentence: str


# Rows and examples are made by the million; a msgspec struct is a frozen dataclass at a fraction of the cost.
class Row(msgspec.Struct, frozen=True, gc=False):
    """One record as it stands in the file. `unusable` holds, for cells that are no text, a problem's code and advice, should one be used. `member` is said
    of records that are shown: which file of an archive they stand in, where several are read."""

    line: int
    cells: dict[str, str]
    unusable: dict[str, tuple[str, str]] = {}
    member: str = ""


@dataclass(frozen=True)
class Detected:
    """How a file is read. What does not count for a format is empty.

    `delimiter` and `quote` (empty: no quoting) count for csv; `first_line` is the line or row where the header stands, or without
    one the first record. `line_ends` is what the beginning of a text file shows, or the one end that a person chose (`line_ends_given`):
    all other ends are text then. `packing` and `member` say what the table was packed in, `sheet` which one of a workbook, `under`
    which list of a JSON object it is. `members` are the files of an archive that are a split each; the rest says how the first of them is read.
    `unicode` is set where the bytes of a text show that they are UTF-8 or UTF-16: mere ASCII could be nearly anything.
    """

    format: Format
    encoding: str
    delimiter: str = ","
    header: bool = True
    quote: str = '"'
    first_line: int = 1
    line_ends: str = ""
    line_ends_given: bool = False
    packing: Packing = ""
    member: str = ""
    sheet: str = ""
    under: str = ""
    members: dict[str, Split] = field(default_factory=dict)
    unicode: bool = False

    @property
    def unit(self) -> str:
        """What a record's place in the file is called."""
        return "Row" if self.format in ("parquet", "xlsx") else "Line"


@dataclass(frozen=True)
class Mapping:
    """Which column holds what. Without `split` the splits are made later; without `output` the rows are unlabelled.

    The text of `instruction` goes before the input, a blank line between; where the input is empty it is the input. With `more` input
    columns the input is a line each, `name: text`, and all of them stay columns that a prompt can name.
    """

    input: str
    output: str | None = None
    split: str | None = None
    instruction: str | None = None
    more: tuple[str, ...] = ()


class Example(msgspec.Struct, frozen=True, array_like=True):
    """A row as the product uses it. `output` None: unlabelled. `cells` are the other columns, for prompts that name them."""

    line: int
    input: str
    output: str | None = None
    split: Split | None = None
    cells: dict[str, str] = {}
