"""Figures of classification: accuracy, balanced accuracy, F1, MCC, the confusions, and the intervals of those that are no mean over rows."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from app.domain.stats import Interval, wilson

OFF_LIST = "(off the list)"
"""Stands in the confusion counts for every answer that is not a label."""
NO_ANSWER = "(no answer)"
"""The same for rows that were refused or not read."""

DRAWS = 2_000
"""Bootstrap draws of the figures that are no mean over rows."""


@dataclass(frozen=True)
class ClassScore:
    """One class against the rest. `support` counts its gold rows."""

    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Baseline:
    """Always answering the most frequent gold label."""

    label: str
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """`interval` is the 95 % Wilson interval of the accuracy; `confusion` maps (gold, answer) to a count."""

    n: int
    correct: int
    accuracy: float
    interval: Interval
    off_list: int
    macro_f1: float
    balanced_accuracy: float
    mcc: float
    per_class: Mapping[str, ClassScore]
    confusion: Mapping[tuple[str, str], int]
    majority: Baseline


def score(gold: Sequence[str], answers: Sequence[str], labels: Collection[str] | None = None) -> Scores:
    """Every figure for answers against gold, row by row. Without `labels`, the labels are those in `gold`.

    A class counts in the averages when it has gold rows or was answered, as in scikit-learn; off-list is not a class.
    Raises ValueError for lists of different length, or without rows.
    """
    if len(gold) != len(answers) or not gold:
        raise ValueError(f"scores need an answer for each row, at least one: {len(gold)} and {len(answers)}")
    known = set(labels) | set(gold) if labels is not None else set(gold)
    confusion = Counter((wanted, given if given in known else OFF_LIST) for wanted, given in zip(gold, answers, strict=True))
    supports, answered = Counter(gold), Counter(given for given in answers if given in known)
    per_class = {label: _class_score(confusion[label, label], supports[label], answered[label]) for label in sorted(supports | answered)}
    correct = sum(count for (wanted, given), count in confusion.items() if wanted == given)
    most = max(sorted(supports), key=supports.__getitem__)
    return Scores(
        n=len(gold),
        correct=correct,
        accuracy=correct / len(gold),
        interval=wilson(correct, len(gold)),
        off_list=sum(count for (_, given), count in confusion.items() if given == OFF_LIST),
        macro_f1=sum(one.f1 for one in per_class.values()) / len(per_class),
        balanced_accuracy=sum(per_class[label].recall for label in supports) / len(supports),
        mcc=_mcc(confusion),
        per_class=per_class,
        confusion=dict(confusion),
        majority=Baseline(most, supports[most] / len(gold)),
    )


def correct_rows(gold: Sequence[str], answers: Sequence[str]) -> list[bool]:
    """Which rows were answered right, as `stats.paired_difference` wants them."""
    return [wanted == given for wanted, given in zip(gold, answers, strict=True)]


def _class_score(hits: int, support: int, answered: int) -> ClassScore:
    """A figure without rows to take it from is 0."""
    return ClassScore(
        support,
        precision=hits / answered if answered else 0.0,
        recall=hits / support if support else 0.0,
        f1=2 * hits / (support + answered),
    )


def _mcc(confusion: Mapping[tuple[str, str], int]) -> float:
    """Matthews correlation for any number of classes (Gorodkin 2004, Computational Biology and Chemistry 28:367); 0 where it is undefined."""
    gold, given = Counter[str](), Counter[str]()
    for (wanted, answer), count in confusion.items():
        gold[wanted] += count
        given[answer] += count
    n = gold.total()
    correct = sum(count for (wanted, answer), count in confusion.items() if wanted == answer)
    covariance = correct * n - sum(gold[label] * given[label] for label in gold)
    spread = (n * n - sum(count * count for count in given.values())) * (n * n - sum(count * count for count in gold.values()))
    return covariance / sqrt(spread) if spread else 0.0


@dataclass(frozen=True)
class Confusion:
    """Rows of one gold label that got one other answer: how many, and what share of the gold label's rows."""

    gold: str
    answer: str
    count: int
    share: float


def ranked_confusions(counts: Sequence[tuple[str, str, int]]) -> list[Confusion]:
    """What is taken for what, the most frequent first, from (gold, answer, rows); off-list answers are among them."""
    support = Counter[str]()
    for gold, _, count in counts:
        support[gold] += count
    pairs = [Confusion(gold, answer, count, count / support[gold]) for gold, answer, count in counts if gold != answer]
    return sorted(pairs, key=lambda one: (-one.count, one.gold, one.answer))


def intervals(scores: Scores, draws: int = DRAWS) -> dict[str, Interval]:
    """95 % percentile intervals of macro F1, balanced accuracy and MCC: rows are drawn again (Efron 1979), which is a multinomial draw of the
    cells of the confusion matrix. The same counts give the same intervals."""
    import numpy as np

    cells = sorted(scores.confusion)
    names = {name: at for at, name in enumerate(sorted({name for cell in cells for name in cell}))}
    counts = np.random.default_rng(0).multinomial(scores.n, [scores.confusion[cell] / scores.n for cell in cells], size=draws)
    gold, given, hits = (np.zeros((draws, len(names))) for _ in range(3))
    for at, (wanted, answer) in enumerate(cells):
        gold[:, names[wanted]] += counts[:, at]
        given[:, names[answer]] += counts[:, at]
        if wanted == answer:
            hits[:, names[wanted]] += counts[:, at]
    return {name: _percentiles(values) for name, values in figures_of(gold, given, hits, names.get(OFF_LIST)).items()}


def figures_of(gold: Any, given: Any, hits: Any, off_list: int | None) -> dict[str, Any]:
    """The figures of many draws at once, [draws] each: [draws, names] rows by gold, by answer, and right ones; `off_list` is the place of what is
    no class."""
    import numpy as np

    n, correct = gold.sum(1), hits.sum(1)
    covariance = correct * n - (gold * given).sum(1)
    spread = (n * n - (given * given).sum(1)) * (n * n - (gold * gold).sum(1))
    if off_list is not None:  # no class, though an answer
        gold, given, hits = (np.delete(one, off_list, 1) for one in (gold, given, hits))
    present, both = gold > 0, gold + given
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, f1 = np.where(present, hits / gold, 0.0), np.where(both > 0, 2 * hits / both, 0.0)
        return {
            "macro_f1": f1.sum(1) / (both > 0).sum(1),
            "balanced_accuracy": recall.sum(1) / present.sum(1),
            "mcc": np.where(spread > 0, covariance / np.sqrt(spread), 0.0),
        }


def _percentiles(values: Any) -> Interval:
    import numpy as np

    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))
