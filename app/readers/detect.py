"""How a file is to be read: format, delimiter, quoting and header, from its content. Anything given by a person is believed."""

import csv
import io
import json
import re
from dataclasses import replace

from app.readers import Detected, Format, Note, Problem, label_lines, xlsx
from app.readers.columns import is_known_name
from app.readers.content import ZIP, Content
from app.readers.grammar import Grammar, parser
from app.readers.lines import ENDS, physical
from app.readers.names import has_header
from app.readers.options import Options
from app.readers.sniff import Sniffed, is_parquet, sniff

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_RECORDS = 200

SHORT = 1_000
"""Characters of a file that may be one JSON value and nothing else."""

# A list or an object, also one with the usual mistakes; not a csv header that happens to begin with a bracket.
_JSON = re.compile(r"""\{\s*(?:["'}]|\w+\s*:|$)|\[\s*(?:["'{\[\]\d-]|true|false|null|$)""")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)


def detect(content: Content, wanted: Options) -> tuple[Detected, list[Note]] | Problem:
    """How to read a file, with what a person should know about it; or why it cannot be read.

    Raises OSError when it cannot be opened, BrokenFile when it cannot be unpacked.
    """
    with content.open("rb") as stream:
        head = stream.read(4)
    if wanted.format == "parquet" or (wanted.format is None and is_parquet(content)):
        return Detected("parquet", "", "", True, ""), []
    if wanted.format == "xlsx" or (wanted.format is None and head.startswith(ZIP)):
        return xlsx.look(content, wanted)
    sniffed = sniff(content, wanted.encoding)
    if isinstance(sniffed, Problem):
        return sniffed
    notes = [sniffed.note] if sniffed.note else []
    detected = replace(_text(sniffed, wanted), unicode=sniffed.unicode)
    if detected.format == "csv" and detected.delimiter != "," and wanted.delimiter is None:
        shown = "a tab" if detected.delimiter == "\t" else f"'{detected.delimiter}'"
        notes.append(Note("delimiter", f"Read with {shown} as separator."))
    if detected.format == "label_lines" and wanted.format is None:
        notes.append(Note("label_lines", "Read as lines of a label, a space and a text."))
    return detected, notes


def _text(sniffed: Sniffed, wanted: Options) -> Detected:
    text = sniffed.head.lstrip("\ufeff")
    start, ends = text.lstrip(" \t\r\n"), wanted.line_ends or _line_ends(text)
    is_json = wanted.format is None and wanted.delimiter is None and (_JSON.match(start) or _is_value(start, sniffed.complete))
    if is_json or wanted.format in ("json", "json_lines"):
        form: Format = wanted.format or _json_format(start, sniffed.complete)
        return Detected(form, sniffed.encoding, "", False, "", line_ends=ends, under=wanted.under or "")
    text = _in_lines(text, wanted)
    given = wanted.line_ends is not None
    if wanted.format == "label_lines" or (_is_open(wanted) and _scattered(text, sniffed.complete) and label_lines.looks_like(text, sniffed.complete)):
        return Detected("label_lines", sniffed.encoding, "", False, "", line_ends=ends, line_ends_given=given)
    return replace(_csv(replace(sniffed, head=text), wanted), line_ends=ends, line_ends_given=given)


def _is_value(text: str, complete: bool) -> bool:
    """Whether all of a short file is one JSON value."""
    if not complete or len(text) > SHORT:
        return False
    try:
        json.loads(text, parse_int=str)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _in_lines(text: str, wanted: Options) -> str:
    """A beginning as its lines are when a person chose how they end."""
    if wanted.line_ends is None:
        return text
    return "\n".join(line.replace("\r", " ").replace("\n", " ") for line in text.split(ENDS[wanted.line_ends]))


def _is_open(wanted: Options) -> bool:
    """Whether nobody said anything that only csv has."""
    return wanted.format is None and wanted.delimiter is None and wanted.header is None and wanted.quote is None and wanted.first_line is None


def _scattered(text: str, complete: bool) -> bool:
    """Whether no delimiter divides these lines alike, and none finds the usual names in the first."""
    samples = [_Sample(text, complete, delimiter) for delimiter in DELIMITERS]
    named = any(is_known_name(cell) for sample in samples for cell in (sample.records or [[]])[0])
    return not named and max(sample.agreement() for sample in samples) < 0.9


def _line_ends(text: str) -> str:
    """How the lines of a beginning end: CRLF, LF, CR, several of them, or "" where there is no end."""
    crlf = text.count("\r\n")
    found = [name for name, count in (("CRLF", crlf), ("LF", text.count("\n") - crlf), ("CR", text.removesuffix("\r").count("\r") - crlf)) if count > 0]
    return ", ".join(found)


def _json_format(start: str, complete: bool) -> Format:
    """Records one a line, or one value over several lines: a list, an object that holds lists, indented records."""
    first, end_of_line, rest = start.partition("\n")
    if start[0] != "{" or not (end_of_line or complete):
        return "json"
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
    separator = _SEPARATOR_LINE.match(text) if wanted.first_line is None else None
    if separator:
        text = text[separator.end() :]
    first = wanted.first_line or (2 if separator else 1)
    if wanted.first_line is not None:
        text = "".join(physical(text)[first - 1 :])
    delimiter = wanted.delimiter or (separator[1] if separator else _delimiter(text, sniffed.complete))
    quote = wanted.quote
    if quote is None:
        # Tab-separated files mostly know no quoting; they are read with it only when all of the sample follows it.
        quote = "" if delimiter == "\t" and not Grammar(delimiter, '"').accepts_beginning(text) else '"'
    header = wanted.header
    if header is None:
        header = has_header(_Sample(text, sniffed.complete, delimiter, quote).records)
    return Detected("csv", sniffed.encoding, delimiter, header, quote, first)


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
