"""What is wrong with a set of examples, before anything is trained or scored on it: counted, worded, with rows to look at.

Pure. A finding never changes a row: merging labels or leaving out rows is a person's decision.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from app.readers import Example
from app.readers.examined import Mark, Table
from app.readers.excerpts import excerpt
from app.readers.findings import Finding, Fix, Group, Health, drop
from app.readers.lookalikes import look_alike_groups, merged
from app.readers.personal import has_personal_data
from app.readers.several import in_json, several

__all__ = ["CODES", "Finding", "Health", "examine"]

MOST_LABELS = 1_000
FEWEST_ROWS = 10
FEWEST_OF_A_CLASS = 3
IMBALANCE = 0.9
LONG = 8_000
"""Characters; English text has about four to a token."""

MISSING_MARKERS = {"na", "n/a", "nan", "null", "none", "nil", "#n/a", "-", "?"}

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""A carriage return is none: it stands in every cell of several lines that Windows wrote."""

_ALONE = r"(?<![\\\w}\]^$])(?<!\w\*)"
"""Before a brace: it is no argument of a formula's command, and no part of a name or of a string in code."""

_SPECIAL_TOKEN = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?s>|\[/?(?:MASK|PAD|CLS|SEP|UNK|INST)\]|<</?SYS>>|<(?:bos|eos|pad|unk|mask)>|<(?:start|end)_of_turn>|<extra_id_\d{1,3}>"
    rf"|{_ALONE}\{{\{{ ?[A-Za-z_]\w{{0,30}} ?\}}\}}"
)
_PLACEHOLDER = re.compile(rf"{_ALONE}(?<!\{{)(?<!return )\{{[A-Za-z_]\w{{2,30}}\}}")
"""A word in single braces. It may still be code, or a set in a formula: rows are never dropped for it."""

MARKS: dict[str, Mark] = {
    "control_characters": lambda row: any(map(_CONTROL.search, (row.input, row.output or "", *row.cells.values()))),
    "special_tokens": lambda row: _SPECIAL_TOKEN.search(row.input) or _SPECIAL_TOKEN.search(row.output or ""),
    "placeholders": lambda row: _PLACEHOLDER.search(row.input) or _PLACEHOLDER.search(row.output or ""),
    "copied_outputs": lambda row: row.output is not None and row.output.strip() == row.input.strip(),
    "personal_data": has_personal_data,
    "several_labels": lambda row: row.output is not None and several(row.output),
    "listed_labels": lambda row: row.output is not None and in_json(row.output),
}
"""What is looked for in every row, by the code of its finding."""


def examine(examples: Iterable[Example], near: Sequence[Group], free: bool = False) -> Health:
    """All findings about these examples, of which `near` are groups of near-duplicates by their numbers (app/readers/near_duplicates.py). `free`: their
    splits were made here and nobody has used them yet, so that rows may change their side.

    They are walked over twice; a version's come from the database each time, so that memory does not grow with their texts.
    """
    table = Table(examples, near, MARKS)
    table.free = free
    findings = sorted((finding for check in CHECKS.values() for finding in [check(table)] if finding), key=lambda finding: -finding.harm)
    return Health(len(table), len(table) - len(table.labelled), table.per_split, tuple(findings))


def _leakage(table: Table) -> Finding | None:
    groups = [group for group in table.same_input if table.crosses(group)]
    leaked = [number for group in groups for number in group if table.split(number) != "train"]
    many = _n(len(leaked), "validation or test row has", "validation or test rows have")
    sentence = f"{many} the same text as a row of another split: scores on them are too good. Remove them from one side."
    return table.finding("leakage", 3, len(leaked), sentence, _flat(groups), leaked, drop(table.copies(groups))) if leaked else None


def _near_leakage(table: Table) -> Finding | None:
    exact = {number for group in table.same_input if table.crosses(group) for number in group}
    groups = [group for group in table.near if table.crosses(group) and not exact.issuperset(group)]
    leaked = [number for group in groups for number in group if table.split(number) != "train" and number not in exact]
    if not leaked:
        return None
    same = f"{_n(len(leaked), 'validation or test row is', 'validation or test rows are')} nearly the same as a row of another split"
    if table.free:
        apart = [[number for number in group if table.has_output(number)] for group in table.near if table.crosses(group)]
        sentence = f"{same}: a long file is cut while it comes in, before near-duplicates are known. Put them on one side before anything is trained or scored."
        return table.finding("near_leakage", 2, len(leaked), sentence, _flat(groups), leaked, Fix("gather", tuple(_flat(apart)), groups=apart))
    sentence = f"{same}. Look at them, or drop those outside of the most protected split."
    return table.finding("near_leakage", 2, len(leaked), sentence, _flat(groups), leaked, drop(table.copies(groups)))


def _conflicts(table: Table) -> Finding | None:
    if not table.classes:
        return None
    groups = [group for group in table.same_input if len({table.output(number) for number in group if table.has_output(number)}) > 1]
    rows = _flat(groups)
    sentence = f"{len(rows):,} rows share their text with a row of another label. Decide which is right."
    return table.finding("conflicting_labels", 3, len(rows), sentence, rows, fix=drop(_outvoted(table, groups))) if rows else None


def _outvoted(table: Table, groups: Iterable[Group]) -> list[int]:
    """Rows whose label is not the one that most rows of their text have; all of them where two labels have as many."""
    found = []
    for group in groups:
        labels = Counter(table.output(number) for number in group if table.has_output(number)).most_common(2)
        tied = labels[0][1] == labels[1][1]
        found += [number for number in group if table.has_output(number) and (tied or table.output(number) != labels[0][0])]
    return found


def _duplicates(table: Table) -> Finding | None:
    # Free text may have several right answers for one input; those rows are no duplicates.
    groups = table.same_input if table.classes else [group for group in table.same_input if len({table.answer(number) for number in group}) < len(group)]
    later = [number for group in groups for number in group[1:]]
    # One click drops rows that say nothing new; which of two labels is right is another question.
    same = [[number for number in group if table.answer(number) == label] for group in groups for label in dict.fromkeys(map(table.answer, group))]
    sentence = f"{_n(len(later), 'duplicate row', 'duplicate rows')}: the same text stands further up."
    return table.finding("duplicates", 1, len(later), sentence, _flat(groups), later, drop(table.repeats(same))) if later else None


def _near_duplicates(table: Table) -> Finding | None:
    groups = [group for group in table.near if len({table.same[number] for number in group}) > 1]
    later = [number for group in groups for number in group[1:]]
    sentence = f"{_n(len(later), 'row nearly repeats', 'rows nearly repeat')} another row. They stay together when splits are made."
    return table.finding("near_duplicates", 1, len(later), sentence, _flat(groups), later, drop(table.repeats(groups))) if later else None


def _one_class(table: Table) -> Finding | None:
    if table.distinct_outputs != 1:
        return None
    label = _shown(next(iter(table.classes)))
    return table.finding(
        "one_class",
        3,
        1,
        f"All rows have the label {label}. A classifier needs at least two: append rows of another one, or import the file with another output column.",
    )


def _tiny_classes(table: Table) -> Finding | None:
    tiny = sorted((label for label, count in table.classes.items() if count < FEWEST_OF_A_CLASS), key=lambda label: (table.classes[label], label))
    if not tiny:
        return None
    count = "1 row" if table.classes[tiny[0]] == 1 else f"{table.classes[tiny[0]]} rows"
    others = f" ({len(tiny) - 1:,} more such labels)" if len(tiny) > 1 else ""
    sentence = f"{_shown(tiny[0])} has {count}{others}; each class needs at least {FEWEST_OF_A_CLASS} (one per split)."
    rows = _with_labels(table, tiny)
    return table.finding("tiny_classes", 2, len(tiny), sentence, rows, (), drop(rows))


def _with_labels(table: Table, labels: Iterable[str]) -> list[int]:
    """The rows that have one of these labels, label by label."""
    rank = {label: at for at, label in enumerate(labels)}
    return sorted(table.having(rank.__contains__), key=lambda number: (rank[table.output(number)], number))


def _unseen(table: Table) -> Finding | None:
    trained = table.per_split.get("train")
    if not trained:
        return None
    found = [number for number in table.labelled if table.split(number) in ("validation", "test") and table.output(number) not in trained]
    labels = list(dict.fromkeys(map(table.output, found)))
    splits = sorted({table.split(number) for number in found})
    sentence = f"{', '.join(map(str.capitalize, splits))} has labels that train never shows: {_listed(labels)}."
    fix = Fix("move", tuple(found), "train") if splits == ["validation"] else drop(found)
    return table.finding("unseen_labels", 3, len(found), sentence, found, fix=fix) if found else None


def _untested(table: Table) -> Finding | None:
    tested = table.per_split.get("test")
    labels = [label for label in table.per_split.get("train", ()) if label not in tested] if tested else []
    if not labels:
        return None
    them = "it" if len(labels) == 1 else "them"
    sentence = f"Test has no row of {_n(len(labels), 'label', 'labels')} that train shows: {_listed(labels)}. No score on it says anything about {them}: append rows of {them}."
    rows = [number for number in _with_labels(table, labels) if table.split(number) == "train"]
    return table.finding("untested_labels", 2, len(labels), sentence, rows)


def _few_rows(table: Table) -> Finding | None:
    n = len(table.labelled)
    rows = "1 row" if n == 1 else f"{n} rows"
    return (
        table.finding("few_rows", 3, n, f"{rows}: at least {FEWEST_ROWS} are needed to train (and 2 per class to test). Append rows, or label some.")
        if 0 < n < FEWEST_ROWS
        else None
    )


def _many_labels(table: Table) -> Finding | None:
    n = len(table.classes)
    return (
        table.finding(
            "many_labels",
            2,
            n,
            f"{n:,} different labels; the limit is {MOST_LABELS:,}. Import the file with a coarser label column, or edit rare labels into others.",
        )
        if n > MOST_LABELS
        else None
    )


def _numbers(table: Table) -> Finding | None:
    n = table.distinct_outputs
    if table.classes or n <= 20 or table.numeric < 0.95 * len(table.labelled):
        return None
    sentence = f"The output holds {n:,} different numbers. Fettle learns labels and texts, not quantities: put them into classes."
    return table.finding("numbers_as_labels", 2, n, sentence)


def _look_alikes(table: Table) -> Finding | None:
    groups = look_alike_groups(table.classes)
    if not groups:
        return None
    labels, difference = groups[0]
    shown = " and ".join(f"{label!a} ({table.classes[label]:,})" if difference != "case" else f"'{label}' ({table.classes[label]:,})" for label in labels)
    sentence = f"{len(labels)} labels look the same (they differ by {difference}): {shown}. Merge?"
    rows = _with_labels(table, dict.fromkeys(label for group, _ in groups for label in group))
    return table.finding(
        "look_alike_labels", 2, sum(len(group) for group, _ in groups), sentence, rows, (), Fix("relabel", labels=dict(merged(groups, table.classes)))
    )


def _imbalance(table: Table) -> Finding | None:
    if len(table.classes) < 2:
        return None
    label, count = table.classes.most_common(1)[0]
    share = count / len(table.labelled)
    if share < IMBALANCE:
        return None
    sentence = f"{share:.0%} of the rows have the label {_shown(label)}: always answering it is right that often. Look at macro-F1, not at accuracy, and label more rows of the others."
    others = [number for number in table.labelled if table.output(number) != label]
    return table.finding("imbalance", 1, count, sentence, others, ())


def _missing_markers(table: Table) -> Finding | None:
    marked = {label: count for label, count in table.classes.items() if label.strip().casefold() in MISSING_MARKERS}
    sentence = f"{_listed(list(marked))} looks like a missing-value marker in {sum(marked.values()):,} rows. It is kept as a label; clear the cells if it means nothing."
    rows = _with_labels(table, marked)
    return table.finding("missing_markers", 1, sum(marked.values()), sentence, rows, (), Fix("relabel", labels=dict.fromkeys(marked))) if marked else None


def _label_in_text(table: Table) -> Finding | None:
    if len(table.classes) < 2:
        return None
    found = table.holding_their_label
    share = len(found) / len(table.labelled)
    sentence = f"In {share:.0%} of the rows the text contains its label: a score would measure nothing. Take it out of the texts and import the file again, or choose input columns without it."
    return table.finding("label_in_text", 3, len(found), sentence, found) if share >= 0.8 else None


def _swapped(table: Table) -> Finding | None:
    longer = table.output_characters > 2 * table.input_characters
    repeated = 4 * table.distinct_inputs <= len(table.labelled) and table.distinct_outputs > 0.9 * len(table.labelled)
    swapped = len(table.labelled) >= FEWEST_ROWS and repeated and longer
    sentence = "The outputs are longer than the inputs, and the inputs repeat like labels. Were the two columns swapped? Import the file again with them the other way round."
    return table.finding("swapped_columns", 3, len(table.labelled), sentence) if swapped else None


def _copied(table: Table) -> Finding | None:
    rows = table.marked("copied_outputs")
    share = len(rows) / max(1, len(table.labelled))
    sentence = (
        f"In {share:.0%} of the rows the output is the input itself: there is nothing to learn from them. Import the file again with another output column."
    )
    return table.finding("copied_outputs", 3, len(rows), sentence, rows) if share > 0.8 and not table.classes else None


def _several_labels(table: Table) -> Finding | None:
    listed = table.marked("listed_labels")
    rows = sorted({*table.marked("several_labels"), *listed})
    share = len(rows) / max(1, len(table.labelled))
    how = "are written as JSON lists" if 2 * len(listed) >= len(rows) else "contain ';' or '|'"
    sentence = f"Labels {how} in {share:.0%} of the rows. Fettle trains one label per text: each combination counts as a label. Give each row one label in the file, or say which one counts by editing it."
    return table.finding("several_labels", 2, len(rows), sentence, rows) if share >= 0.5 and (table.classes or table.parts_repeat) else None


def _long_inputs(table: Table) -> Finding | None:
    rows = sorted((number for number, length in enumerate(table.lengths) if length > LONG), key=lambda number: -table.lengths[number])
    if not rows:
        return None
    longest = table.lengths[rows[0]]
    many = f"{_n(len(rows), 'row has', 'rows have')} an input of more than {LONG:,} characters (the longest {longest:,})"
    sentence = f"{many}: a model may not take them as a whole. Counted in characters, until they are counted in tokens of a model."
    return table.finding("long_inputs", 2, len(rows), sentence, rows, fix=drop(rows))


def over_window(rows: int, longest: int, model: str, window: int) -> Finding:
    """The same of so many rows that were counted in tokens of a model."""
    many = f"{_n(rows, 'row has', 'rows have')} an input of more than the {window:,} tokens that {model} takes at once (the longest {longest:,})"
    return Finding(
        "long_inputs", 2, rows, f"{many}: {'it is' if rows == 1 else 'they are'} not read as a whole.", rows=tuple(range(rows)), fix=drop(range(rows))
    )


def unreadable(rows: int, model: str) -> Finding:
    """Rows of which a model does not know more than half of the tokens."""
    sentence = f"In {_n(rows, 'row', 'rows')} more than half of the tokens are unknown to {model}: to it such texts look alike."
    return Finding("unknown_tokens", 2, rows, sentence, rows=tuple(range(rows)), fix=drop(range(rows)))


def _where(table: Table, code: str, verb: tuple[str, str], sentence: str) -> Finding | None:
    """A finding about the examples that have the mark of its code; the sentence goes on after "n rows" and the verb (for one row, for many)."""
    rows = table.marked(code)
    return table.finding(code, 1, len(rows), f"{_n(len(rows), f'row {verb[0]}', f'rows {verb[1]}')} {sentence}", rows, fix=drop(rows)) if rows else None


def _control(table: Table) -> Finding | None:
    return _where(table, "control_characters", ("contains", "contain"), "control characters. They are kept, and shown as escapes.")


def _special_tokens(table: Table) -> Finding | None:
    tokens = table.marked("special_tokens")
    rows = sorted({*tokens, *table.marked("placeholders")})
    many = _n(len(rows), "row contains", "rows contain")
    sentence = f"{many} placeholders of prompts or special tokens of models, such as {{label}} or <|im_end|>. They are treated as text."
    otherwise = "" if tokens else " If a template was not filled in, put its values in and import the file again."
    return table.finding("special_tokens", 1, len(rows), sentence + otherwise, rows, fix=drop(tokens)) if rows else None


def _personal(table: Table) -> Finding | None:
    sentence = "to contain an e-mail address, a phone, card or account number, or a key. Think about who may read this dataset."
    return _where(table, "personal_data", ("seems", "seem"), sentence)


def _flat(groups: Iterable[Group]) -> list[int]:
    return [number for group in groups for number in group]


def _n(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _shown(label: str) -> str:
    """A label in a sentence: short, and with what cannot be seen made visible."""
    return f"'{excerpt(label)}'"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(map(_shown, labels[:3])) + (f" and {len(labels) - 3:,} more" if len(labels) > 3 else "")


CHECKS: dict[str, Callable[[Table], Finding | None]] = {
    "leakage": _leakage,
    "conflicting_labels": _conflicts,
    "one_class": _one_class,
    "unseen_labels": _unseen,
    "label_in_text": _label_in_text,
    "swapped_columns": _swapped,
    "copied_outputs": _copied,
    "few_rows": _few_rows,
    "near_leakage": _near_leakage,
    "long_inputs": _long_inputs,
    "tiny_classes": _tiny_classes,
    "untested_labels": _untested,
    "look_alike_labels": _look_alikes,
    "many_labels": _many_labels,
    "numbers_as_labels": _numbers,
    "several_labels": _several_labels,
    "imbalance": _imbalance,
    "duplicates": _duplicates,
    "near_duplicates": _near_duplicates,
    "missing_markers": _missing_markers,
    "control_characters": _control,
    "special_tokens": _special_tokens,
    "personal_data": _personal,
}

CODES = tuple(CHECKS)
"""Every check there is, by the code of its finding, the more harmful ones first."""

OF_TOKENS = ("unknown_tokens",)
"""What is only known once the tokens of a model are counted (services/health.py)."""
