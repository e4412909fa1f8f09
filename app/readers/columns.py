"""Which column holds the input, the output and the split, and how a row becomes an example."""

from collections.abc import Mapping as Map
from collections.abc import Sequence

from app.readers import MAX_COLUMNS, Detected, Example, Mapping, Note, Problem, Row, Split
from app.readers.excerpts import excerpt, visible
from app.readers.lines import place
from app.readers.options import Options

INPUT_NAMES = ("input", "text", "sentence", "question", "prompt", "instruction", "message", "utterance")
OUTPUT_NAMES = ("output", "label", "answer", "completion", "response", "category", "intent", "sentiment", "class", "target")
SPLIT_NAMES = ("split",)
INSTRUCTION_NAMES = ("instruction",)

SPLITS: Map[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "reserve": "reserve",
}

REFUSALS, STATUS, SAID = {"error", "errors", "documentation_url"}, {"status", "statuscode", "status_code", "code"}, {"message", "detail"}
"""Names in a server's answer that refuses: one of the first, or one each of the others."""

LABELS_IN_SAMPLE = 20
"""Rows needed before a column without a name is taken for labels because its values repeat."""


def is_known_name(name: str) -> bool:
    return name.strip().casefold() in (*INPUT_NAMES, *OUTPUT_NAMES, *SPLIT_NAMES)


def name_problem(names: Sequence[str], line: int, raw: str, unit: str = "Line") -> Problem | None:
    """Why a header cannot name its columns."""
    if len(names) > MAX_COLUMNS:
        return Problem("too_many_columns", line, "", excerpt(raw), f"The header names {len(names):,} columns; the limit is {MAX_COLUMNS}.")
    for index, name in enumerate(names):
        if not name:
            advice = f"Column {index + 1} has no name. Name every column in {unit.lower()} {line}, or remove the column."
            return Problem("unnamed_column", line, f"column {index + 1}", excerpt(raw), advice)
        if name in names[:index]:
            advice = f"Column '{visible(name)}' appears twice (columns {names.index(name) + 1} and {index + 1}). Rename one."
            return Problem("duplicate_column", line, name, excerpt(raw), advice)
    return None


def choose(columns: Sequence[str], asked: Map[str, str | list[str] | None], detected: Detected) -> Mapping | Problem:
    """The mapping for these columns: what a person asked for, else the usual names, whatever their case."""
    wanted: dict[str, str | None] = {field: name if isinstance(name, str | None) else name[0] for field, name in asked.items()}
    several = asked.get("input")
    more = tuple(several[1:]) if isinstance(several, list) else ()
    for name in (*wanted.values(), *more):
        if name is not None and name not in columns:
            return Problem("missing_column", 1, name, "", f"There is no column '{visible(name)}'. {_there_are(columns)}")
    taken = {*wanted.values(), *more}
    chosen: dict[str, str | None] = {
        "input": wanted["input"] if wanted.get("input") else _first(INPUT_NAMES, columns, taken),
        "output": wanted["output"] if "output" in wanted else _first(OUTPUT_NAMES, columns, taken),
        "split": wanted["split"] if "split" in wanted else _first(SPLIT_NAMES, columns, taken),
        # Records of instruction, input and output make one text of the first two, unless somebody says what the input is.
        "instruction": wanted.get("instruction") if wanted.get("input") or "instruction" in wanted else _first(INSTRUCTION_NAMES, columns, taken),
    }
    if chosen["instruction"] == chosen["input"]:
        chosen["instruction"] = None
    if chosen["input"] is None:
        advice = f"No column is named input. {_there_are(columns)} Choose the one that holds the input, or rename it."
        if detected.format in ("csv", "xlsx") and not detected.header:
            advice = (
                f"{detected.unit} 1 looks like data, not like column names. "
                "Add a first line such as input,output, or choose the columns by their number (column 1)."
            )
        return Problem("no_input_column", 1, "", excerpt(", ".join(columns)), advice)
    used = [*(name for name in chosen.values() if name is not None), *more]
    if len(set(used)) < len(used):
        return Problem("same_column_twice", 1, used[0], "", "One column was chosen twice. Input, output and split need a column each.")
    return Mapping(chosen["input"], chosen["output"], chosen["split"], chosen["instruction"], more)


def refusal_saved(rows: Sequence[Row], columns: Sequence[str], options: Options, detected: Detected) -> Problem | None:
    """A single JSON record that is what a server answers instead of the data. Whoever chooses an input knows better."""
    known = {name.casefold() for name in columns}
    refusal = known & REFUSALS or (known & STATUS and known & SAID)
    if not refusal or len(rows) != 1 or detected.format not in ("json", "json_lines") or options.mapping.get("input"):
        return None
    shown = excerpt(", ".join(f"{name}: {cell}" for name, cell in rows[0].cells.items()))
    advice = "This is an error that a server answered, not a table. Download the data itself, signed in where that is needed, and upload that."
    return Problem("error_answer", rows[0].line, "", shown, advice)


def labels_seen(rows: Sequence[Row], columns: Sequence[str]) -> Mapping | None:
    """The mapping of two columns without names when one of them clearly holds labels: its values repeat, those of the other do not."""
    if len(columns) != 2 or len(rows) < LABELS_IN_SAMPLE:
        return None
    few, many = sorted(columns, key=lambda name: len({row.cells.get(name) for row in rows}))
    different = [len({row.cells.get(name) for row in rows}) for name in (few, many)]
    return Mapping(many, few) if 4 * different[0] <= len(rows) and 2 * different[1] > len(rows) else None


def lacking(columns: Sequence[str], mapping: Mapping) -> str | None:
    """The first column of a mapping that is not among these."""
    return next((name for name in (mapping.input, *mapping.more, mapping.output, mapping.instruction) if name is not None and name not in columns), None)


def told(mapping: Mapping, detected: Detected, guessed: bool) -> list[Note]:
    """What a person should know about how the columns were chosen."""
    if guessed:
        sentence = f"There are no column names: {mapping.output} was taken as the output because its values repeat, {mapping.input} as the input."
        return [Note("columns_by_content", f"{sentence} Choose the columns if this is wrong.")]
    if mapping.instruction is not None:
        names = f"'{visible(mapping.instruction)}' and '{visible(mapping.input)}'"
        return [Note("instruction_joined", f"The input is the text of {names}, a blank line between. Choose an input column to use it alone.")]
    return []


def joined_already(rows: Sequence[Row], columns: Sequence[str], mapping: Mapping) -> str | None:
    """The column that holds the text of the several input columns, as a file has it that Fettle wrote: no column of its own once they are joined again."""
    if not mapping.more:
        return None
    texts = [(row.cells, _several(row, mapping)) for row in rows]
    used = {mapping.input, *mapping.more, mapping.output, mapping.split}
    held = (name for name in columns if name not in used and all(cells.get(name) == text for cells, text in texts))
    return next(held, None)


def example(row: Row, mapping: Mapping, unit: str = "Line", joined: str | None = None, given: Split | None = None) -> Example | Problem:
    """A row as an example, its text untouched. An output that is blank, null or left out of a JSON record means unlabelled.

    `joined` is the column that holds the several input columns' text already; a row may leave it empty. `given` is the split that all rows of its file are in.
    """
    others = dict(row.cells)
    text: str | None = _several(row, mapping) if mapping.more else others.pop(mapping.input, None)
    output = others.pop(mapping.output, "") if mapping.output is not None else ""
    split = others.pop(mapping.split, None) if mapping.split is not None else ""
    instruction = others.get(mapping.instruction, "") if mapping.instruction is not None else ""
    if text is None and instruction.strip():
        text = ""
    if text is None or split is None:
        name = (mapping.input if text is None else mapping.split) or ""
        advice = f"{unit} {row.line} has no '{visible(name)}'. Add it to the record."
        return Problem("missing_column", row.line, name, excerpt(", ".join(row.cells)), advice)
    if row.unusable:
        for used in (mapping.input, *mapping.more, mapping.output, mapping.split, mapping.instruction):
            if used in row.unusable:
                code, advice = row.unusable[used]
                return Problem(code, row.line, used, excerpt(row.cells[used]), advice)
    text = _joined(instruction, text)
    if joined is not None and (held := others.pop(joined, "")).strip() and held != text:
        names = ", ".join(visible(name) for name in (mapping.input, *mapping.more))
        advice = f"{place(row.line, joined, unit)} is no longer the text of {names}. Choose '{visible(joined)}' alone as the input, or remove that column."
        return Problem("joined_differently", row.line, joined, excerpt(held), advice)
    if not text.strip():
        advice = f"{place(row.line, mapping.input, unit)} is empty. Fill it in or remove the row."
        return Problem("empty_input", row.line, mapping.input, excerpt(text), advice)
    labelled = bool(output.strip())
    known = given or SPLITS.get(split.strip().casefold())
    if mapping.split is not None and known is None and labelled:
        advice = f"{place(row.line, mapping.split, unit)} must be train, validation, test or reserve."
        return Problem("unknown_split", row.line, mapping.split, excerpt(split), advice)
    return Example(row.line, text, output if labelled else None, known, others)


def used_up(mapping: Mapping) -> set[str]:
    """The columns that are no column of an example any more: they are its input, its output or its split."""
    alone = () if mapping.more else (mapping.input,)
    return {name for name in (*alone, mapping.output, mapping.split) if name is not None}


def _several(row: Row, mapping: Mapping) -> str:
    """Several input columns as one text: a line each, those without a value left out."""
    texts = ((name, row.cells.get(name, "")) for name in (mapping.input, *mapping.more))
    return "\n".join(f"{name}: {text}" for name, text in texts if text.strip())


def _joined(instruction: str, text: str) -> str:
    """An instruction before its input. A text that begins with it has it already, as a file has it that Fettle wrote."""
    if not instruction.strip() or text == instruction or text.startswith(f"{instruction}\n\n"):
        return text
    return f"{instruction}\n\n{text}" if text.strip() else instruction


def _first(names: Sequence[str], columns: Sequence[str], taken: set[str | None]) -> str | None:
    by_name = {column.strip().casefold(): column for column in reversed(columns) if column not in taken}
    return next((by_name[name] for name in names if name in by_name), None)


def _there_are(columns: Sequence[str]) -> str:
    return f"The columns are: {', '.join(map(visible, columns)) or 'none'}."
