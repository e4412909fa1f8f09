"""How often the recommendation errs, and how often it can tell: `python -m bench.verdicts`. Needs nothing.

Experiments are drawn with a fixed seed: so many cheaper rungs, each truly so far below the best and with another answer on so large a share of the
rows. The rule is the one of the recommendation itself (`app.domain.recommendation.holds`), beside the same at 2.5 % and beside "not significantly
different", by the exact McNemar test with Holm's correction.
"""

from collections.abc import Callable, Sequence

import numpy as np

from app.domain.recommendation import ALPHA, holds
from app.domain.stats import Difference, holm, mcnemar

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


def not_different(rows: Sequence[Difference]) -> list[bool]:
    """The rule that decision 0005 left: a rung does where it is not significantly worse."""
    p_values = holm([mcnemar(one.gained, one.lost) for one in rows])
    return [not (p <= ALPHA and one.difference < 0) for one, p in zip(rows, p_values, strict=True)]


RULES: dict[str, Callable[[Sequence[Difference]], list[bool]]] = {
    "holds, 5 %": lambda rows: holds(rows, MARGIN),
    "holds, 2.5 %": lambda rows: holds(rows, MARGIN, ALPHA / 2),
    "not different": not_different,
}


def main() -> None:
    print("| rows | cheaper rungs | points below | discordant | which passes | " + " | ".join(RULES) + " |")
    print("|" + "---|" * (5 + len(RULES)))
    for n, cheaper, below, discordant in CASES:
        passed = {name: [rule(rows) for rows in drawn(DRAWS, n, cheaper, below, discordant)] for name, rule in RULES.items()}
        for which, told in (("the cheapest", lambda one: one[0]), ("any", any)) if cheaper > 1 else (("it", any),):
            shares = " | ".join(f"{100 * sum(map(told, passed[name])) / DRAWS:.1f} %" for name in RULES)
            print(f"| {n:,} | {cheaper} | {100 * below:g} | {100 * discordant:g} % | {which} | {shares} |", flush=True)
    print(f"\n{DRAWS:,} drawn experiments a line, a margin of {100 * MARGIN:g} points")


if __name__ == "__main__":
    main()
