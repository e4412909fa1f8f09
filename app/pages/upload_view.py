"""What an upload's page shows: how the file is read as fields, its columns as choices, what a test split of its size can tell."""

import re
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec
from markupsafe import Markup, escape
from starlette.datastructures import FormData

from app.domain.splits import SHARES, VALIDATION_SHARE
from app.domain.upload import Upload
from app.errors import Invalid
from app.pages.forms import whole
from app.pages.problem_words import counted
from app.readers.lookalikes import followed
from app.readers.names import splits_of
from app.readers.options import ENCODINGS, LEAVABLE

FORMATS = {"csv": "CSV", "label_lines": "label and text lines", "json_lines": "JSON Lines", "json": "JSON", "parquet": "Parquet", "xlsx": "XLSX"}
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
QUOTES = {'"': 'double "', "'": "single '", "": "none"}
NAMES = {"format": "Format", "encoding": "Encoding", "delimiter": "Delimiter", "header": "First line", "quote": "Quoting"}
NAMES |= {"line_ends": "Line ends", "member": "File in the archive", "sheet": "Sheet", "under": "List"}
CHOSEN = ("member", "sheet", "under")

OF_FORMAT = {
    "csv": ("encoding", "delimiter", "header", "quote", "line_ends"),
    "label_lines": ("encoding", "line_ends"),
    "json_lines": ("encoding",),
    "json": ("encoding",),
    "parquet": (),
    "xlsx": ("header",),
}

LONGEST_REASON = 500

EACH = "(each)\u2060"
"""The value of the choice of a file that means: all of them, each a split."""

TEST_SHARES = range(0, 61, 5)
"""Where the slider of the test split can stand, in per cent."""

NONE = "(none)\u2060"
"""The value of a choice that means: none of them. The word joiner keeps it apart from a column of that name."""

WHOLE = {f"({split})\u2060": split for split in ("train", "validation", "test", "reserve")}
"""The values of the choice of a split that mean: every row of the file is in that one."""


@dataclass(frozen=True)
class Field:
    """One thing that was detected: what was found stands first, and chosen is what a person said instead ("" for nothing)."""

    name: str
    title: str
    options: tuple[tuple[str, str], ...]
    value: str


def reading_fields(upload: Upload, report: dict[str, Any]) -> list[Field]:
    """The drop-downs that say how a file is read; which ones depends on what it is."""
    found, wanted = report.get("detected") or {}, upload.options
    names = ["format", *OF_FORMAT.get(found.get("format") or wanted.get("format") or "", ("encoding",) if not found else ())]
    several = ("member",) if wanted.get("members") is not None else ()
    names += [name for name in CHOSEN if found.get(name) or wanted.get(name) or (report.get("choices") or {}).get(name) or name in several]
    return [_field(name, found, wanted, (report.get("choices") or {}).get(name) or []) for name in names]


def _field(name: str, found: dict[str, Any], wanted: dict[str, Any], choices: list[str]) -> Field:
    known = _known(name)
    if name in CHOSEN:
        known = {choice: choice for choice in dict.fromkeys([*choices, *filter(None, (found.get(name), wanted.get(name)))])}
    if name == "member" and (len(known) > 1 or wanted.get("members") is not None):
        known = {EACH: "each file is a split", **known}
    detected = known.get(_shown(found[name]), str(found[name])) if found.get(name) not in (None, "") or (name in ("quote", "header") and found) else ""
    automatic = f"{detected} (found)" if detected else "detect"
    said = EACH if name == "member" and wanted.get("members") is not None else wanted.get(name)
    return Field(name, NAMES[name], (("", automatic), *((_sent(key), text) for key, text in known.items())), "" if said is None else _sent(_shown(said)))


def _known(name: str) -> dict[str, str]:
    return {
        "format": FORMATS,
        "encoding": {encoding: encoding.upper() for encoding in ENCODINGS},
        "delimiter": DELIMITERS,
        "header": {"yes": "column names", "no": "a row"},
        "quote": QUOTES,
        "line_ends": {end: end for end in ("LF", "CRLF", "CR")},
    }.get(name, {})


def _shown(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _sent(value: str) -> str:
    """A value as a form sends it: an empty one means that nothing was chosen."""
    return value or NONE


def leavable(upload: Upload, report: dict[str, Any]) -> list[tuple[str, bool, str]]:
    """Problems whose rows may be left out, whether they are, and the sentence that counts them, as far as they are counted."""
    left = upload.options.get("leave_out") or []
    counts = {**(report.get("codes") or {}), **(report.get("left_out") or {})}
    codes = {*counts, *left, *(problem["code"] for problem in report.get("problems", []))}
    return [(code, code in left, counted(code, counts.get(code, 0))) for code in sorted(codes) if code in LEAVABLE]


def members_shown(upload: Upload, report: dict[str, Any]) -> list[tuple[str, str]]:
    """The files of an archive, each with the split that it is ("": left out), where that is what was chosen."""
    given = upload.options.get("members")
    if given is None:
        return []
    names = dict.fromkeys([*((report.get("choices") or {}).get("member") or []), *given])
    return [(name, given.get(name, "")) for name in names]


def splits_offered(report: dict[str, Any]) -> dict[str, str]:
    """Which splits the files of an archive seem to be, where it is asked which of them is read; nothing where fewer than two are called like one."""
    asked = [problem for problem in report.get("problems", []) if problem["code"] == "choose_member"]
    found = splits_of(asked[0]["choices"]) if asked else {}
    return dict(found) if len(found) > 1 else {}


def _members_sent(form: FormData, report: dict[str, Any]) -> dict[str, str]:
    """Which file is which split, as the form has it; before it was asked, as the files are called."""
    names, splits = ([str(value) for value in form.getlist(field)] for field in ("member_name", "member_split"))
    if names:
        return dict(zip(names, splits, strict=False))
    offered = (report.get("choices") or {}).get("member") or []
    return dict.fromkeys(offered, "") | splits_of(offered)


def reading_options(form: FormData, report: dict[str, Any]) -> dict[str, Any]:
    """The fields of reading_fields as options. Raises Invalid for a first line that is no number."""
    said = {name: str(form[name]) for name in (*NAMES, "first_line") if form.get(name)}
    options: dict[str, Any] = {name: "" if value == NONE else value for name, value in said.items()}
    if options.get("member") == EACH:
        options["members"] = _members_sent(form, report)
        del options["member"]
    if "header" in options:
        options["header"] = options["header"] == "yes"
    if (whole_split := WHOLE.get(str(form.get("split")))) and "members" not in options:
        options["split"] = whole_split
    if form.getlist("leave_out"):
        options["leave_out"] = sorted(str(code) for code in form.getlist("leave_out"))
    if merges := followed({label: into for one in form.getlist("merge") for label, into in _texts(str(one), "merge").items()}):
        options["labels"] = merges
    if "first_line" in options:
        options["first_line"] = whole(options["first_line"], "first_line", 1, 1_000_000)
    return options


def _texts(sent: str, field: str) -> dict[str, str]:
    """What a hidden field or a tick says of labels, as JSON. Raises Invalid."""
    try:
        return msgspec.json.decode(sent or "{}", type=dict[str, str])
    except msgspec.DecodeError as error:
        raise Invalid("bad_value", f"The page sent something else than texts of labels: {error}.", "Reload the page.", detail={"field": field}) from error


@dataclass(frozen=True)
class Columns:
    """Which columns are chosen. `joined` names the one that stands before the input, a blank line between."""

    inputs: tuple[str, ...]
    output: str | None
    split: str | None
    joined: str | None = None

    @property
    def key(self) -> str:
        """Tells one choice of input and output from another, in an element's id."""
        return f"{crc32(repr((self.inputs, self.output)).encode()):08x}"


def columns_of(upload: Upload, report: dict[str, Any]) -> Columns:
    """The columns as they are read; where they cannot be, as they were asked for."""
    mapping = report.get("mapping")
    if not mapping:
        asked = upload.options.get("mapping") or {}
        inputs = asked.get("input") or []
        return Columns((inputs,) if isinstance(inputs, str) else tuple(inputs), asked.get("output"), asked.get("split"))
    joined = mapping.get("instruction")
    inputs = (*((joined,) if joined else ()), mapping["input"], *mapping.get("more", ()))
    return Columns(inputs, mapping.get("output"), mapping.get("split"), joined)


def split_choice(upload: Upload, report: dict[str, Any], columns: Columns) -> tuple[list[tuple[str, str]], str, str]:
    """The choice of a split: what can be chosen, what is, and what the file's name says of it while neither a column nor a split is chosen."""
    none = (NONE, "none: cut them here" if upload.onto is None else "none: divide them")
    wholes = [(key, f"every row of this file is {split}") for key, split in WHOLE.items()]
    chosen = columns.split or next((key for key, split in WHOLE.items() if split == upload.options.get("split")), NONE)
    called = splits_of([upload.filename]).get(upload.filename)
    said = f"The name says {called}. If every row is one of that split, choose so; else the rows are divided." if called and chosen == NONE else ""
    return [none, *wholes, *((name, name) for name in report.get("columns") or [])], chosen, said


def columns_sent(form: FormData, before: Columns) -> Columns:
    """What the form chose; an input that was joined stays so until somebody chooses other inputs."""
    inputs = tuple(str(name) for name in form.getlist("input"))
    output, split = (str(form.get(name) or NONE) for name in ("output", "split"))
    return Columns(
        inputs, None if output == NONE else output, None if split == NONE or split in WHOLE else split, before.joined if inputs == before.inputs else None
    )


def mapping_of(columns: Columns) -> dict[str, Any]:
    """Chosen columns as the readers take them."""
    mapping: dict[str, Any] = {"output": columns.output, "split": columns.split}
    if columns.joined is not None:
        return mapping | {"instruction": columns.joined, "input": columns.inputs[1]}
    if columns.inputs:
        mapping["input"] = columns.inputs[0] if len(columns.inputs) == 1 else list(columns.inputs)
    return mapping


def cut_sent(form: FormData, upload: Upload, has_split: bool) -> dict[str, Any]:
    """Shares, seed and group as the form has them, or what it says of rows that go onto a dataset. What it does not ask for yet stays. Raises Invalid."""
    if upload.onto is not None:
        number = whole(str(form.get("version") or upload.onto.split("@")[1]), "version", 1, 2**31 - 1)
        reason = str(form.get("reason", upload.cut.get("reason", "")))[:LONGEST_REASON]
        return {"onto": f"{upload.onto.split('@')[0]}@{number}", "reason": reason, "repeats": "repeats" in form}
    displays = _texts(str(form["displays"]), "displays") if "displays" in form else upload.cut.get("displays") or {}
    if form.get("member") == EACH:
        has_split = True
    if "test" not in form and not has_split:
        return {"seed": 0, "group": None, **upload.cut, "displays": displays}
    test, validation = (whole(str(form.get(name) or 0), name, 0, 90) for name in ("test", "validation"))
    shares = {"train": (100 - test - validation) / 100, "validation": validation / 100, "test": test / 100}
    group = str(form.get("group") or NONE)
    seed = whole(str(form.get("seed") or 0), "seed", 0, 2**31 - 1)
    return {"splits": None if has_split else shares, "seed": seed, "group": None if group == NONE else group, "displays": displays}


def shares_shown(upload: Upload) -> dict[str, int]:
    """Whole per cent of each split."""
    shares = upload.cut.get("splits") or SHARES
    test, validation = round(100 * shares.get("test", 0)), round(100 * shares.get("validation", 0))
    return {"train": 100 - test - validation, "validation": validation, "test": test}


def tested(report: dict[str, Any], share: int) -> int | None:
    """Rows that the test split will have with a share in per cent, where the file does not give its own; none while the rows are not counted."""
    if not report.get("complete"):
        return None
    given = report.get("splits") or {}
    return int(given.get("test", 0)) if given else round((report["rows"] - report["unlabelled"]) * share / 100)


def cut_note(report: dict[str, Any]) -> str:
    """What happens to the splits that a file gives."""
    given = report.get("splits") or {}
    if not given or "validation" in given or "train" not in given:
        return ""
    return f"The file has no validation rows: {VALIDATION_SHARE:.0%} of train is cut for it, at least 50 rows."


_ESCAPE = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[tnr])")


def marked(excerpt: str, code: str) -> Markup:
    """An excerpt with the character in question marked: what could not be shown as itself, or the quote."""
    found = list(_ESCAPE.finditer(excerpt))
    if "quote" in code:
        quotes = list(re.finditer("[\"']", excerpt))
        found = [min(quotes, key=lambda match: abs(match.start() - 20))] if quotes and code == "unexpected_quote" else quotes[:1]
    shown, at = "", 0
    for match in found:
        shown += f"{escape(excerpt[at : match.start()])}<mark>{escape(match[0])}</mark>"
        at = match.end()
    return Markup(shown + str(escape(excerpt[at:])))  # noqa: S704 everything but the tag is escaped
