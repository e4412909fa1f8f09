"""The sliders under a verdict: another volume, label price or margin, and what it would change. A fragment; its state is its address."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from app.doors import Person
from app.pages import ladder_view
from app.pages.formatting import count, money
from app.pages.render import fragment
from app.services import what_if

router = APIRouter(prefix="/experiments")

TITLES = {"requests_a_month": "Requests a month", "label_price": "Price of a label", "margin": "Margin"}

LACKING = {"requests_a_month": "the number of requests a month", "label_price": "the price of a label"}
"""What one slider waits for, in words."""

Place = Annotated[int | None, Query(ge=0, le=40)]
Unmoved = Annotated[list[str] | None, Query(max_length=len(TITLES))]


def told(name: str, value: float | None) -> str:
    """A slider's value in words."""
    if value is None:
        return "not set"
    if name == "margin":
        return f"{100 * value:g} points"
    return money(value) if name == "label_price" else count(int(value))


@router.get("/{key}/what-if")
def show(person: Person, key: int, requests_a_month: Place = None, label_price: Place = None, margin: Place = None, unmoved: Unmoved = None) -> HTMLResponse:
    """The verdict under other terms than the experiment's. A form sends all of its sliders: `unmoved` are those that nobody had moved when it was drawn,
    each with the place where it stood."""
    given = {"requests_a_month": requests_a_month, "label_price": label_price, "margin": margin}
    moved = {name: at for name, at in given.items() if at is not None and f"{name}.{at}" not in (unmoved or ())}
    return fragment("experiments/_what_if.html", **context(what_if.ask(person, key, moved), key))


def context(found: what_if.WhatIf, key: int) -> dict[str, Any]:
    """What the fragment draws."""
    sliders = [
        {
            "name": one.name,
            "title": TITLES[one.name],
            "index": one.index,
            "last": len(what_if.STEPS[one.name]) - 1,
            "moved": one.moved,
            "value": told(one.name, one.value),
            "needs": LACKING.get(one.needs, ""),
            "flips": [{"index": flip.index, "words": f"from {told(one.name, flip.value)} on {flip.rung}"} for flip in one.flips],
        }
        for one in found.sliders
    ]
    verdict = ladder_view.typographic(found.recommendation.verdict) if found.recommendation else ""
    return {"key": key, "sliders": sliders, "verdict": verdict, "changed": found.changed, "priced": found.priced, "settled": found.settled}
