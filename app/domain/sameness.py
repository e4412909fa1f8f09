"""How far several runs of one evaluation give the same answers, and what that does to its figure. Pure: plain JSON out, with intervals.

Runs are repeats with other seeds, or the same prompt in other forms. Their rows are the same, so what is said of rows has an interval over rows. The spread of
the figure over forms has none: the highest of several is higher than it would be in truth, whatever was drawn. What can be said honestly of it is how often
as large a spread comes from forms that do not matter.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from app.domain.agreement import nominal_alpha
from app.domain.scheme import Shape
from app.domain.scoring.reading import found_json, number_in
from app.domain.scoring.texts import PER_ROW
from app.domain.scoring.whole import NAMES, dealt
from app.domain.stats import mean_interval, wilson

DRAWS = 2_000
ONE_VALUE = "chrf"
"""How alike two texts are that are not the same."""
NEIGHBOURS = 3
"""Each run's texts are laid beside those of so many following runs, in a ring: all pairs of up to 7 runs, and of 21 not 210 of a row but 63."""


@dataclass(frozen=True)
class Given:
    """One row's answers, one for each run, whether each is right, and the value of the figure for each where it is a mean over rows; else its gold label."""

    answers: Sequence[str]
    right: Sequence[bool]
    values: Sequence[float] = ()
    gold: str = ""


def plain(shape: Shape, answer: str) -> str:
    """What two answers are compared by: JSON and numbers by what they are, however they are written, all else as it stands."""
    if shape == "json":
        found = found_json(answer)
        return json.dumps(found, sort_keys=True, ensure_ascii=False) if isinstance(found, dict | list) else answer.strip()
    number = number_in(answer) if shape == "number" else None
    return answer.strip() if number is None else repr(number)


def same(shape: Shape, answers: Sequence[str]) -> bool:
    return len({plain(shape, answer) for answer in answers}) < 2


def counted(shape: Shape, answers: Sequence[str]) -> list[tuple[str, int]]:
    """The different answers with how many runs gave each, the most frequent first; each as it was written first."""
    written: dict[str, str] = {}
    for answer in answers:
        written.setdefault(plain(shape, answer), answer)
    return [(written[key], count) for key, count in Counter(plain(shape, answer) for answer in answers).most_common()]


def agreement(rows: Sequence[Given], shape: Shape) -> dict[str, Any]:
    """What the answers of several runs have in common. Raises ValueError without rows.

    `same`: rows with the same answer in all runs; `pairwise`: how often two runs, taken at random, agree on a row; `alpha`: that beyond chance, of labels;
    `likeness`: mean chrF of two runs' texts, over the pairs of `ring`; `always`: rows that are right in all runs, `sometimes` in some.
    """
    if not rows:
        raise ValueError("runs that share no row cannot be compared")
    keys = [[plain(shape, answer) for answer in row.answers] for row in rows]
    found = {
        "rows": len(rows),
        "same": _share(sum(len(set(row)) == 1 for row in keys), len(rows)),
        "pairwise": _mean([_pairs_alike(row) for row in keys]),
        "alpha": None,
        "likeness": _mean([_likeness(row) for row in keys]) if shape == "text" else None,
        "always": _share(sum(all(row.right) for row in rows), len(rows)),
        "sometimes": sum(any(row.right) and not all(row.right) for row in rows),
    }
    if shape == "labels":
        alpha = nominal_alpha(keys)
        found["alpha"] = {"value": alpha.value, "interval": alpha.interval}
    return found


def spread(values: Sequence[float], rows: Sequence[Given], figure: str = "") -> dict[str, Any]:
    """The lowest, middle and highest of the runs' figures, and how often shuffled runs lie as far apart (`p_value`): None for a `figure` that is neither a
    mean over rows nor one of labels."""
    p_value: float | None = None
    if figure in NAMES:
        p_value = dealt([row.gold for row in rows], [row.answers for row in rows], figure, DRAWS)
    elif all(row.values for row in rows):
        p_value = _by_chance([row.values for row in rows])
    return {"min": min(values), "median": median(values), "max": max(values), "p_value": p_value}


def _by_chance(values: Sequence[Sequence[float]]) -> float:
    """How often the runs' means lie as far apart as they do when each row's values are dealt to the runs anew: a permutation test of "forms do not
    matter", the observed one counted as a draw (Phipson and Smyth 2010, SAGMB 9:39)."""
    differ = [row for row in values if len(set(row)) > 1]
    if not differ:
        return 1.0
    from numpy import array, ptp
    from numpy.random import default_rng

    table, random = array(differ, dtype=float), default_rng(0)
    seen = ptp(table.sum(0))
    as_far = sum(bool(ptp(random.permuted(table, axis=1).sum(0)) >= seen - 1e-9) for _ in range(DRAWS))
    return (1 + as_far) / (1 + DRAWS)


def _pairs_alike(keys: Sequence[str]) -> float:
    n = len(keys)
    return sum(count * (count - 1) for count in Counter(keys).values()) / (n * (n - 1))


def _likeness(keys: Sequence[str]) -> float:
    measure: Callable[[str, str], float] = PER_ROW[ONE_VALUE]
    pairs = [(min(keys[one], keys[other]), max(keys[one], keys[other])) for one, other in ring(len(keys))]
    known: Mapping[tuple[str, str], float] = {pair: measure(*pair) for pair in set(pairs) if pair[0] != pair[1]}
    return fmean(known.get(pair, 1.0) for pair in pairs)


def ring(n: int) -> list[tuple[int, int]]:
    """The pairs of n runs whose texts are compared, each once. Every run is in as many."""
    return sorted({(min(one, other), max(one, other)) for one in range(n) for step in range(1, NEIGHBOURS + 1) if (other := (one + step) % n) != one})


def _share(k: int, n: int) -> dict[str, Any]:
    found = wilson(k, n)
    return {"count": k, "of": n, "share": k / n, "interval": [found.low, found.high]}


def _mean(values: Sequence[float]) -> dict[str, Any]:
    """A mean of shares of rows."""
    found = mean_interval(values)
    return {"value": fmean(values), "interval": [found.low, found.high]}
