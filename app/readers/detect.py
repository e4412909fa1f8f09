"""How a file is to be read: format, delimiter, quoting and header, from its content. Anything given by a person is believed."""

import csv
import io
import json
import re
from pathlib import Path

from app.readers import Detected, Format, Note, Problem
from app.readers.columns import is_known_name
from app.readers.grammar import Grammar, parser
from app.readers.options import Options
from app.readers.sniff import Sniffed, sniff

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_RECORDS = 200

# A list or an object, also one with the usual mistakes; not a csv header that happens to begin with a bracket.
_JSON = re.compile(r"""\{\s*(?:["'}]|\w+\s*:|$)|\[\s*(?:["'{\[\]\d-]|true|false|null|$)""")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)


def detect(path: Path, wanted: Options) -> tuple[Detected, list[Note]] | Problem:
    """How to read a file, with what a person should know about it; or why it cannot be read. Raises OSError when it cannot be opened."""
    sniffed = sniff(path, wanted.encoding)
    if isinstance(sniffed, Problem):
        return sniffed
    notes = [sniffed.note] if sniffed.note else []
    start = sniffed.head.lstrip("\ufeff \t\r\n")
    if _JSON.match(start):
        return Detected(_json_format(start, sniffed.complete), sniffed.encoding, "", False, ""), notes
    detected = _csv(sniffed, wanted)
    if detected.delimiter != "," and wanted.delimiter is None:
        shown = "a tab" if detected.delimiter == "\t" else f"'{detected.delimiter}'"
        notes.append(Note("delimiter", f"Read with {shown} as separator."))
    return detected, notes


def _json_format(start: str, complete: bool) -> Format:
    """Records one a line, or one value over several lines: a list, an object that holds lists, indented records."""
    if start[0] == "[":
        return "json"
    first, _, rest = start.partition("\n")
    try:
        value, end = json.JSONDecoder(parse_int=str).raw_decode(first)
    except json.JSONDecodeError as error:
        goes_on = error.pos >= len(first.rstrip()) and not rest.lstrip().startswith("{")
        return "json" if goes_on else "json_lines"
    except RecursionError:
        return "json_lines"
    alone = complete and not (first[end:] + rest).strip()
    return "json" if alone and any(name != "messages" and is_records(item) for name, item in value.items()) else "json_lines"


def is_records(value: object) -> bool:
    """Whether a JSON value is a list that begins with an object."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _csv(sniffed: Sniffed, wanted: Options) -> Detected:
    text = sniffed.head.lstrip("\ufeff")
    separator = _SEPARATOR_LINE.match(text)
    if separator:
        text = text[separator.end() :]
    delimiter = wanted.delimiter or (separator[1] if separator else _delimiter(text, sniffed.complete))
    quote = wanted.quote
    if quote is None:
        # Tab-separated files mostly know no quoting; they are read with it only when all of the sample follows it.
        quote = "" if delimiter == "\t" and not Grammar(delimiter, '"').accepts_beginning(text) else '"'
    header = wanted.header
    if header is None:
        header = _has_header(_Sample(text, sniffed.complete, delimiter, quote).records)
    return Detected("csv", sniffed.encoding, delimiter, header, quote, 2 if separator else 1)


class _Sample:
    """The first records of a text under one delimiter; those that cannot be parsed are only counted."""

    def __init__(self, text: str, complete: bool, delimiter: str, quote: str = '"') -> None:
        self.records: list[list[str]] = []
        self.errors = 0
        reader = parser(io.StringIO(text, newline=""), delimiter, quote)
        while len(self.records) + self.errors <= SAMPLE_RECORDS:
            try:
                self.records.append(next(reader))
            except csv.Error:
                self.errors += 1
            except StopIteration:
                if not complete:
                    # The end of the sample is not the end of the file: the last record was cut.
                    del self.records[-1:]
                break
        self.records = [record for record in self.records if record]

    def agreement(self) -> float:
        """The share of records as wide as the first, which must have at least two cells; -1 when it has not."""
        if not self.records or len(self.records[0]) < 2:
            return -1.0
        width, rest = len(self.records[0]), self.records[1:]
        return sum(len(record) == width for record in rest) / (len(rest) + self.errors) if rest or self.errors else 1.0


def _delimiter(text: str, complete: bool) -> str:
    agreement = {delimiter: _Sample(text, complete, delimiter).agreement() for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=agreement.__getitem__)
    return best if agreement[best] >= 0 else ","


def _has_header(records: list[list[str]]) -> bool:
    """A first record is data, not names, when one of its values is also a value further down in the same column."""
    if not records or any(is_known_name(cell) for cell in records[0]):
        return True
    return not any(cell.strip() and any(cell == row[index] for row in records[1:] if index < len(row)) for index, cell in enumerate(records[0]))
