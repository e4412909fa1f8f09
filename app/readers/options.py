"""What a person decided about reading a file. Everything left None is detected."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.errors import Invalid

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252", "cp1250", "cp1251", "latin-1", "shift_jis", "euc-kr", "gb18030", "big5")


@dataclass(frozen=True)
class Options:
    """`quote` "" reads csv without quoting. `mapping` names the columns of input, output and split; its missing keys are found by name."""

    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    quote: str | None = None
    mapping: Mapping[str, str | None] = field(default_factory=dict)


def check(options: Options) -> None:
    """Raises Invalid for a value that cannot be used, with those that can."""
    unknown = sorted(set(options.mapping) - {"input", "output", "split"})
    if unknown:
        raise Invalid("unknown_field", f"A mapping has no field {', '.join(unknown)}.", "It names the columns of input, output and split.")
    if options.encoding not in (None, *ENCODINGS):
        raise Invalid("unknown_encoding", f"Files are not read as {options.encoding}.", f"Choose one of: {', '.join(ENCODINGS)}.")
    if options.delimiter is not None and (len(options.delimiter) != 1 or options.delimiter in '"\r\n\0 '):
        raise Invalid("bad_delimiter", "A delimiter is one character, and neither a quote, a space nor a line end.", "Usual: comma, semicolon, tab, |.")
    if options.quote not in (None, "", '"', "'") or (options.quote and options.quote == options.delimiter):
        raise Invalid("bad_quote", "Cells are quoted with \" or ', or not at all.", "Choose \", ' or nothing.")
