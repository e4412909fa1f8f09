"""What rulings on many rows amount to: wins and flips of two answers, grades by a rubric, the choices of people. Pure: plain JSON out, with intervals.

An answer wins where it wins in both orders; orders that disagree (a flip) make a tie (Zheng et al. 2023, arXiv 2306.05685).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from app.domain.agreement import alpha
from app.domain.judging import ONCE, UNREAD, Brief, Scale
from app.domain.stats import mean_interval, paired_difference, wilson


def outcome(ab: str, ba: str) -> str:
    """What two rulings on a row amount to: a or b where both say so, else a tie; UNREAD where one was not read."""
    if UNREAD in (ab, ba):
        return UNREAD
    return ab if ab == ba else "tie"


def filters(kind: str, brief: Brief) -> dict[str, str]:
    """What rows can be asked for, as a page names it. A flip is one of the ties; `differs` are rows of which people say otherwise, or not the same."""
    if kind == "blind":
        return {"all": "all", "a": "A wins", "b": "B wins", "tie": "ties", "differs": "people differ"}
    if brief.scale is None:
        return {"all": "all", "a": "A wins", "b": "B wins", "tie": "ties", "flip": "flips", "unread": "not read"}
    return {
        "all": "all",
        **{grade: grade if brief.scale.kind == "pass_fail" else f"grade {grade}" for grade in brief.scale.grades},
        "differs": "people say otherwise",
        "unread": "not read",
    }


@dataclass(frozen=True)
class Judging:
    """What the rulings on one row amount to: a, b, tie or a grade. `differs`: people say something else, or not all the same."""

    outcome: str
    flip: bool = False
    differs: bool = False

    @classmethod
    def of(cls, values: Mapping[str, str], mark: str | None = None) -> Self:
        """From a model's rulings by order; a grade has none, and people may have given another one (`mark`)."""
        if ONCE in values:
            return cls(values[ONCE], differs=mark is not None and values[ONCE] not in (UNREAD, mark))
        ab, ba = values.get("ab", UNREAD), values.get("ba", UNREAD)
        found = outcome(ab, ba)
        return cls(found, found != UNREAD and ab != ba)

    @classmethod
    def chosen(cls, values: Sequence[str]) -> Self:
        """From what people chose: whom more of them prefer, else a tie."""
        balance = values.count("a") - values.count("b")
        return cls("a" if balance > 0 else "b" if balance < 0 else "tie", differs=len(set(values)) > 1)

    def is_one_of(self, name: str) -> bool:
        known = {"all": True, "flip": self.flip, "differs": self.differs, "unread": self.outcome == UNREAD}
        return known.get(name, name == self.outcome)


@dataclass(frozen=True)
class Pair:
    """One row: the rulings in both orders, how many characters the answers have, and whether they are the same."""

    ab: str
    ba: str
    lengths: tuple[int, int] = (0, 0)
    same: bool = False

    @property
    def outcome(self) -> str:
        return outcome(self.ab, self.ba)


def win_rate(wins: int, losses: int, n: int) -> dict[str, Any]:
    """(wins + ties / 2) / n, with its 95 % interval and the p-value of "as often one as the other".

    That rate is 1/2 + (wins - losses) / 2n, so its interval follows from Tango's score interval of (wins - losses) / n (1998, Statistics in
    Medicine 17:891), which holds for few rows and for ties alone; the p-value is the exact sign test's. Nothing without rows.
    """
    if not n:
        return {"value": None, "interval": None, "p_value": None}
    ties = n - wins - losses
    found = paired_difference([1] * wins + [0] * (losses + ties), [0] * wins + [1] * losses + [0] * ties)
    return {"value": (1 + found.difference) / 2, "interval": [(1 + found.low) / 2, (1 + found.high) / 2], "p_value": found.p_value}


def pairwise(rows: Sequence[Pair]) -> dict[str, Any]:
    """What is said of the rows, as the plain JSON that is kept. Rows with a ruling that was not read are counted apart and in nothing else; `same` rows,
    whose answers are the same, are ties that nobody was asked for."""
    read_rows = [row for row in rows if row.outcome != UNREAD]
    wins, losses = (sum(row.outcome == side for row in read_rows) for side in ("a", "b"))
    flips = [row for row in read_rows if row.ab != row.ba]
    first = sum((row.ab, row.ba) == ("a", "b") for row in flips)
    return {
        "n": len(read_rows),
        "wins": wins,
        "losses": losses,
        "ties": len(read_rows) - wins - losses,
        "unread": len(rows) - len(read_rows),
        "same": sum(row.same for row in rows),
        "win_rate": win_rate(wins, losses, len(read_rows)),
        "flips": {**_share(len(flips), len(read_rows)), "first": first, "second": sum((row.ab, row.ba) == ("b", "a") for row in flips)},
        "longer": _longer(read_rows),
    }


@dataclass(frozen=True)
class Choice:
    """One row that people compared: whom each of them preferred in which order, and how many characters the answers have."""

    values: Sequence[tuple[str, str]]
    lengths: tuple[int, int] = (0, 0)

    @property
    def outcome(self) -> str:
        return Judging.chosen([value for _, value in self.values]).outcome


def chosen(rows: Sequence[Choice], same: int) -> dict[str, Any]:
    """What people's choices amount to, as the plain JSON that is kept. A row goes to whom more people prefer; `same` rows, whose answers are the same,
    were not asked and are in no other figure."""
    wins, losses = (sum(row.outcome == side for row in rows) for side in ("a", "b"))
    decided = [(order, value) for row in rows for order, value in row.values if value != "tie"]
    among = alpha([[{"a": 1.0, "tie": 0.0, "b": -1.0}[value] for _, value in row.values] for row in rows])
    return {
        "n": len(rows),
        "wins": wins,
        "losses": losses,
        "ties": len(rows) - wins - losses,
        "unread": 0,
        "same": same,
        "rulings": sum(len(row.values) for row in rows),
        "win_rate": win_rate(wins, losses, len(rows)),
        "first": _share(sum(order[0] == value for order, value in decided), len(decided)),
        "longer": _longer(rows),
        "alpha": {"value": among.value, "interval": among.interval, "rows": among.rows},
    }


def _longer(rows: Sequence[Pair | Choice]) -> dict[str, Any]:
    """How often the longer answer won where one did: a judge that favours length is often above a half."""
    decided = [row for row in rows if row.outcome in ("a", "b") and row.lengths[0] != row.lengths[1]]
    return _share(sum((row.outcome == "a") == (row.lengths[0] > row.lengths[1]) for row in decided), len(decided))


def _share(k: int, n: int) -> dict[str, Any]:
    found = wilson(k, n)
    return {"count": k, "of": n, "share": k / n if n else None, "interval": [found.low, found.high] if n else None}


def verdict(found: Mapping[str, Any], level: float = 0.05) -> str:
    """better, worse or cannot_tell: the evaluation against the other one. Both the p-value and the interval have to say so. same: all answers are."""
    rate = found["win_rate"]
    # Nobody rules on answers that are the same: a person is not asked about them, for a model they are ties that nobody was asked for.
    every = found.get("same", 0) + found["n"] if "rulings" in found else found["n"] + found["unread"]
    if every and found.get("same") == every:
        return "same"
    if rate["value"] is None or rate["p_value"] > level:
        return "cannot_tell"
    low, high = rate["interval"]
    return "better" if low > 0.5 else "worse" if high < 0.5 else "cannot_tell"


def graded(scale: Scale, grades: Sequence[str]) -> dict[str, Any]:
    """The grades of all rows: how many of each, and their mean with its interval. Rows that were not read are counted apart and in nothing else."""
    counts = Counter(grades)
    read_grades = [scale.number(grade) for grade in grades if grade != UNREAD]
    mean = sum(read_grades) / len(read_grades) if read_grades else None
    return {
        "n": len(read_grades),
        "unread": counts[UNREAD],
        "grades": {grade: counts[grade] for grade in scale.grades},
        "mean": {"value": mean, "interval": None if mean is None else _bounds(scale, read_grades)},
    }


def _bounds(scale: Scale, values: Sequence[float]) -> list[float]:
    """Wilson's interval of passes, and the same of points between the scale's ends."""
    found = mean_interval(values, low=scale.number(scale.grades[0]), high=scale.number(scale.grades[-1]))
    return [found.low, found.high]
