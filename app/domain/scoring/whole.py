"""Figures of labels that are no mean over rows (macro F1, balanced accuracy, MCC): of one system, and of two on the same rows. Pure.

A system is told by the answers that each row got, one for each of its seeds; a row's answers count one together, so that several seeds are
scored by all of their answers at once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.domain.scoring.few_rows import Known, known
from app.domain.scoring.labels import OFF_LIST, figures_of
from app.domain.stats import RESAMPLES, Difference, Interval

NAMES = ("macro_f1", "balanced_accuracy", "mcc")

AT_ONCE = 500
"""Draws whose counts are in memory together."""

KEPT = 128
"""Comparisons, and intervals, that are remembered: a page that is drawn again asks for the same ones."""


@dataclass(frozen=True)
class Given:
    """What a row got: its gold label, and the answers, one for each seed and in no order."""

    gold: str
    answers: tuple[str, ...]


def value(rows: Sequence[Given], name: str) -> float:
    """The figure over these rows. Raises ValueError without rows."""
    table = _Table(_counted([(row, row) for row in rows]))
    return float(table.figure(table.counts[None], name, 0)[0])


def interval(rows: Sequence[Given], name: str, confidence: float = 0.95) -> Interval:
    """Interval of the figure by rows drawn again (Efron 1979, Annals of Statistics 7:1), as wide as few rows of a label ask for (`few_rows`).

    Two right and two wrong rows are added before rows are drawn again, spread over the gold labels as the rows are (Agresti and Coull 1998, The
    American Statistician 52:119): a bootstrap of rows that are all right would claim to be certain. Raises ValueError without rows.
    """
    return _interval(_counted([(row, row) for row in rows]), name, confidence)


def difference(a: Sequence[Given], b: Sequence[Given], name: str) -> Difference:
    """How much better a is than b on the same rows, by a figure of NAMES. Raises ValueError for other rows on one side, or none.

    The p-value is that of a permutation test: in each row the two systems' answers change places at random (Fisher 1935, The Design of Experiments;
    Yeh 2000, aclanthology.org/C00-2137, for figures such as F1), from both sides, the observed one counted as a draw (Phipson and Smyth 2010, SAGMB
    9:39). The interval is a paired bootstrap over rows, as wide as few rows of a label ask for (`few_rows`). Half a row is added to each of the four ways in which two systems can be
    right and wrong, spread over the gold labels (Agresti and Min 2005, Statistics in Medicine 24:729): without that, two systems that
    differ on few rows would be told apart, or called equal, with certainty.
    """
    if len(a) != len(b) or not a or any(one.gold != other.gold for one, other in zip(a, b, strict=True)):
        raise ValueError(f"paired results need the same rows on both sides, at least one: {len(a)} and {len(b)}")
    return _difference(_counted(list(zip(a, b, strict=True))), name)


_Cells = tuple[tuple[tuple[Given, Given], int], ...]


def _counted(pairs: Sequence[tuple[Given, Given]]) -> _Cells:
    """The distinct pairs with how many rows have them, in one order whatever that of the rows: what is drawn depends on nothing else."""
    if not pairs:
        raise ValueError("a figure needs a row at least")
    known = ((Given(a.gold, tuple(sorted(a.answers))), Given(b.gold, tuple(sorted(b.answers)))) for a, b in pairs)
    return tuple(sorted(Counter(known).items(), key=lambda cell: (cell[0][0].gold, cell[0][0].answers, cell[0][1].answers)))


class _Table:
    """Distinct rows as arrays: how many there are of each, their gold labels and both systems' answers as shares of the names.

    `right` and `wrong` are rows added for one system, `each` for each of the four ways of two, to all labels together or `by_label` to each; what is wrong
    among them is off the list.
    """

    def __init__(self, cells: _Cells, *, right: float = 0.0, wrong: float = 0.0, each: float = 0.0, by_label: bool = False) -> None:
        import numpy as np

        self.n = sum(count for _, count in cells)
        golds = Counter[str]()
        for (row, _), count in cells:
            golds[row.gold] += count
        added: list[tuple[tuple[Given, Given], float]] = []
        for gold, support in golds.items():
            hit, miss, share = Given(gold, (gold,)), Given(gold, (OFF_LIST,)), 1.0 if by_label else support / self.n
            ways = [((hit, hit), right + each), ((miss, miss), wrong + each), ((hit, miss), each), ((miss, hit), each)]
            added += [(pair, share * weight) for pair, weight in ways if weight]
        rows = [*cells, *added]
        names = sorted(golds)
        self.off_list = len(names)
        self.support = np.array([*(golds[name] for name in names), 0], dtype=float)
        at = {name: index for index, name in enumerate(names)}
        self.counts = np.array([count for _, count in rows], dtype=float)
        self.gold = np.zeros((len(rows), len(names) + 1))
        self.given = [np.zeros_like(self.gold), np.zeros_like(self.gold)]
        for index, (pair, _) in enumerate(rows):
            self.gold[index, at[pair[0].gold]] = 1.0
            for side, given in zip(self.given, pair, strict=True):
                for answer in given.answers:
                    side[index, at.get(answer, self.off_list)] += 1 / len(given.answers)
        self.hits = [self.gold * side for side in self.given]

    def figure(self, counts: Any, name: str, side: int) -> Any:
        """[draws] from [draws, distinct rows]: the figure of one side."""
        return figures_of(counts @ self.gold, counts @ self.given[side], counts @ self.hits[side], self.off_list)[name]

    def ahead(self, counts: Any, name: str, *, one: bool = False) -> Any:
        """The same of the first system (`one`), or what it is ahead of the second."""
        first = self.figure(counts, name, 0)
        return first if one else first - self.figure(counts, name, 1)

    def known(self, name: str, *, one: bool = False) -> Known:
        return known(self.counts, self.gold, self.support, lambda counts: self.ahead(counts, name, one=one))


def _drawn(table: _Table, name: str, *, one: bool = False) -> Any:
    """[RESAMPLES], sorted: the figure of the first system, or what it is ahead of the second, over rows drawn again. The draws are seeded."""
    import numpy as np

    rng, found = np.random.default_rng(0), []
    shares = table.counts / table.counts.sum()
    for start in range(0, RESAMPLES, AT_ONCE):
        counts = rng.multinomial(table.n, shares, size=min(AT_ONCE, RESAMPLES - start)).astype(float)
        found.append(table.ahead(counts, name, one=one))
    return np.sort(np.concatenate(found))


@lru_cache(maxsize=KEPT)
def _interval(cells: _Cells, name: str, confidence: float) -> Interval:
    table = _Table(cells)
    found = float(table.figure(table.counts[None], name, 0)[0])
    draws, alpha = _drawn(_Table(cells, right=2.0, wrong=2.0), name, one=True), (1 - confidence) / 2
    seen = _Table(cells, right=1.0, wrong=1.0, by_label=True).known(name, one=True)
    return Interval(max(-1.0 if name == "mcc" else 0.0, seen.low(found, draws, alpha)), min(1.0, seen.high(found, draws, alpha)))


@lru_cache(maxsize=KEPT)
def _difference(cells: _Cells, name: str) -> Difference:
    table = _Table(cells)
    observed = float(table.ahead(table.counts[None], name)[0])
    draws, seen = _drawn(_Table(cells, each=0.5), name), _Table(cells, each=0.5, by_label=True).known(name)
    low, high = seen.low(observed, draws, 0.025), seen.high(observed, draws, 0.025)
    ahead = [(sum(a.gold == answer for answer in a.answers) / len(a.answers) - _right(b), count) for (a, b), count in cells]
    gained, lost = (sum(count for by, count in ahead if sign * by > 1e-9) for sign in (1, -1))
    return Difference(observed, low, high, _swapped(cells, name, observed), gained, lost, table.n, draws=draws, known=seen)


def _right(row: Given) -> float:
    return sum(row.gold == answer for answer in row.answers) / len(row.answers)


def _swapped(cells: _Cells, name: str, observed: float) -> float:
    """Two-sided p-value of no difference, by swapping the two systems' answers within rows."""
    import numpy as np

    table, rng = _Table(cells), np.random.default_rng(0)
    differ = np.array([bool(np.abs(table.given[0][at] - table.given[1][at]).max() > 1e-12) for at in range(len(cells))])
    if not differ.any():
        return 1.0
    counts = table.counts.astype(int)
    gold = (table.counts @ table.gold)[None]
    as_extreme = 0
    for start in range(0, RESAMPLES, AT_ONCE):
        # Of the rows that are alike as many swap as a coin thrown for each would say.
        swapped = rng.binomial(counts, 0.5, size=(min(AT_ONCE, RESAMPLES - start), len(counts))) * differ
        kept = counts - swapped
        found = [
            figures_of(
                np.repeat(gold, len(kept), 0), kept @ table.given[a] + swapped @ table.given[b], kept @ table.hits[a] + swapped @ table.hits[b], table.off_list
            )[name]
            for a, b in ((0, 1), (1, 0))
        ]
        as_extreme += int((abs(found[0] - found[1]) >= abs(observed) - 1e-9).sum())
    return (1 + as_extreme) / (1 + RESAMPLES)


def dealt(golds: Sequence[str], answers: Sequence[Sequence[str]], name: str, draws: int) -> float:
    """How often the figures of several runs lie as far apart as they do, when the answers of each row are dealt to the runs anew: the p-value of "it does not
    matter which run an answer is from", the observed one counted as a draw (Phipson and Smyth 2010). `answers` are [rows][runs]."""
    import numpy as np

    names = sorted(set(golds))
    at = {label: index for index, label in enumerate(names)}
    gold = np.array([at[label] for label in golds])
    given = np.array([[at.get(answer, len(names)) for answer in row] for row in answers])
    differ = (given != given[:, :1]).any(1)
    if not differ.any():
        return 1.0
    runs, width = given.shape[1], len(names) + 1
    totals = np.tile(np.bincount(gold, minlength=width).astype(float), (runs, 1))
    run = np.arange(runs) * width

    def counted(some: Any, places: Any) -> Any:
        return np.bincount((some + run)[places].ravel(), minlength=runs * width).reshape(runs, width)

    def apart(some: Any) -> float:
        """The distance of the runs' figures, from their answers to the rows that differ."""
        found = figures_of(totals, still[0] + counted(some, ...), still[1] + counted(some, some == gold[differ][:, None]), len(names))[name]
        return float(np.ptp(found))

    alike = given[~differ]
    still = counted(alike, ...), counted(alike, alike == gold[~differ][:, None])
    moving, rng = given[differ], np.random.default_rng(0)
    seen = apart(moving)
    return (1 + sum(apart(rng.permuted(moving, axis=1)) >= seen - 1e-9 for _ in range(draws))) / (1 + draws)


def answering(golds: Mapping[int, str], label: str) -> dict[int, Given]:
    """By row, what always answering one label gets."""
    return {row: Given(gold, (label,)) for row, gold in golds.items()}
