"""The figures of an evaluation from its rows, as the plain JSON that is kept. Pure: what was predicted in, fractions and intervals out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from app.domain.scheme import METRICS, Metric, Scheme, Shape
from app.domain.scoring import Scores, score
from app.domain.scoring.calibration import PRECISIONS, Selective, at_precision, calibration_error, reliability, risk_coverage, thinned
from app.domain.scoring.house_style import titles
from app.domain.scoring.labels import NO_ANSWER, OFF_LIST, intervals
from app.domain.scoring.texts import corpus
from app.domain.stats import Interval, mean_interval, wilson

UNREAD = ("constraint_ignored", "constraint_failed")
"""Why a row has no answer although the model wrote one: it did not keep to what it was to be held to. For any other reason the row was refused."""


def lacking(judged: Mapping[str, Any] | None) -> str:
    """What a row without an answer is, refused or unread; "" for one that has an answer."""
    why = (judged or {}).get("refused")
    return "" if not why else "unread" if why in UNREAD else "refused"


@dataclass(frozen=True)
class Row:
    """One prediction. `confidence` is the share of the answered label among those offered; `judged` as `Judged.as_json` gives it."""

    gold: str
    answer: str
    correct: bool
    cut_off: bool = False
    offered: bool = True
    confidence: float | None = None
    judged: Mapping[str, Any] | None = None

    def part(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = (self.judged or {}).get(name) or {}
        return found

    @property
    def lacking(self) -> str:
        return lacking(self.judged)


def figures(rows: Sequence[Row], labels: Sequence[str], shape: Shape, scheme: Scheme) -> dict[str, Any]:
    """Everything that is said of the rows: fractions, intervals as [low, high]. Free text has no figures per label, which would tell sealed rows.

    Raises ValueError without rows.
    """
    scores = score([row.gold for row in rows], [row.answer for row in rows], labels or None)
    found = _of_scores(scores, rows, per_label=bool(labels))
    main, measured = scheme.main(shape), _metrics(rows, scores, shape)
    return found | {
        "shape": shape,
        "metrics": measured,
        "main": {"name": main.name, "title": main.title, **measured[main.name]},
        "cut_off": sum(row.cut_off for row in rows),
        **{kind: sum(row.lacking == kind for row in rows) for kind in ("refused", "unread")},
        **_calibration(rows),
        **_checks(rows, scheme),
        **({"fields": _fields(rows)} if shape == "json" else {}),
        **({"corpus": corpus([row.gold for row in rows], [row.answer for row in rows])} if shape == "text" else {}),
        **({"not_offered": sum(not row.offered for row in rows)} if shape == "labels" else {}),
    }


def _of_scores(scores: Scores, rows: Sequence[Row], per_label: bool) -> dict[str, Any]:
    """Right and wrong are as judged: a number within its tolerance is right though it is written otherwise. A row without an answer is off no list."""
    correct = sum(row.correct for row in rows)
    none = Counter(row.gold for row in rows if row.lacking)
    found = {
        "n": scores.n,
        "correct": correct,
        "accuracy": correct / scores.n,
        "interval": _pair(wilson(correct, scores.n)),
        "off_list": scores.off_list - none.total() if per_label else 0,
        "macro_f1": scores.macro_f1,
        "balanced_accuracy": scores.balanced_accuracy,
        "mcc": scores.mcc,
    }
    if not per_label:
        return found
    return found | {
        "per_class": {label: vars(one) for label, one in scores.per_class.items()},
        "confusion": [[gold, answer, count] for (gold, answer), count in sorted(_confusion(scores, none).items())],
        "majority": vars(scores.majority),
    }


def _confusion(scores: Scores, none: Mapping[str, int]) -> Counter[tuple[str, str]]:
    """What was answered to each label's rows; `none`: how many of them have no answer, which stand among those off the list until here."""
    moved = Counter({(gold, NO_ANSWER): count for gold, count in none.items()})
    return Counter(scores.confusion) + moved - Counter({(gold, OFF_LIST): count for gold, count in none.items()})


def _metrics(rows: Sequence[Row], scores: Scores, shape: Shape) -> dict[str, Any]:
    whole = intervals(scores) if shape == "labels" else {}
    found = {}
    for metric in METRICS[shape].values():
        if metric.by_row:
            values = values_of(rows, metric)
            found[metric.name] = {"value": sum(values) / len(values), "interval": _pair(mean_interval(values))}
        else:
            found[metric.name] = {"value": getattr(scores, metric.name), "interval": _pair(whole[metric.name])}
    return found


def values_of(rows: Sequence[Row], metric: Metric) -> list[float]:
    """A measure's value of every row."""
    return [float(row.correct) if metric.name == "accuracy" else float(row.part("values").get(metric.name, 0.0)) for row in rows]


def _calibration(rows: Sequence[Row]) -> dict[str, Any]:
    """How far the shares of labels can be believed, on the rows that have them; nothing where none has. A row without an answer is never sure enough."""
    sure = [(row.confidence, row.correct) for row in rows if row.confidence is not None]
    if not sure:
        return {}
    confidences, right = [one for one, _ in sure], [one for _, one in sure]
    bins, curve = reliability(confidences, right), risk_coverage(confidences, right, len(rows))
    return {
        "calibration": {
            "error": calibration_error(bins),
            "bins": [
                {"low": one.low, "high": one.high, "n": one.n, "confidence": one.confidence, "accuracy": one.accuracy, "interval": _pair(one.interval)}
                for one in bins
            ],
        },
        "selective": {
            "curve": [[one.coverage, one.precision] for one in thinned(curve)],
            "at": [{"precision": precision, **_selective(at_precision(curve, precision))} for precision in PRECISIONS],
        },
    }


def _selective(found: Selective | None) -> dict[str, Any]:
    if found is None:
        return {"coverage": 0.0, "answered": 0, "right": 0, "threshold": None, "interval": None}
    return {"coverage": found.coverage, "answered": found.answered, "right": found.right, "threshold": found.threshold, "interval": _pair(found.interval)}


def _checks(rows: Sequence[Row], scheme: Scheme) -> dict[str, Any]:
    found = []
    for title in titles(scheme.checks):
        passed = sum(bool(row.part("checks").get(title)) for row in rows)
        found.append({"name": title, "passed": passed, "n": len(rows), "rate": passed / len(rows), "interval": _pair(wilson(passed, len(rows)))})
    return {"checks": found} if found else {}


def not_offered(scores: Mapping[str, Any]) -> float | None:
    """The share of rows whose gold label was not among those offered, which is 1 − recall@k; none where every row was offered all of them."""
    missed = scores.get("not_offered")
    return None if missed is None or not (missed or scores.get("offered")) else float(missed) / scores["n"]


def mean_rates(seeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The pass rate of each house-style check over the scores of several seeds."""
    return [{"name": one["name"], "rate": fmean(scores["checks"][at]["rate"] for scores in seeds)} for at, one in enumerate(seeds[0].get("checks", []))]


def _fields(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """{field: {right, wrong, missing, invented}}."""
    counts = Counter((path, status) for row in rows for path, status in row.part("fields").items())
    return {path: {status: counts[path, status] for status in ("right", "wrong", "missing", "invented")} for path in sorted({path for path, _ in counts})}


def _pair(found: Interval) -> list[float]:
    return [found.low, found.high]
