"""Scores of answers against gold answers, and how an answer is read out of what a model wrote.

Pure: strings in, plain values out, all shares as fractions. An answer that is not one of the labels is wrong, and is
counted apart as off-list: a model that does not follow the format has another problem than one that confuses classes.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from app.domain.stats import Interval, wilson

Extractor = Literal["exact", "first_line"]

OFF_LIST = "(off the list)"
"""Stands in the confusion counts for every answer that is not a label."""


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


def normalise(text: str, casefold: bool = False) -> str:
    """One spelling for texts that look the same: Unicode NFC, runs of white space as one space, no white space around.

    Letters keep their case unless `casefold` is asked for: two labels may differ in nothing else.
    """
    spaced = " ".join(unicodedata.normalize("NFC", text).split())
    return unicodedata.normalize("NFC", spaced.casefold()) if casefold else spaced


def extract(text: str, extractor: Extractor = "first_line") -> str:
    """The answer in what a model wrote: all of it, or its first line that is not blank, without white space around."""
    stripped = text.strip()
    return stripped if extractor == "exact" else stripped.partition("\n")[0].rstrip()


def as_label(answer: str, labels: Iterable[str], casefold: bool = False) -> str | None:
    """The label an answer spells, or None. With `casefold`, case does not count where that leaves one label only."""
    wanted = normalise(answer, casefold)
    found = [label for label in labels if label == answer or normalise(label, casefold) == wanted]
    if answer in found:
        return answer
    return found[0] if len(found) == 1 else None


def answer_in(text: str, labels: Collection[str] = ()) -> str:
    """The answer that a model wrote: with labels the one its first line spells (else that line), for free text all of it."""
    if not labels:
        return extract(text, "exact")
    line = extract(text, "first_line")
    return as_label(line, labels, casefold=True) or line


def is_right(text: str, gold: str, labels: Collection[str] = ()) -> bool:
    """Whether what a model wrote is the gold answer. White space and Unicode's spelling do not count."""
    return normalise(answer_in(text, labels)) == normalise(gold)


def exact_match(gold: Sequence[str], texts: Sequence[str], labels: Collection[str] = ()) -> float:
    """The share of rows for which the model wrote the gold answer."""
    return sum(is_right(text, wanted, labels) for wanted, text in zip(gold, texts, strict=True)) / len(gold)


def rouge_l(gold: str, answer: str) -> float:
    """ROUGE-L (Lin 2004, aclanthology.org/W04-1013): the F-measure of the longest common subsequence of words; 0 without one.

    Words and weights are those of the package rouge-score without stemming: lower case, everything but a-z and 0-9 separates, so
    that a text in another script has no words at all (`rouge_words`); precision and recall count the same.
    """
    wanted, given = rouge_words(gold), rouge_words(answer)
    common = _common_subsequence(wanted, given)
    return 2 * common / (len(wanted) + len(given)) if common else 0.0


def rouge_words(text: str) -> list[str]:
    """The words of a text as rouge-score sees them."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).split()


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest sequence of words that both have in this order."""
    lengths = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, given in enumerate(other, 1):
            before, lengths[at] = lengths[at], before + 1 if word == given else max(lengths[at], lengths[at - 1])
    return lengths[-1]


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
