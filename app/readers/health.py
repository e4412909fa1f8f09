"""What is wrong with a set of examples, before anything is trained or scored on it: counted, worded, with rows to look at.

Pure. A finding never changes a row: merging labels or leaving out rows is a person's decision.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from app.domain.scoring import normalise
from app.readers import Example
from app.readers.excerpts import excerpt
from app.readers.lookalikes import look_alike_groups
from app.readers.near_duplicates import near_duplicate_groups

__all__ = ["Finding", "Health", "examine", "near_duplicate_groups"]

SHOWN = 5
"""Rows named with a finding."""

MOST_LABELS = 1_000
FEWEST_ROWS = 10
FEWEST_OF_A_CLASS = 3
IMBALANCE = 0.9
MISSING_MARKERS = {"na", "n/a", "nan", "null", "none", "nil", "#n/a", "-", "?"}

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SPECIAL_TOKEN = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|\[(?:MASK|PAD|CLS|SEP|UNK|INST)\]|<(?:bos|eos|pad|unk)>")
_PERSONAL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}\.[\w.]{2,63}\b|\b(?:\d[ -]?){15}\d\b|\b(?:sk|ghp|xox[bp])[-_]\w{16,}")
_SEVERAL = re.compile(r"[;|]")


@dataclass(frozen=True)
class Finding:
    """`count` rows (or labels) are concerned; `lines` names some of them by their line in the file. `harm`: 3 spoils scores, 2 hurts, 1 is worth knowing."""

    code: str
    harm: int
    count: int
    sentence: str
    lines: tuple[int, ...] = ()


@dataclass(frozen=True)
class Health:
    """`labels` counts each label per split (split "" when there is none); it is empty when the outputs are free text. Findings: most harm first."""

    rows: int
    unlabelled: int
    labels: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]


class _Table:
    """Examples with what several checks look at, worked out once."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self.examples = list(examples)
        self.labelled = [example for example in self.examples if example.output is not None]
        self.outputs = Counter(example.output or "" for example in self.labelled)

    @cached_property
    def classes(self) -> Counter[str]:
        """The labels with their counts; empty when outputs repeat too little to be labels."""
        return self.outputs if 2 * len(self.outputs) <= len(self.labelled) or len(self.outputs) <= 2 else Counter()

    @cached_property
    def same_input(self) -> list[list[Example]]:
        """Examples with the same normalised input, where there are several."""
        groups: dict[bytes, list[Example]] = defaultdict(list)
        for example in self.examples:
            groups[sha256(normalise(example.input).encode("utf-8", "surrogatepass")).digest()].append(example)
        return [group for group in groups.values() if len(group) > 1]

    @cached_property
    def near(self) -> list[list[Example]]:
        return [[self.examples[number] for number in group] for group in near_duplicate_groups([example.input for example in self.examples])]

    @cached_property
    def per_split(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        if self.classes:
            for example in self.labelled:
                split = counts.setdefault(example.split or "", {})
                split[example.output or ""] = split.get(example.output or "", 0) + 1
        return counts

    def where(self, code: str, pattern: re.Pattern[str], sentence: str) -> Finding | None:
        """A finding about the examples whose input holds the pattern; the sentence goes on after "n rows"."""
        found = [example.line for example in self.examples if pattern.search(example.input)]
        return _finding(code, 1, len(found), f"{len(found):,} rows {sentence}", found) if found else None


def examine(examples: Iterable[Example]) -> Health:
    """All findings about these examples. Takes about a second for 20,000 short texts."""
    table = _Table(examples)
    findings = sorted((finding for check in CHECKS if (finding := check(table))), key=lambda finding: -finding.harm)
    return Health(len(table.examples), len(table.examples) - len(table.labelled), table.per_split, tuple(findings))


def _finding(code: str, harm: int, count: int, sentence: str, lines: Sequence[int] = ()) -> Finding:
    return Finding(code, harm, count, sentence, tuple(lines[:SHOWN]))


def _leakage(table: _Table) -> Finding | None:
    leaked = [example for group in table.same_input if _crosses(group) for example in group if example.split != "train"]
    sentence = f"{len(leaked):,} validation or test rows have the same text as a row of another split: scores on them are too good. Remove them from one side."
    return _finding("leakage", 3, len(leaked), sentence, [one.line for one in leaked]) if leaked else None


def _near_leakage(table: _Table) -> Finding | None:
    exact = {example.line for group in table.same_input if _crosses(group) for example in group}
    leaked = [example for group in table.near if _crosses(group) for example in group if example.split != "train" and example.line not in exact]
    sentence = f"{len(leaked):,} validation or test rows are nearly the same as a row of another split. Look at them, or let the splits be made anew."
    return _finding("near_leakage", 2, len(leaked), sentence, [one.line for one in leaked]) if leaked else None


def _crosses(group: Sequence[Example]) -> bool:
    return len({example.split for example in group if example.split}) > 1


def _conflicts(table: _Table) -> Finding | None:
    if not table.classes:
        return None
    groups = [group for group in table.same_input if len({example.output for example in group if example.output is not None}) > 1]
    lines = [example.line for group in groups for example in group]
    return (
        _finding("conflicting_labels", 3, len(lines), f"{len(lines):,} rows share their text with a row of another label. Decide which is right.", lines)
        if lines
        else None
    )


def _duplicates(table: _Table) -> Finding | None:
    # Free text may have several right answers for one input; those rows are no duplicates.
    groups = table.same_input if table.classes else [group for group in table.same_input if len({example.output for example in group}) < len(group)]
    lines = [example.line for group in groups for example in group[1:]]
    return _finding("duplicates", 1, len(lines), f"{len(lines):,} duplicate rows: the same text stands further up.", lines) if lines else None


def _near_duplicates(table: _Table) -> Finding | None:
    lines = [example.line for group in table.near if len({normalise(one.input) for one in group}) > 1 for example in group[1:]]
    return (
        _finding("near_duplicates", 1, len(lines), f"{len(lines):,} rows nearly repeat another row. They stay together when splits are made.", lines)
        if lines
        else None
    )


def _one_class(table: _Table) -> Finding | None:
    if len(table.outputs) != 1:
        return None
    label = _shown(next(iter(table.outputs)))
    return _finding("one_class", 3, 1, f"All rows have the label {label}. A classifier needs at least two.")


def _tiny_classes(table: _Table) -> Finding | None:
    tiny = sorted((label for label, count in table.classes.items() if count < FEWEST_OF_A_CLASS), key=lambda label: (table.classes[label], label))
    if not tiny:
        return None
    rows = "1 row" if table.classes[tiny[0]] == 1 else f"{table.classes[tiny[0]]} rows"
    others = f" ({len(tiny) - 1:,} more such labels)" if len(tiny) > 1 else ""
    sentence = f"{_shown(tiny[0])} has {rows}{others}; each class needs at least {FEWEST_OF_A_CLASS} (one per split)."
    return _finding("tiny_classes", 2, len(tiny), sentence)


def _unseen(table: _Table) -> Finding | None:
    trained = table.per_split.get("train")
    if not trained:
        return None
    found = [example for example in table.labelled if example.split in ("validation", "test") and example.output not in trained]
    labels = list(dict.fromkeys(example.output or "" for example in found))
    sentence = f"{', '.join(sorted({(one.split or '').capitalize() for one in found}))} has labels that train never shows: {_listed(labels)}."
    return _finding("unseen_labels", 3, len(found), sentence, [one.line for one in found]) if found else None


def _few_rows(table: _Table) -> Finding | None:
    n = len(table.labelled)
    rows = "1 row" if n == 1 else f"{n} rows"
    return _finding("few_rows", 3, n, f"{rows}: at least {FEWEST_ROWS} are needed to train (and 2 per class to test).") if 0 < n < FEWEST_ROWS else None


def _many_labels(table: _Table) -> Finding | None:
    n = len(table.outputs)
    numbers = sum(count for output, count in table.outputs.items() if re.fullmatch(r"[+-]?\d+(\.\d+)?", output))
    if table.classes or n <= 20 or numbers < 0.95 * len(table.labelled):
        return _finding("many_labels", 2, n, f"{n:,} different labels; the limit is {MOST_LABELS:,}.") if len(table.classes) > MOST_LABELS else None
    return _finding(
        "numbers_as_labels", 2, n, f"The output holds {n:,} different numbers. Fettle learns labels and texts, not quantities: put them into classes."
    )


def _look_alikes(table: _Table) -> Finding | None:
    groups = look_alike_groups(table.classes)
    if not groups:
        return None
    labels, difference = groups[0]
    shown = " and ".join(f"{label!a} ({table.classes[label]:,})" if difference != "case" else f"'{label}' ({table.classes[label]:,})" for label in labels)
    return _finding(
        "look_alike_labels", 2, sum(len(group) for group, _ in groups), f"{len(labels)} labels look the same (they differ by {difference}): {shown}. Merge?"
    )


def _imbalance(table: _Table) -> Finding | None:
    if len(table.classes) < 2:
        return None
    label, count = table.classes.most_common(1)[0]
    share = count / len(table.labelled)
    sentence = f"{share:.0%} of the rows have the label {_shown(label)}: always answering it is right that often. Look at macro-F1, not at accuracy."
    return _finding("imbalance", 1, count, sentence) if share >= IMBALANCE else None


def _missing_markers(table: _Table) -> Finding | None:
    marked = {label: count for label, count in table.classes.items() if label.strip().casefold() in MISSING_MARKERS}
    sentence = f"{_listed(list(marked))} looks like a missing-value marker in {sum(marked.values()):,} rows. It is kept as a label; clear the cells if it means nothing."
    return _finding("missing_markers", 1, sum(marked.values()), sentence) if marked else None


def _label_in_text(table: _Table) -> Finding | None:
    if len(table.classes) < 2:
        return None
    patterns = {label: re.compile(rf"(?<!\w){re.escape(label)}(?!\w)", re.IGNORECASE) for label in table.classes if len(label) > 1}
    found = [one for one in table.labelled if one.output in patterns and patterns[one.output].search(one.input)]
    share = len(found) / len(table.labelled)
    sentence = f"In {share:.0%} of the rows the text contains its label: a score would measure nothing. Remove it from the texts."
    return _finding("label_in_text", 3, len(found), sentence, [one.line for one in found]) if share >= 0.8 else None


def _swapped(table: _Table) -> Finding | None:
    inputs = Counter(example.input for example in table.labelled)
    longer = sum(map(len, table.outputs.elements())) > 2 * sum(map(len, inputs.elements()))
    swapped = len(table.labelled) >= FEWEST_ROWS and 4 * len(inputs) <= len(table.labelled) and len(table.outputs) > 0.9 * len(table.labelled) and longer
    sentence = "The outputs are longer than the inputs, and the inputs repeat like labels. Were the two columns swapped?"
    return _finding("swapped_columns", 3, len(table.labelled), sentence) if swapped else None


def _several_labels(table: _Table) -> Finding | None:
    lines = [example.line for example in table.labelled if _SEVERAL.search(example.output or "")] if table.classes else []
    share = len(lines) / max(1, len(table.labelled))
    sentence = f"Labels contain ';' or '|' in {share:.0%} of the rows. Fettle trains one label per text: each combination counts as a label."
    return _finding("several_labels", 2, len(lines), sentence, lines) if share >= 0.5 else None


def _control(table: _Table) -> Finding | None:
    return table.where("control_characters", _CONTROL, "contain control characters. They are kept, and shown as escapes.")


def _special_tokens(table: _Table) -> Finding | None:
    return table.where("special_tokens", _SPECIAL_TOKEN, "contain a model's special tokens, such as <|im_end|>. They are treated as text.")


def _personal(table: _Table) -> Finding | None:
    return table.where("personal_data", _PERSONAL, "seem to contain an e-mail address, a card number or a key. Think about who may read this dataset.")


def _shown(label: str) -> str:
    """A label in a sentence: short, and with what cannot be seen made visible."""
    return f"'{excerpt(label)}'"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(map(_shown, labels[:3])) + (f" and {len(labels) - 3:,} more" if len(labels) > 3 else "")


CHECKS: tuple[Callable[[_Table], Finding | None], ...] = (
    _leakage,
    _conflicts,
    _one_class,
    _unseen,
    _label_in_text,
    _swapped,
    _few_rows,
    _near_leakage,
    _tiny_classes,
    _look_alikes,
    _many_labels,
    _several_labels,
    _imbalance,
    _duplicates,
    _near_duplicates,
    _missing_markers,
    _control,
    _special_tokens,
    _personal,
)
