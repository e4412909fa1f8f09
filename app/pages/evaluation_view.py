"""An evaluation as its page draws it: figures in a line, the confusion matrix, the reliability diagram and the risk-coverage curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.figures import not_offered
from app.domain.fitting import POLICIES
from app.domain.scheme import METRICS, Scheme, Shape
from app.domain.scoring.json_fields import compared_by
from app.domain.scoring.labels import NO_ANSWER, OFF_LIST, Confusion, ranked_confusions
from app.pages.formatting import interval, number, percent

MATRIX_LABELS = 12
"""Above so many labels no matrix is drawn: the ranked pairs say more."""

RANKED = 30
HEATS = 8
"""Shades of a matrix cell."""

SIDE = 200
"""Units of a diagram's side; y grows downwards in SVG."""


@dataclass(frozen=True)
class Figure:
    """One figure as a line shows it."""

    title: str
    value: str
    bounds: Sequence[float] | None
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix: `heat` 0 to HEATS is its share of the row."""

    count: int
    heat: int
    right: bool


@dataclass(frozen=True)
class Matrix:
    """Gold labels down, answers across."""

    answers: list[str]
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Mark:
    """A bin of the reliability diagram, in the diagram's units: where it is, and the ends of its interval."""

    x: float
    y: float
    low: float
    high: float
    radius: float
    text: str


def headline(scores: Mapping[str, Any]) -> list[Figure]:
    """The main figure first, then the others of the shape."""
    metrics, shape = scores.get("metrics"), scores.get("shape", "labels")
    if not metrics:
        return [Figure("accuracy", number(scores["accuracy"]), scores["interval"], f"{scores['correct']} of {scores['n']} rows")]
    known: Shape = shape
    order = [scores["main"]["name"], *(name for name in METRICS[known] if name != scores["main"]["name"])]
    return [Figure(METRICS[known][name].title, number(metrics[name]["value"]), metrics[name]["interval"], _note(scores, name)) for name in order]


def _note(scores: Mapping[str, Any], name: str) -> str:
    if name == "accuracy":
        return f"{scores['correct']:,} of {scores['n']:,} rows"
    whole = scores.get("corpus", {}).get(name)
    return f"{number(whole)} over the whole" if whole is not None else ""


def columns(scores: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """(what, how many rows, the filter that shows them) of answers that went wrong by themselves; only those that can occur."""
    found = []
    if scores.get("shape", "labels") == "labels":
        found.append(("off the list", scores["off_list"], "off_list"))
        if not_offered(scores) is not None:
            found.append(("label not offered", scores["not_offered"], "not_offered"))
    if scores.get("output_tokens") or scores.get("cut_off"):
        found.append(("cut off at the limit", scores.get("cut_off", 0), "cut_off"))
    found += [(title, scores[name], name) for name, title in (("refused", "refused"), ("unread", "not read")) if scores.get(name)]
    return found


def fitted(scores: Mapping[str, Any]) -> str:
    """What was done with rows that the model's window has no room for, in sentences; "" where all fitted."""
    fit = scores.get("fit") or {}
    said = []
    if fit.get("too_long"):
        said.append(f"{fit['too_long']:,} of {fit['rows']:,} rows did not fit {fit['window']:,} tokens: {POLICIES[fit['policy']]}.")
        said += [fit["counted"]] if fit.get("counted") else []
    if refused := fit.get("refused"):
        rows = "1 row was" if refused == 1 else f"{refused:,} rows were"
        said.append(f"{rows} refused by the endpoint as too long and {'counts' if refused == 1 else 'count'} as wrong.")
    if fit and "window" not in fit and fit["policy"] != "refuse":
        said.append("How many tokens the model takes was not known, so no row was made to fit.")
    return " ".join(said)


def fields(scores: Mapping[str, Any], scheme: Scheme) -> list[tuple[str, str, Mapping[str, int]]]:
    """(path, how it is compared, how often it was right, wrong, missing and invented) of every field of JSON answers."""
    return [(path, compared_by(path, scheme.fields), counts) for path, counts in scores.get("fields", {}).items()]


def matrix(scores: Mapping[str, Any]) -> Matrix | None:
    """The confusion matrix, where it is small enough to be read."""
    confusion = scores.get("confusion")
    if not confusion:
        return None
    counts = {(gold, answer): count for gold, answer, count in confusion}
    labels = sorted(scores["per_class"])
    if len(labels) > MATRIX_LABELS:
        return None
    answers = [*labels, *(other for other in (OFF_LIST, NO_ANSWER) if any(answer == other for _, answer in counts))]
    rows = []
    for gold in labels:
        total = sum(counts.get((gold, answer), 0) for answer in answers)
        cells = [_cell(counts.get((gold, answer), 0), total, gold == answer) for answer in answers]
        if total:
            rows.append((gold, cells))
    return Matrix(answers, rows)


def _cell(count: int, total: int, right: bool) -> Cell:
    return Cell(count, -(-HEATS * count // total) if total else 0, right)


def ranked(scores: Mapping[str, Any]) -> list[Confusion]:
    """What is taken for what, the most frequent first."""
    return ranked_confusions(scores.get("confusion", []))[:RANKED]


def reliability(scores: Mapping[str, Any]) -> list[Mark]:
    """The bins: how sure across, how often right upwards, the radius by the share of rows."""
    found = scores.get("calibration", {}).get("bins", [])
    return [
        Mark(
            round(SIDE * one["confidence"], 1),
            round(SIDE * (1 - one["accuracy"]), 1),
            round(SIDE * (1 - one["interval"][0]), 1),
            round(SIDE * (1 - one["interval"][1]), 1),
            round(2.5 + 5 * (one["n"] / scores["n"]) ** 0.5, 1),
            f"{one['n']:,} rows about {percent(one['confidence'])} sure: {percent(one['accuracy'])} right {interval(one['interval'], 2)}",
        )
        for one in found
    ]


def curve(scores: Mapping[str, Any]) -> str:
    """The points of the precision over the share of rows answered, for an SVG polyline."""
    points = scores.get("selective", {}).get("curve", [])
    return " ".join(f"{SIDE * coverage:.1f},{SIDE * (1 - precision):.1f}" for coverage, precision in points)


def selective(scores: Mapping[str, Any]) -> list[str]:
    """What answering only when sure enough amounts to, a sentence for each precision."""
    found = []
    for one in scores.get("selective", {}).get("at", []):
        precision = percent(one["precision"])
        if one["answered"]:
            found.append(
                f"Answers {percent(one['coverage'])} of the rows at {precision} precision: {one['right']:,} of {one['answered']:,} right {interval(one['interval'], 2)}."
            )
        else:
            found.append(f"Reaches {precision} precision on no row, however sure it is.")
    return found
