"""What findings, remedies and changes of datasets are called on pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.dataset import DatasetVersion
from app.domain.finding import Finding
from app.domain.splits import SPLITS
from app.domain.stats import detectable
from app.pages.formatting import count, number
from app.readers.health import CODES

CARDS = 7
"""Findings shown in full; the others fold to a line."""

TITLES = {
    "leakage": ("Leakage between splits", "no leakage between splits"),
    "conflicting_labels": ("Conflicting duplicates", "no text with two labels"),
    "one_class": ("Only one label", "more than one label"),
    "unseen_labels": ("Labels that train never shows", "every label is trained"),
    "label_in_text": ("The label stands in the text", "labels do not stand in the texts"),
    "swapped_columns": ("Columns may be swapped", "columns are the right way round"),
    "copied_outputs": ("The output is the input", "outputs are no copies of the inputs"),
    "few_rows": ("Too few rows", "enough rows"),
    "near_leakage": ("Near-duplicates across splits", "no near-duplicates across splits"),
    "long_inputs": ("Very long inputs", "no very long inputs"),
    "unknown_tokens": ("Texts a model cannot read", "every text can be read"),
    "tiny_classes": ("Tiny classes", "no tiny classes"),
    "untested_labels": ("Labels that test never shows", "every label is tested"),
    "look_alike_labels": ("Labels that look alike", "no labels that look alike"),
    "many_labels": ("Too many labels", "a bearable number of labels"),
    "numbers_as_labels": ("Numbers as labels", "outputs are no quantities"),
    "several_labels": ("Several labels in one", "one label a row"),
    "imbalance": ("Imbalance", "no label has it nearly all"),
    "duplicates": ("Duplicates", "no duplicates"),
    "near_duplicates": ("Near-duplicates", "no near-duplicates"),
    "missing_markers": ("Markers of missing values", "no markers of missing values"),
    "control_characters": ("Control characters", "no control characters"),
    "special_tokens": ("Placeholders or special tokens", "no placeholders or special tokens of models"),
    "personal_data": ("Personal data or secrets", "no e-mail addresses, phone, card or account numbers, or keys"),
}
"""By the code of a finding: its title, and what is said when it is not there."""


def title(code: str) -> str:
    return TITLES[code][0]


OF_SOME_ROWS = ("leakage", "conflicting_labels", "look_alike_labels", "missing_markers", "duplicates")
"""What is worth saying of a file that goes onto a dataset: how many rows its labels have, it is not for the file alone to say."""


def foreseen(report: Mapping[str, Any], appended: bool) -> list[tuple[str, str]]:
    """What a file's report says of its health before anything is made of it: (title, sentence), the most harmful first."""
    return [(title(one["code"]), one["sentence"]) for one in report.get("warnings") or [] if not appended or one["code"] in OF_SOME_ROWS]


def detects(rows: int | None) -> str:
    """What a test split of so many rows can tell; none while they are not counted."""
    if rows is None:
        return "What the test split can detect is told once all rows are counted."
    if not rows:
        return "Without a test split nothing can be compared on this dataset."
    if (gap := detectable(rows)) >= 1:
        return f"A test split of {count(rows)} rows is too small to detect any usual difference."
    return f"A test split of {count(rows)} rows can detect differences of about ±{number(gap * 100, 1)} points."


def fine(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """The checks that found nothing: the code of each, and what is said of it."""
    found = {finding.code for finding in findings}
    return [(code, TITLES[code][1]) for code in CODES if code not in found]


def remedy(finding: Finding, version: DatasetVersion) -> dict[str, Any] | None:
    """A remedy's button and what it does to the counts: {"verb": "Drop 3 rows", "effect": ["train 120 → 117"]}. None without a remedy."""
    if finding.remedy is None or finding.after is None:
        return None
    cleared = finding.remedy == "relabel" and finding.after["splits"].get("unlabelled", 0) > version.splits.get("unlabelled", 0)
    rows = _rows(finding.fixed)
    verb = {
        "drop": f"Drop {rows}",
        "gather": f"Move {rows} to one side",
        "move": f"Move {rows}",
        "relabel": f"Clear the label of {rows}" if cleared else f"Merge labels of {rows}",
    }[finding.remedy]
    after = finding.after["splits"]
    changed = [split for split in SPLITS if version.splits.get(split, 0) != after.get(split, 0)]
    effect = [f"{split} {count(version.splits.get(split, 0))} → {count(after.get(split, 0))}" for split in changed]
    if version.labels and finding.after["labels"] != len(version.labels):
        effect.append(f"labels {count(len(version.labels))} → {count(finding.after['labels'])}")
    return {"verb": verb, "effect": effect}


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{count(number)} rows"


def told(version: DatasetVersion, source: str = "") -> str:
    """What was done to get this version, as a sentence."""
    change = version.change
    if change is None:
        return f"Imported {version.origin.get('filename') or source or 'from outside'}"
    words = {
        "drop": lambda: f"Dropped {_rows(change['changed'])}",
        "relabel": lambda: _relabelled(change["labels"]),
        "move": lambda: f"Moved {_rows(change['changed'])} to {change['split']}",
        "gather": lambda: f"Moved {_rows(change['changed'])}, so that near-duplicates stand on one side",
        "edit": lambda: f"Changed the output of {_rows(change['changed'])}",
        "label_book": lambda: f"Label book: wrote about {change['entries']} label{'s' if change['entries'] != 1 else ''}",
        "append": lambda: _appended(change),
        "reserve": lambda: f"Set {_rows(change['changed'])} of test aside as a reserve",
    }
    kind = str(change.get("kind", ""))
    return words[kind]() if kind in words else kind.replace("_", " ").capitalize()


def _relabelled(labels: Mapping[str, str | None]) -> str:
    shown = [f"{old} → {new if new is not None else 'no label'}" for old, new in list(labels.items())[:3]]
    return f"Labels: {', '.join(shown)}{f' and {len(labels) - 3} more' if len(labels) > 3 else ''}"


def _appended(change: Mapping[str, Any]) -> str:
    name = f" of {change['filename']}" if change.get("filename") else ""
    parts = [f"Appended {_rows(change['added'])}{name}"]
    if change.get("labelled"):
        parts.append(f"{_rows(change['labelled'])} got a label")
    if change.get("repeated"):
        parts.append(f"{count(change['repeated'])} stood there already")
    return ", ".join(parts)


def reason(version: DatasetVersion) -> str:
    """Why: a finding's title when a remedy was taken, else what somebody wrote."""
    given = str((version.change or {}).get("reason", ""))
    return title(given) if given in TITLES else given
