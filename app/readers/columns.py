"""Which column holds the input, the output and the split, and how a row becomes an example."""

from collections.abc import Mapping as Map
from collections.abc import Sequence

from app.readers import Detected, Example, Mapping, Problem, Row, Split
from app.readers.excerpts import excerpt, visible
from app.readers.lines import place

INPUT_NAMES = ("input", "text", "sentence", "question", "prompt", "instruction", "message")
OUTPUT_NAMES = ("output", "label", "answer", "completion", "response", "category")
SPLIT_NAMES = ("split",)

SPLITS: Map[str, Split] = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "test": "test"}


def is_known_name(name: str) -> bool:
    return name.strip().casefold() in (*INPUT_NAMES, *OUTPUT_NAMES, *SPLIT_NAMES)


def choose(columns: Sequence[str], wanted: Map[str, str | None], detected: Detected) -> Mapping | Problem:
    """The mapping for these columns: what a person asked for, else the usual names, whatever their case."""
    for name in wanted.values():
        if name is not None and name not in columns:
            return Problem("missing_column", 1, name, "", f"There is no column '{visible(name)}'. {_there_are(columns)}")
    chosen = {
        "input": wanted["input"] if wanted.get("input") else _first(INPUT_NAMES, columns, set(wanted.values())),
        "output": wanted["output"] if "output" in wanted else _first(OUTPUT_NAMES, columns, set(wanted.values())),
        "split": wanted["split"] if "split" in wanted else _first(SPLIT_NAMES, columns, set(wanted.values())),
    }
    if chosen["input"] is None:
        advice = f"No column is named input. {_there_are(columns)} Choose the one that holds the input, or rename it."
        if detected.format == "csv" and not detected.header:
            advice = "Line 1 looks like data, not like column names. Add a first line such as input,output, or choose the columns by their number."
        return Problem("no_input_column", 1, "", excerpt(", ".join(columns)), advice)
    used = [name for name in chosen.values() if name is not None]
    if len(set(used)) < len(used):
        return Problem("same_column_twice", 1, used[0], "", "One column was chosen twice. Input, output and split need a column each.")
    return Mapping(chosen["input"], chosen["output"], chosen["split"])


def example(row: Row, mapping: Mapping) -> Example | Problem:
    """A row as an example, its text untouched. An output that is blank, null or left out of a JSON record means unlabelled."""
    others = dict(row.cells)
    text = others.pop(mapping.input, None)
    output = others.pop(mapping.output, "") if mapping.output is not None else ""
    split = others.pop(mapping.split, None) if mapping.split is not None else ""
    if text is None or split is None:
        name = (mapping.input if text is None else mapping.split) or ""
        return Problem("missing_column", row.line, name, excerpt(", ".join(row.cells)), f"Line {row.line} has no '{visible(name)}'. Add it to the record.")
    if row.nested:
        for name in row.nested.intersection((mapping.input, mapping.output or "", mapping.split or "")):
            advice = f"{place(row.line, name)} holds a list or an object; only text and numbers can be used."
            return Problem("nested_value", row.line, name, excerpt(row.cells[name]), advice)
    if not text.strip():
        advice = f"{place(row.line, mapping.input)} is empty. Fill it in or remove the row."
        return Problem("empty_input", row.line, mapping.input, excerpt(text), advice)
    labelled = bool(output.strip())
    known = SPLITS.get(split.strip().casefold())
    if mapping.split is not None and known is None and labelled:
        advice = f"{place(row.line, mapping.split)} must be train, validation or test."
        return Problem("unknown_split", row.line, mapping.split, excerpt(split), advice)
    return Example(row.line, text, output if labelled else None, known, others)


def _first(names: Sequence[str], columns: Sequence[str], taken: set[str | None]) -> str | None:
    by_name = {column.strip().casefold(): column for column in reversed(columns) if column not in taken}
    return next((by_name[name] for name in names if name in by_name), None)


def _there_are(columns: Sequence[str]) -> str:
    return f"The columns are: {', '.join(map(visible, columns)) or 'none'}."
