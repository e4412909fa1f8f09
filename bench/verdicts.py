"""How often the recommendation errs, and how often it can tell: `python -m bench.verdicts`. Needs nothing.

Experiments are drawn with a fixed seed: so many cheaper rungs, each truly so far below the best and with another answer on so large a share of the
rows. The rule is the one of the recommendation itself (`app.domain.stats.holds`), beside the same at 2.5 % and beside "not significantly
different", by the exact McNemar test with Holm's correction. A second table is of rows that are not just right or wrong: one rung truly the margin
below, by the score of its values (`app.domain.bounded`), beside signs flipped about the margin, and how often the 95 % intervals of both
and of a BCa bootstrap hold the truth. A third is of how often Wilson's interval of right rows does, with few rows and extreme shares as well, a fourth
of how often a rung that is truly equal is shown to hold, and the last of the recommendation as a whole, with the validation rows by which the best rung is chosen drawn as well.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.stats import binom, bootstrap

from app.domain.bounded import interval, score
from app.domain.ladder import Step
from app.domain.recommendation import recommend
from app.domain.results import ByRow
from app.domain.stats import ALPHA, Difference, holds, holm, mcnemar, wilson
from app.domain.targets import Terms

MARGIN = 0.03
DRAWS = 4000

CASES = (
    # rows, cheaper rungs, truly below the best, rows on which the two differ
    (100, 1, 0.08, 0.2), (100, 9, 0.08, 0.2), (300, 1, 0.03, 0.1), (300, 9, 0.03, 0.2), (1000, 1, 0.03, 0.1), (1000, 9, 0.03, 0.1),
    (300, 1, 0.0, 0.1), (300, 9, 0.0, 0.1), (1000, 1, 0.0, 0.1), (1000, 9, 0.0, 0.1),
)  # fmt: skip


def drawn(count: int, n: int, cheaper: int, truly_below: float, discordant: float) -> list[list[Difference]]:
    """Experiments: how `cheaper` rungs came out against the best, each truly so much below it and discordant on so many rows (fractions)."""
    gained_share, lost_share = (discordant - truly_below) / 2, (discordant + truly_below) / 2
    counts = np.random.default_rng(7).multinomial(n, [gained_share, lost_share, 1 - discordant], size=(count, cheaper))
    return [[Difference((int(g) - int(x)) / n, 0, 0, 1, int(g), int(x), n) for g, x, _ in rows] for rows in counts]


def whole(count: int, validation: int, n: int, cheaper: int, truly_below: float, discordant: float = 0.1) -> Iterator[list[Step]]:
    """Experiments as a whole: `cheaper` prompts and a tuned rung, which has four rows of five right, on `n` test rows and with scores on `validation` rows."""
    rng = np.random.default_rng(11)
    gained_share, lost_share = (discordant - truly_below) / 2 / 0.2, (discordant + truly_below) / 2 / 0.8
    for _ in range(count):
        scores, rows = [], []
        for size in (validation, n):
            best = rng.random(size) < 0.8
            others = [np.where(best, rng.random(size) >= lost_share, rng.random(size) < gained_share) for _ in range(cheaper)]
            scores.append([float(one.mean()) for one in (*others, best)])
            rows = [ByRow(dict(enumerate(one.astype(float).tolist()))) for one in (*others, best)]
        yield [Step(at, f"rung {at}", one, at == cheaper, scores[0][at]) for at, one in enumerate(rows)]


def recommended(experiments: Iterable[list[Step]]) -> int:
    """In how many experiments another rung than the dearest is recommended; an answer that cannot tell recommends none."""
    found = [(recommend(steps, Terms(), brief=True), steps[-1].position) for steps in experiments]
    return sum(one is not None and one.position != dearest and one.kind != "cannot_tell" for one, dearest in found)


def not_different(rows: Sequence[Difference]) -> list[bool]:
    """The rule that decision 0005 left: a rung does where it is not significantly worse."""
    p_values = holm([mcnemar(one.gained, one.lost) for one in rows])
    return [not (p <= ALPHA and one.difference < 0) for one, p in zip(rows, p_values, strict=True)]


RULES: dict[str, Callable[[Sequence[Difference]], list[bool]]] = {
    "holds, 5 %": lambda rows: holds(rows, MARGIN),
    "holds, 2.5 %": lambda rows: holds(rows, MARGIN, ALPHA / 2),
    "not different": not_different,
}


SHARES: dict[str, Callable[[Any, int], Any]] = {
    "whole losses, one row torn": lambda draw, n: np.append(-(draw.random(n - 1) < (MARGIN * n - 1 / 3) / (n - 1)).astype(float), -1 / 3),
    "two seeds, half losses": lambda draw, n: -0.5 * (draw.random(n) < 2 * MARGIN),
    "three seeds, a third either way": lambda draw, n: draw.choice([1 / 3, -1 / 3, 0.0], n, p=[0.05, 0.14, 0.81]),
    "three seeds, answers anew": lambda draw, n: _anew(draw, n, MARGIN),
    "a measure of text": lambda draw, n: draw.normal(-MARGIN, 0.25, n).clip(-1, 1),
}
"""Rows' differences between two systems, the first truly the margin below; by what they are."""

SHARE_DRAWS, FLIPS = 1000, 999

RATES = (0.005, 0.02, 0.05, 0.1, 0.3, 0.5)
"""Shares of right rows; those above a half are as these, turned round."""


def _anew(draw: Any, n: int, below: float) -> Any:
    """Three seeds each of two systems on rows that are easier and harder."""
    easy = below + (1 - 2 * below) * draw.beta(2, 1, n)
    return (draw.binomial(3, easy - below) - draw.binomial(3, easy)) / 3


def flipped(values: Any, signs: Any) -> bool:
    """Whether flipping signs about the margin takes the values to be above it."""
    away = values + MARGIN
    return bool((1 + np.count_nonzero(signs @ away >= away.sum() - 1e-9)) / (1 + len(signs)) <= ALPHA)


def line_of(name: str, n: int) -> str:
    """A line of the second table."""
    draw, passed, covered = np.random.default_rng(7), np.zeros(2), np.zeros(2)
    signs = draw.choice([-1.0, 1.0], (FLIPS, n))
    for _ in range(SHARE_DRAWS):
        values = SHARES[name](draw, n)
        passed += (1 - NormalDist().cdf(score(tuple(values), -MARGIN, -1.0)) <= ALPHA, flipped(values, signs))
        low, high = interval(tuple(values), low=-1.0)
        theirs = _bca(values)
        covered += (low <= -MARGIN <= high, theirs[0] <= -MARGIN <= theirs[1])
    cells = (*passed, *covered)
    return f"| {n:,} | {name} | " + " | ".join(f"{100 * cell / SHARE_DRAWS:.1f} %" for cell in cells) + " |"


def power(n: int, seeds: int) -> float:
    """How often a rung that is truly equal to the best is shown to be less than the margin below it, each with so many seeds."""
    draw, held = np.random.default_rng(7), 0
    for _ in range(SHARE_DRAWS):
        easy = draw.beta(2, 1, n)
        values = (draw.binomial(seeds, easy) - draw.binomial(seeds, easy)) / seeds
        held += 1 - NormalDist().cdf(score(tuple(values), -MARGIN, -1.0)) <= ALPHA
    return held / SHARE_DRAWS


def _bca(values: Any) -> tuple[float, float]:
    if values.min() == values.max():
        return float(values[0]), float(values[0])
    found = bootstrap((values,), np.mean, n_resamples=FLIPS, method="BCa", rng=0).confidence_interval
    return float(found.low), float(found.high)


def covered(n: int, p: float) -> float:
    """How often Wilson's 95 % interval holds a share of right rows, over every count there is."""
    holding = [k for k in range(n + 1) if (found := wilson(k, n)).low <= p <= found.high]
    return float(binom.pmf(holding, n, p).sum())


def main() -> None:
    print("| rows | cheaper rungs | points below | discordant | which passes | " + " | ".join(RULES) + " |")
    print("|" + "---|" * (5 + len(RULES)))
    for n, cheaper, below, discordant in CASES:
        passed = {name: [rule(rows) for rows in drawn(DRAWS, n, cheaper, below, discordant)] for name, rule in RULES.items()}
        for which, told in (("the cheapest", lambda one: one[0]), ("any", any)) if cheaper > 1 else (("it", any),):
            shares = " | ".join(f"{100 * sum(map(told, passed[name])) / DRAWS:.1f} %" for name in RULES)
            print(f"| {n:,} | {cheaper} | {100 * below:g} | {100 * discordant:g} % | {which} | {shares} |", flush=True)
    print(f"\n{DRAWS:,} drawn experiments a line, a margin of {100 * MARGIN:g} points\n")
    print("| rows | what they are | passes by the score | by flipped signs | score interval holds the truth | BCa interval does |")
    print("|" + "---|" * 6)
    for n in (50, 100, 300, 1000):
        for name in SHARES:
            print(line_of(name, n), flush=True)
    print(f"\n{SHARE_DRAWS:,} drawn experiments a line, {FLIPS} flips and bootstrap draws each; what passes is truly {100 * MARGIN:g} points below\n")
    print("| rows | " + " | ".join(f"{100 * p:g} % right" for p in RATES) + " |")
    print("|" + "---|" * (1 + len(RATES)))
    for n in (10, 20, 50, 100, 200, 300, 1000):
        print(f"| {n:,} | " + " | ".join(f"{100 * covered(n, p):.1f} %" for p in RATES) + " |")
    print("\n| rows | an equal rung of one draw is shown to hold | of three draws |\n|---|---|---|")
    for n in (100, 300, 1000):
        print(f"| {n:,} | " + " | ".join(f"{100 * power(n, seeds):.1f} %" for seeds in (1, 3)) + " |", flush=True)
    print("\n| validation rows | test rows | cheaper rungs | a rung 3 points below is recommended | an equal rung is |\n|---|---|---|---|---|")
    for validation, n, cheaper in ((validation, n, cheaper) for validation in (100, 300, 1000) for n in (300, 1000) for cheaper in (1, 9)):
        shares = " | ".join(f"{100 * recommended(whole(SHARE_DRAWS, validation, n, cheaper, below)) / SHARE_DRAWS:.1f} %" for below in (MARGIN, 0.0))
        print(f"| {validation:,} | {n:,} | {cheaper} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
