"""A label budget: the first so many train rows of a seed's order, as if no more had been labelled.
The order is a hash of seed and position, so a budget of 16 is a part of the budget of 64 (nested), on every machine, whatever the method.
"""

from sqlalchemy.orm import Session

from app.domain import dataset as datasets
from app.domain.dataset import Case, DatasetVersion
from app.domain.shots import place
from app.errors import Invalid


def check(version: DatasetVersion, budgets: list[int]) -> None:
    """Raises Invalid for a budget that the train split does not hold, or that is too small to learn from."""
    rows = version.splits.get("train", 0)
    for budget in budgets:
        if not 2 <= budget <= rows:
            message = f"A label budget of {budget:,} is not possible: the train split has {rows:,} rows."
            raise Invalid("bad_budget", message, f"Choose between 2 and {rows:,} labels.", detail={"field": "label_budget"})


def train_rows(session: Session, version: DatasetVersion, budget: int | None, seed: int) -> list[Case]:
    """The labelled train rows within a budget, in file order; without one, all."""
    rows = list(datasets.cases(session, version, "train"))
    if not budget:
        return rows
    within = set(sorted((row.position for row in rows), key=lambda position: place(seed, position))[:budget])
    return [row for row in rows if row.position in within]
