"""An experiment's rungs weighed: from cheap to dear, the best one, and which hold against it. Pure. What is said of it is `recommendation.py`."""

from collections.abc import Sequence
from functools import cached_property
from math import ceil, inf

from app.domain.ladder import Step, paired
from app.domain.stats import ALPHA, Difference, holds, holm
from app.domain.targets import Terms

MONTHS = 12


class Weighed:
    """The rungs from cheap to dear, the best one, and which of the cheaper ones hold against it."""

    def __init__(self, steps: Sequence[Step], terms: Terms, brief: bool = False, among: str = "") -> None:
        """`among`: what these rungs are, in words, where they are not all there are."""
        self.terms, self.brief = terms, brief
        yearly = {step.position: yearly_cost(step, terms) for step in steps}
        self.priced = all(value is not None for value in yearly.values())
        self.steps = sorted(steps, key=lambda step: (yearly[step.position] or 0.0, step.position)) if self.priced else list(steps)
        self.yearly = yearly
        # On validation where every rung has a score there: else on the test rows, and that is said. The cheaper of two equals is the best.
        self.validated = all(step.validation is not None for step in steps)
        self.chosen_by = f"{'validation score' if self.validated else 'score'}{among}"
        self.best = max(self.steps, key=lambda step: (self.quality(step), -self.steps.index(step)))
        at = self.steps.index(self.best)
        self.cheaper, self.dearer = self.steps[:at], self.steps[at + 1 :]
        # What the best has to hold against in its turn: the best of those that cost more.
        self.rival = max(self.dearer, key=lambda step: (self.quality(step), -self.steps.index(step)), default=None)
        self.against_best = {step.position: paired(step, self.best) for step in self.steps if step is not self.best}
        self.corrected = self._corrected(self.cheaper) | self._corrected(self.dearer)

    def quality(self, step: Step) -> float:
        return step.validation if self.validated and step.validation is not None else step.value

    @cached_property
    def asked(self) -> dict[int, Difference]:
        """The rungs that have to hold, from cheap to dear, each against the best of those that cost more: for a cheaper one that is the best of all."""
        found = {step.position: self.against_best[step.position] for step in self.cheaper}
        return found if self.rival is None else found | {self.best.position: self.against_best[self.rival.position].turned}

    def choice(self, margin: float) -> Step | None:
        """The cheapest rung that holds at this margin. The dearest has nothing to hold against; None where nothing cheaper than it is shown to hold."""
        shown = dict(zip(self.asked, holds(list(self.asked.values()), margin), strict=True))
        return next((step for step in self.steps if shown.get(step.position)), self.best if self.rival is None else None)

    def smallest_margin(self, choice: Step) -> float:
        """The margin from which on, up to the one asked for, the verdict is `choice`. Rounded up to a tenth of a point, as it is read: there it holds as well."""
        low, high = 0.0, 0.0 if self._is(choice, 0.0) else self.terms.margin
        for _ in range(0 if self.brief else 12):
            middle = (low + high) / 2
            low, high = (low, middle) if self._is(choice, middle) else (middle, high)
        return min(self.terms.margin, ceil(1000 * high) / 1000)

    def _is(self, choice: Step, margin: float) -> bool:
        return self.choice(margin) is choice and self.above(margin) is None

    def worse(self) -> set[int]:
        """Cheaper rungs that are shown to be worse than the best one."""
        return {step.position for step in self.cheaper if self._differs(step) and self.against_best[step.position].high < 0}

    def above(self, margin: float) -> Step | None:
        """A dearer rung that is shown to be better than the best by validation, which is not shown to be less than the margin below it: the highest."""
        near = holds([self.against_best[step.position].turned for step in self.dearer], margin) if margin > 0 else [False] * len(self.dearer)
        ahead = (
            step for step, within in zip(self.dearer, near, strict=True) if not within and self._differs(step) and self.against_best[step.position].low > 0
        )
        return max(ahead, key=lambda step: step.value, default=None)

    def _differs(self, step: Step) -> bool:
        return self.corrected[step.position] <= ALPHA

    def _corrected(self, steps: Sequence[Step]) -> dict[int, float]:
        """P-values against the best one with Holm's correction. Cheaper rungs may replace it and dearer ones cast doubt on it: each is a question of its own."""
        return dict(zip((step.position for step in steps), holm([self.against_best[step.position].p_value for step in steps]), strict=True))


def yearly_cost(step: Step, terms: Terms) -> float | None:
    """Twelve months of requests, and tuning and labels once. None where something of it is not known."""
    labels = 0.0 if not step.cost.labels else None if terms.label_price is None else step.cost.labels * terms.label_price
    if terms.requests_a_month is None or step.cost.request is None or step.cost.tuning is None or labels is None:
        return None
    return MONTHS * terms.requests_a_month * step.cost.request + step.cost.tuning + labels


def break_even(dear_request: Step, tuned: Step, label_price: float | None) -> float | None:
    """Requests after which tuning has paid for itself against a prompt that costs more a request; inf: never; None: a price is not known."""
    if dear_request.cost.request is None or tuned.cost.request is None or tuned.cost.tuning is None:
        return None
    more_labels = max(0, tuned.cost.labels - dear_request.cost.labels)
    if more_labels and label_price is None:
        return None
    once = tuned.cost.tuning + more_labels * (label_price or 0.0)
    saved = dear_request.cost.request - tuned.cost.request
    return inf if saved <= 0 else once / saved
