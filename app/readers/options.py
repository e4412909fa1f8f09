"""What a person decided about reading a file. Everything left None is detected."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from typing import Any, get_args

import msgspec

from app.domain.label_book import label_text
from app.errors import Invalid
from app.readers import Format, LineEnds, Split

ENCODINGS = (
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "cp1250", "cp1251", "latin-1", "shift_jis", "euc-kr", "gb18030", "big5",
)  # fmt: skip

LEAVABLE = (
    "bytes_not_text", "cell_error", "cell_too_long", "duplicate_key", "empty_content", "empty_input", "invalid_bytes", "joined_differently", "lone_surrogate", "nested_value", "no_answer",
    "no_question", "no_result", "no_text", "not_a_record", "not_json", "nul_character", "number_too_long", "tool_calls", "unknown_role", "unknown_split",
    "value_without_column", "wrong_number_of_values",
)  # fmt: skip
"""Codes of problems that concern one row and leave no doubt about where the next one begins."""

MAPPED = ("input", "output", "split", "instruction")

KEPT = 20
"""Problems told in full; the others are counted."""


@dataclass(frozen=True)
class Options:
    """`quote` "" reads csv without quoting. `first_line` is the line or row where the header stands.

    `line_ends` is the only end of a line; other line ends are text then. `member` names a file of a ZIP, `sheet` one of a workbook, `under`
    the list of a JSON object. `members` reads several files of a ZIP as one table, and says of each which split it is; "" leaves one out. `split` is the one that
    all rows of the file are in. `mapping` names the columns of input, output, split and instruction (`input` may be a list of several); its
    missing keys are found by name. Rows with a problem whose code is in `leave_out` are left out and counted; others refuse the file.
    `labels` says which labels of the file are read as another one: {"refund ": "refund"}. `problems` is how many are told in full.
    """

    format: Format | None = None
    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    quote: str | None = None
    first_line: int | None = None
    line_ends: LineEnds | None = None
    member: str | None = None
    members: Mapping[str, str] | None = None
    sheet: str | None = None
    under: str | None = None
    split: Split | None = None
    mapping: Mapping[str, str | list[str] | None] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    problems: int = KEPT


READING = tuple(one.name for one in fields_of(Options) if one.name not in ("mapping", "problems"))
"""The options that say how the bytes of a file become records."""


def from_json(fields: Mapping[str, Any]) -> Options:
    """Options as a person wrote them. Raises Invalid for a field there is not, and for a value of the wrong kind."""
    unknown = sorted(set(fields) - set(READING))
    if unknown:
        raise Invalid("unknown_field", f"There is no option {', '.join(unknown)}.", f"Options: {', '.join(sorted(READING))}.", detail={"field": "options"})
    try:
        options = msgspec.convert(dict(fields), Options)
    except msgspec.ValidationError as error:
        raise Invalid("bad_option", f"An option cannot be used: {error}.", "Leave it out to have it detected.", detail={"field": "options"}) from error
    check(options)
    return options


def _names_columns(name: object, field: str) -> bool:
    several = field == "input" and isinstance(name, list) and bool(name) and all(isinstance(one, str) for one in name)
    return several or isinstance(name, str | None)


def _check_labels(labels: Mapping[str, str]) -> None:
    for label, into in labels.items():
        label_text(into)
        if into in labels:
            raise Invalid(
                "bad_labels", f"“{label}” is read as “{into}”, which is read as another label itself.", "Say of each label what it becomes in the end."
            )


def check(options: Options) -> None:
    """Raises Invalid for a value that cannot be used, with those that can."""
    unknown = sorted(set(options.mapping) - set(MAPPED))
    if unknown:
        raise Invalid("unknown_field", f"A mapping has no field {', '.join(unknown)}.", f"It names the columns of {', '.join(MAPPED[:3])} and {MAPPED[3]}.")
    if any(not _names_columns(name, field) for field, name in options.mapping.items()):
        raise Invalid("bad_mapping", "A mapping names columns.", 'Write it like {"input": "text", "output": "label"}.')
    if options.format not in (None, *get_args(Format)):
        raise Invalid("unknown_format", f"Files are not read as {options.format}.", f"Choose one of: {', '.join(get_args(Format))}.")
    if options.encoding not in (None, *ENCODINGS):
        raise Invalid("unknown_encoding", f"Files are not read as {options.encoding}.", f"Choose one of: {', '.join(ENCODINGS)}.")
    if options.delimiter is not None and (len(options.delimiter) != 1 or options.delimiter in '"\r\n\0 '):
        raise Invalid("bad_delimiter", "A delimiter is one character, and neither a quote, a space nor a line end.", "Usual: comma, semicolon, tab, |.")
    if options.quote not in (None, "", '"', "'") or (options.quote and options.quote == options.delimiter):
        raise Invalid("bad_quote", "Cells are quoted with \" or ', or not at all.", "Choose \", ' or nothing.")
    if options.line_ends not in (None, *get_args(LineEnds)):
        raise Invalid("bad_line_ends", f"Lines do not end with {options.line_ends}.", f"Choose one of: {', '.join(get_args(LineEnds))}.")
    if unknown := sorted(set(options.leave_out) - set(LEAVABLE)):
        raise Invalid("bad_leave_out", f"Rows cannot be left out for {', '.join(unknown)}.", f"Codes of rows that can be: {', '.join(LEAVABLE)}.")
    if options.member is not None and options.members is not None:
        raise Invalid("bad_members", "Of an archive either one file is read, or several as splits.", "Give member or members, not both.")
    if unknown := sorted(set((options.members or {}).values()) - {*get_args(Split), ""}):
        advice = f"Choose one of: {', '.join(get_args(Split))}; files that are not named are left out."
        raise Invalid("unknown_split", f"No file of an archive is read as {', '.join(unknown)}.", advice)
    if options.split is not None and options.members is not None:
        raise Invalid("bad_split", "Each file of the archive is a split of its own already.", "Give members or split, not both.")
    if options.split is not None and options.mapping.get("split"):
        raise Invalid(
            "bad_split", "Either all rows of the file are one split, or a column says which.", "Give split in the options or in the mapping, not in both."
        )
    _check_labels(options.labels or {})
    if options.first_line is not None and options.first_line < 1:
        raise Invalid("bad_first_line", "Lines are counted from 1.", "Give the number of the line that holds the column names.")
