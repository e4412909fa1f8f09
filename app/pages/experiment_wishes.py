"""What the form of a new experiment asks of a rung, and what things cost: its fields of Targets."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.targets import Targets
from app.pages.forms import number


@dataclass(frozen=True)
class Wish:
    """A field of Targets in the form. `scale` turns what is typed into what is kept."""

    title: str
    low: float
    high: float
    unit: str
    help: str
    scale: float = 1.0


WISHES = {
    "requests_a_month": Wish("Requests a month", 1, 1e10, "", "What a rung costs is counted over twelve months of them."),
    "label_price": Wish("One label", 0, 1e6, "$", "What one more labelled row costs you."),
    "machine_hour": Wish("One hour of this machine", 0, 1e6, "$", "The price of local answers and of tuning."),
    "quality": Wish("Quality", 0.1, 100, "%", "The share of rows that must be shown to be right.", 0.01),
    "latency_ms": Wish("Latency", 0.1, 1e7, "ms", "The most that 95 of 100 answers may take."),
    "price": Wish("Price of 1,000 requests", 1e-6, 1e6, "$", "The most that they may cost."),
}


def targets(values: Mapping[str, str]) -> Targets:
    """What was asked for and what things cost; an empty field is left out. Raises Invalid naming the field."""
    given = {
        name: number(text.replace(",", ""), name, wish.low, wish.high) * wish.scale for name, wish in WISHES.items() if (text := values.get(name, "").strip())
    }
    return Targets.model_validate(given)
