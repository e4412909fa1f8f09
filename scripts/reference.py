"""Writes docs/settings.md, docs/methods.md and docs/files.md from the code: `python -m scripts.reference`. A house test compares them with it."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.domain.generation import Parameters
from app.domain.methods import METHODS
from app.domain.search import Range, Search
from app.readers import CPU_SECONDS, MAX_CELL, MAX_COLUMNS, MAX_LINE, MAX_ROWS, MEMORY, UNPACKED, columns, content, packing
from app.readers.options import ENCODINGS, LEAVABLE
from app.services import patience
from app.services.uploads import AT_ONCE_BYTES, PACKED_AT_ONCE_BYTES
from app.settings import Settings
from bench import defaults

SEARCHING = (
    "`search` of a tuning job (`--search` on the command line, “Search settings” in the form). A grid or random search is one job whose trials run "
    "one after another by successive halving (<https://arxiv.org/abs/1502.07943>): at each rung the best of them go on, the others stop, and the winner "
    "is trained to its end. Trials are compared by their best validation so far: by `validate_by`, then by the loss, then by the smaller number. No trial is "
    "judged before a ninth of its run. The learning-rate finder (<https://arxiv.org/abs/1506.01186>) is a test of at most 60 steps before a "
    "single run on one device; the trials of a search can each be spread over several."
)
RANGE = "A range in `space`:\n"
DOCS = Path(__file__).parents[1] / "docs"

SEARCH = """## How the defaults were found

`python -m bench.defaults`: the starter model (SmolLM2-135M-Instruct, 576 wide), sst2 and trec6, 384 labels, batches of 8, cosine schedule,
float32 on a processor. Successive halving: every candidate for 16 steps, the two best for 48 (one pass), the winner with three seeds. Accuracy
in percent by label likelihood on 100 rows that were not trained on: one column is known to within about 9 points either way, so
neighbours in the table are not told apart, and only what is far behind is ruled out. The winner is bold. Its learning rate is the default; a soft
prompt stays as long as its text, because a longer one won on one task and lost on the other.

For a wider model the rate is multiplied by (576 / width) to a power: 1 for full fine-tuning, 1/2 for LoRA and P-tuning, 0 for prompt and
prefix tuning, whose step changes activations and not weights. The powers are a rule of thumb, not a result of this search.

Not searched: schedule, warm-up, batch size, rank, alpha, dropout, runs of more than 48 steps, other models, text answers (the wide grid of
`make search-defaults` has e2e_nlg, ranks, lengths and 128 steps; it has not been run).
"""

FILES = """# Files that become datasets

What is read, how, and what is refused. Written by `make docs`. What a file is, its content says; its name is only compared with it.

| format | as what |
|---|---|
| CSV, TSV, semicolon, pipe | RFC 4180. A header is expected; two columns without one are told apart when one clearly holds labels. Excel's `sep=;` line is understood |
| label and text | lines of a label, a blank and a text, without header (TREC, fastText) |
| JSON Lines, JSON | records with named fields, one a line, indented, in a list, or in a list inside an object |
| Parquet | row group by row group |
| XLSX | one sheet, as it shows its cells; macros are not run, formulas give their saved results |
| ZIP, gzip | of one of these; or of several that are a split each |

Records may be `input`/`output`, `instruction`/`input`/`output` (the input is the first two with a blank line between), or OpenAI chat `messages` (the last
answer is the output). Names that are found without being asked for, whatever their case: input {inputs}; output {outputs}; a column `split` with {splits}.

## Everything is text

`007`, `7`, `NA`, `None`, `null`, `true` and `1.0` stay what they are. An empty or blank output, JSON's null and a missing field mean: no label yet. Texts are never
trimmed, folded or normalised. A file that Fettle exported comes back as it went out; an input that was joined from several columns is not joined again.

* JSON: numbers, true and false as they are written; lists and objects become JSON text and cannot be an input or output.
* Parquet: integers, decimals, dates and times as Arrow writes them, times with a zone in UTC with a `Z`, floating point always with a point or an exponent; bytes that
  are UTF-8 are text, others are left out; dictionaries and extension types as what they store.
* XLSX: numbers and dates as their format shows them, the short date as ISO 8601; numbers without a format as they are stored, with a warning about zeros that may have
  been lost before.

## What can be said

Encoding, delimiter, header and line ends are detected. `POST /api/v1/datasets` answers with what was found (`detected`) and with what somebody should know about
it (`notes`: code and sentence), such as a file that is not UTF-8 and was read as Windows-1252. Where that is wrong, or has to ask, `options` says it:

| option | meaning |
|---|---|
| `format` | csv, label_lines, json_lines, json, parquet, xlsx |
| `encoding` | {encodings} |
| `delimiter`, `quote` | one character; an empty quote reads without quoting |
| `header`, `first_line` | whether there are column names, and the line or row where they (or the first record) stand |
| `line_ends` | LF, CRLF or CR: the only end of a line; others are text |
| `member`, `sheet`, `under` | which file of a ZIP, which sheet of a workbook, which list of a JSON object |
| `members` | several files of a ZIP as one table, each a split: `{{"train.csv": "train", "dev.csv": "validation"}}`; files that are not named are left out. Each is read by itself, so that formats and delimiters may differ; the columns that are read may not |
| `split` | the split that every row of the file is in: `train`, `validation`, `test` or `reserve`. It is said of that very file: the train file is imported, then the test file appended with `test`; rows that stand in the dataset keep their split, and new test rows are a slice with their date |
| `leave_out` | codes of problems whose rows are left out and counted, instead of refusing the file: {leavable} |
| `labels` | labels of the file that are read as another one, such as a look-alike: `{{"Refund ": "refund"}}`; their rows are counted in `notes` |

A file with a problem is refused as a whole, with code, line, column and excerpt of each. None of its rows stays. The first 20 problems are told; the whole list is a download on the
upload's page and `GET /api/v1/uploads/{{id}}/problems` (JSON lines, or `?format=csv`). The file is kept for it for a day, or until its upload is given up; of one that was refused at once, where
it had more than 20 problems: the answer names its `upload` then.

## Limits

| what | most |
|---|---|
| file | {upload:,} bytes (`FETTLE_UPLOAD_BYTES`) |
| answered with the dataset at once by `POST /api/v1/datasets` | {at_once} MB; {packed} MB of a packed file (gzip, ZIP, XLSX, Parquet). A larger one is read in the background, and so is a smaller packed one that holds more than {brief_rows:,} rows or takes more than {brief_seconds} seconds to read: 202 {{upload}}, and `GET /api/v1/uploads/{{id}}` says what became of it |
| rows | {rows:,} |
| columns | {columns} |
| characters in a cell | {cell:,} |
| characters in a line, or in one JSON record | {line:,} |
| unpacked | {unpacked:,} MB, and beyond {freely} MB no more than {ratio} times the packed size |
| files in a ZIP | {members:,} |
| Parquet or XLSX inside a ZIP or gzip | {held} MB |
| memory and processor time of the reading process | {memory} MB, {seconds} s |
"""

CHECK = """### Against random trials

`python -m bench.defaults --check`: on two tasks the search never saw, the default against the best of 20 random trials, each run to its end.
It is chosen on 100 rows of the train file; both are compared on 400 rows of the test file, 48 steps, one seed. Accepted when at most 2 points below.
"""


def pages() -> dict[str, str]:
    """The text of each generated page by its file name."""
    return {"settings.md": settings_page(), "methods.md": methods_page(), "files.md": files_page()}


def settings_page() -> str:
    head = "# Settings\n\nEnvironment variables, read once when a process starts. None is needed for `make run`. Written by `make docs`.\n"
    rows = [f"| `FETTLE_{name.upper()}` | {default(field)} | {sentence(field)} |" for name, field in Settings.model_fields.items()]
    return "\n".join([head, "| variable | default | meaning |", "|---|---|---|", *rows, ""])


def methods_page() -> str:
    parts = ["# Tuning methods and their parameters\n\nNames, ranges and defaults of forms and API alike. Written by `make docs`.\n"]
    for method in METHODS.values():
        parts += [f"## {method.title} (`{method.name}`)\n", f"{method.summary} Paper: <{method.paper}>\n", table(method)]
    parts += [SEARCH, defaults.table("narrow"), "", *([CHECK, defaults.check_table(), ""] if defaults.check_done() else [])]
    parts += [f"## Searching for parameters\n\n{SEARCHING}\n", table(Search), RANGE, table(Range)]
    parts += ["## Generation parameters\n\nFor the lab, `/api/v1/generate` and `/v1`.\n", table(Parameters)]
    return "\n".join(parts)


def files_page() -> str:
    def listed(names: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    return FILES.format(
        inputs=listed(columns.INPUT_NAMES),
        outputs=listed(columns.OUTPUT_NAMES),
        splits=listed(columns.SPLITS),
        encodings=listed(ENCODINGS),
        leavable=listed(LEAVABLE),
        upload=settings_default("upload_bytes"),
        at_once=AT_ONCE_BYTES // 10**6,
        brief_rows=patience.ROWS,
        brief_seconds=int(patience.SECONDS),
        packed=PACKED_AT_ONCE_BYTES // 10**6,
        rows=MAX_ROWS,
        columns=MAX_COLUMNS,
        cell=MAX_CELL,
        line=MAX_LINE,
        unpacked=UNPACKED >> 20,
        freely=content.FREELY >> 20,
        ratio=content.RATIO,
        members=packing.MEMBERS,
        held=content.HELD >> 20,
        memory=MEMORY >> 20,
        seconds=CPU_SECONDS,
    )


def settings_default(name: str) -> int:
    return int(Settings.model_fields[name].get_default())


def table(model: type[BaseModel]) -> str:
    rows = [f"| `{name}` | {default(field)} | {bounds(field)} | {sentence(field)} |" for name, field in model.model_fields.items()]
    return "\n".join(["| parameter | default | range | meaning |", "|---|---|---|---|", *rows, ""])


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=False)
    return "" if value in (None, "", []) or field.is_required() else f"`{value}`"


def bounds(field: FieldInfo) -> str:
    """The range in words: from the limits on the field, or the choices of its type."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{sign} {getattr(rule, name):,}" for rule in field.metadata for name, sign in signs.items() if getattr(rule, name, None) is not None]
    choices = [str(value) for value in getattr(field.annotation, "__args__", ()) if isinstance(value, str)]
    return ", ".join(found or choices)


def sentence(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


if __name__ == "__main__":
    for file, text in pages().items():
        (DOCS / file).write_text(text)
