"""Models: the catalogue and the tuned ones, each with what it was made from and how to ask it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.methods import METHODS
from app.domain.model import Model
from app.doors import Person
from app.pages.forms import typed
from app.pages.render import page, seen
from app.services import discarding, experiments, handing_out, models
from app.settings import settings

router = APIRouter(prefix="/models")


@router.get("")
def index(request: Request, person: Person) -> HTMLResponse:
    made = models.lineages(person)
    tuned = [one for one in made if one.model.kind == "tuned"]
    foundation = [one for one in made if one.model.kind == "foundation"]
    remote = [one for one in made if one.model.remote]
    return page(request, "models/index.html", person, "models", tuned=tuned, foundation=foundation, remote=remote, titles=_titles())


@router.get("/{key}")
def show(request: Request, person: Person, key: str) -> HTMLResponse:
    """One model: lineage, method, figures, and two ways to ask it from a program."""
    one = models.find(person, key)
    return page(
        request,
        "models/show.html",
        person,
        "models",
        one=one,
        title=_titles().get(one.model.method or ""),
        method=METHODS.get(one.model.method or ""),
        given=_parameters(one.model),
        forms=None if one.model.remote else handing_out.forms(person, one.model.id),
        experiments=experiments.of_model(person, one.model),
        address=settings().address,
        message=_message(one.prompt.shots[0]["input"] if one.prompt and one.prompt.shots else "Where is my order?"),
    )


@router.post("/{key}/pin")
def pin(person: Person, key: str, values: Annotated[dict[str, str], Depends(typed)]) -> Response:
    """Keep the model loaded, or no more."""
    return seen(f"/models/{models.pin(person, key, values.get('on') == 'yes').slug}")


@router.post("/{key}/merge")
def merge(person: Person, key: int) -> Response:
    """Make one plain model of a tuned one; its job's page says how far it is."""
    return seen(f"/jobs/{handing_out.merge(person, key).job.id}")


@router.post("/{key}/delete")
def delete(person: Person, key: int) -> Response:
    discarding.model(person, key)
    return seen("/models")


def _titles() -> dict[str, str]:
    return {name: method.title for name, method in METHODS.items()}


def _parameters(model: Model) -> list[dict[str, Any]]:
    """The method's parameters with their meaning; those that differ from its defaults first."""
    fields = METHODS[model.method].model_fields if model.method in METHODS else {}
    rows = [
        {
            "name": name.replace("_", " "),
            "value": value,
            "help": fields[name].description if name in fields else "",
            "changed": name in fields and not fields[name].is_required() and fields[name].default != value,
        }
        for name, value in (model.method_parameters or {}).items()
    ]
    return sorted(rows, key=lambda row: not row["changed"])


def _message(text: str) -> str:
    """An example's input that stands in a shell line and in Python without quoting."""
    return " ".join(text.replace('"', "").replace("'", "").replace("\\", "").split())[:120]
