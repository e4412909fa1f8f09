"""The second tab of an experiment: quality over labels, where one stands, and what more labels would buy."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from app.domain.scheme import ACCURACY, Metric
from app.doors import Person
from app.pages import plots
from app.pages.formatting import money, points, points_interval
from app.pages.ladder_view import heading
from app.pages.render import fragment, is_fragment, page
from app.services import experiments, label_curve
from app.services.label_curve import Curves, Rising

router = APIRouter(prefix="/experiments")

More = Annotated[str, Query(max_length=12)]


@router.get("/{key}/labels")
def show(request: Request, person: Person, key: int, more: More = "", price: More = "") -> HTMLResponse:
    """The curves. What is typed into the two fields is in the address; an empty or unreadable field is left to its default."""
    found = label_curve.find(person, key, _whole(more), _number(price))
    under_way = any(one.under_way for one in found.rising)
    context: dict[str, Any] = {
        "experiment": found.experiment,
        "rising": drawn(found),
        "more": found.more,
        "price": found.label_price,
        "under_way": under_way,
        "figure": heading(found.experiment.figure),
        "tab": "labels",
    }
    if is_fragment(request):
        return fragment("experiments/_labels.html", **context)
    return page(request, "experiments/labels.html", person, "compare", ladder=experiments.find(person, key), **context)


def drawn(found: Curves) -> list[dict[str, Any]]:
    """Each curve with its sentence and its drawings, for the tab and for the report."""
    return [{"of": one, "said": said(one, found.experiment.figure), "plots": _plots(one)} for one in found.rising]


def _plots(one: Rising) -> list[plots.Plot]:
    ahead = one.now + one.gain.more if one.gain else one.now
    points = [(at.labels, at.score, at.low, at.high) for at in one.points]
    return plots.for_screens(lambda width: plots.labels(points, one.fitted, one.now, ahead, width))


def said(one: Rising, figure: Metric) -> str:
    """What more labels would buy, in a sentence."""
    if one.gain is None:
        missing = "once its other runs are done" if one.under_way else "with three label counts or more"
        return f"What more labels would buy can be said {missing}."
    price = "" if one.price is None else f", for {money(one.price)}"
    unit = "points" if figure == ACCURACY else f"points of {figure.title}"
    span = points_interval((one.gain.low, one.gain.high))
    return f"{one.gain.more:,} more labels buy {points(one.gain.gain)} {unit} {span}{price}, if the curve goes on as it began."


def _whole(text: str) -> int | None:
    return int(text) if text.isdigit() and 0 < int(text) <= 10**8 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1e6 else None
