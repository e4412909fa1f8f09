"""Endpoints: the list, the form of a new one, and one endpoint's page: its test, its models with their prices, its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from app.domain.access import Who
from app.domain.endpoint import DEFAULTS, LIMITS, MOST_TOKENS, alias
from app.doors import Person
from app.errors import Conflict, FettleError, Invalid
from app.pages.forms import number, typed, whole
from app.pages.render import fragment, is_fragment, page, seen
from app.services import endpoints, jobs, models
from app.services.endpoints import EndpointView

router = APIRouter(prefix="/endpoints")

Typed = Annotated[dict[str, str], Depends(typed)]
EVERY = "*"
MOST_DOLLARS = 1e6


@dataclass(frozen=True)
class ModelLine:
    """One model as the form shows it: whether it is used here, its price and window as typed, and the model here that counts tokens like it."""

    name: str
    program: str
    used: bool
    input: str
    output: str
    window: str = ""
    tokenizer: str = ""
    listed: int | None = None
    """The window that the endpoint itself lists."""


@router.get("")
def index(request: Request, person: Person) -> HTMLResponse:
    views, _ = endpoints.recent(person, limit=200)
    local = {"engine": bool(jobs.health()["engine"])}
    return page(request, "endpoints/index.html", person, "models", views=views, local=local, admin=person.role == "admin")


@router.get("/new")
def new(request: Request, person: Person) -> HTMLResponse:
    return _new(request, person, {})


def _new(request: Request, person: Who, values: Mapping[str, str], error: FettleError | None = None) -> HTMLResponse:
    context = {"values": values, **_refused(error), "defaults": DEFAULTS, "limits": LIMITS, "admin": person.role == "admin"}
    return page(request, "endpoints/new.html", person, "models", error.status if error else 200, **context)


@router.post("", response_model=None)
def create(request: Request, person: Person, values: Typed) -> Response:
    """Register it; what was wrong stands at its field, and everything that was typed stays, but for the key."""
    try:
        view = endpoints.create(person, name=values.get("name", ""), url=values.get("url", ""), key=values.get("key", "").strip() or None, **_numbers(values))
    except (Invalid, Conflict) as error:
        return _new(request, person, values, error)
    return seen(f"/endpoints/{view.endpoint.id}")


@router.get("/{key}")
def show(request: Request, person: Person, key: int) -> HTMLResponse:
    return _show(request, person, endpoints.find(person, key))


def _show(
    request: Request,
    person: Who,
    view: EndpointView,
    values: Mapping[str, str] | None = None,
    lines: list[ModelLine] | None = None,
    error: FettleError | None = None,
) -> HTMLResponse:
    context: dict[str, Any] = {
        "one": view.endpoint,
        "models": view.models,
        "lines": lines if lines is not None else model_lines(view),
        "prices": {name: f"{_dollars(price['input'])} in, {_dollars(price['output'])} out" for name, price in view.endpoint.prices.items()},
        "values": values,
        "limits": LIMITS,
        "admin": person.role == "admin",
        "tokenizers": [(str(model.id), model.name) for model in models.foundation(person)],
        **_refused(error),
    }
    if is_fragment(request):
        return fragment("endpoints/_tested.html", **context)
    return page(request, "endpoints/show.html", person, "models", error.status if error else 200, **context)


@router.post("/{key}", response_model=None)
def update(request: Request, person: Person, key: int, values: Typed) -> Response:
    """Change name, address, key, limits. An empty key field keeps the stored key; "forget" drops it."""
    given = values.get("key", "").strip()
    try:
        key_change = {"key": ""} if values.get("forget") and not given else {"key": given} if given else {}
        endpoints.update(person, key, {"name": values.get("name"), "url": values.get("url"), **key_change, **_numbers(values)})
    except (Invalid, Conflict) as error:
        return _show(request, person, endpoints.find(person, key), values, error=error)
    return seen(f"/endpoints/{key}")


@router.post("/{key}/test", response_model=None)
def probe(request: Request, person: Person, key: int) -> Response:
    """Ask it as a user would; the answer is the part of the page that shows what was found."""
    endpoints.probe(person, key)
    return _show(request, person, endpoints.find(person, key)) if is_fragment(request) else seen(f"/endpoints/{key}")


@router.post("/{key}/models", response_model=None)
def take(request: Request, person: Person, key: int, values: Typed) -> Response:
    """Which of its models are used here, what they cost and how many tokens they take."""
    lines = typed_lines(values)
    try:
        prices = {line.name: price for line in lines if (price := _price(line)) is not None}
        windows = {line.name: said for line in lines if (said := _window(line))}
        used = [line.name for line in lines if line.used and line.name != EVERY]
        endpoints.update(person, key, {"models": used, "prices": prices, "windows": windows})
    except (Invalid, Conflict) as error:
        return _show(request, person, endpoints.find(person, key), lines=lines, error=error)
    return seen(f"/endpoints/{key}#models")


@router.post("/{key}/delete", response_model=None)
def delete(request: Request, person: Person, key: int) -> Response:
    try:
        endpoints.delete(person, key)
    except Conflict as error:
        return _show(request, person, endpoints.find(person, key), error=error)
    return seen("/endpoints")


def model_lines(view: EndpointView) -> list[ModelLine]:
    """Every model that is used or was listed by the last test, those in use first; then the price of all others, and an empty line for one more."""
    used = [model.remote_name or "" for model in view.models]
    listed = list((view.endpoint.probe or {}).get("models") or [])
    prices = view.endpoint.prices

    def line(name: str) -> ModelLine:
        price = prices.get(name, {})
        said = view.endpoint.windows.get(name, {})
        window, tokenizer = (str(said.get(field) or "") for field in ("tokens", "tokenizer"))
        listed_window = view.endpoint.listed_window(name)
        return ModelLine(
            name, alias(view.endpoint, name), name in used, _plain(price.get("input")), _plain(price.get("output")), window, tokenizer, listed_window
        )

    return [line(name) for name in (*used, *(name for name in listed if name not in used), EVERY)]


def typed_lines(values: Mapping[str, str]) -> list[ModelLine]:
    """The lines as they were sent; a name in the last, free line counts as used."""
    numbers = sorted(int(name.removeprefix("name-")) for name in values if name.removeprefix("name-").isdigit() and name.startswith("name-"))

    def line(at: int) -> ModelLine:
        given = {field: values.get(f"{field}-{at}", "").strip() for field in ("input", "output", "window", "tokenizer")}
        return ModelLine(values[f"name-{at}"], "", f"use-{at}" in values, given["input"], given["output"], given["window"], given["tokenizer"])

    lines = [line(at) for at in numbers]
    more = values.get("more", "").strip()
    return lines if not more or more in {line.name for line in lines} else [ModelLine(more, "", True, "", ""), *lines]


def _price(line: ModelLine) -> dict[str, float] | None:
    """None where neither price is given, or for a model that is not used. Raises Invalid."""
    if not (line.input or line.output) or not (line.used or line.name == EVERY):
        return None
    return {name: number(getattr(line, name) or "0", "prices", 0, MOST_DOLLARS) for name in ("input", "output")}


def _window(line: ModelLine) -> dict[str, int]:
    """What is said of a model's window and tokenizer; nothing for a model that is not used. Raises Invalid."""
    if not (line.used or line.name == EVERY):
        return {}
    found = {"tokens": whole(line.window.replace(",", ""), "windows", 1, MOST_TOKENS)} if line.window else {}
    return found | ({"tokenizer": whole(line.tokenizer, "windows", 1, 2**31)} if line.tokenizer else {})


def _numbers(values: Mapping[str, str]) -> dict[str, Any]:
    """Concurrency and time-out as typed; empty fields take the defaults. Raises Invalid."""
    given = {name: values.get(name, "").strip() or str(DEFAULTS[name]) for name in LIMITS}
    low, high = LIMITS["concurrency"]
    return {"concurrency": whole(given["concurrency"], "concurrency", low, high), "time_out": number(given["time_out"], "time_out", *LIMITS["time_out"])}


def _refused(error: FettleError | None) -> dict[str, Any]:
    """The error, and the field at which it stands; "" for none of the form's."""
    if error is None:
        return {"error": None, "refused": {}}
    return {"error": error.as_dict(), "refused": {str(error.detail.get("field", "")): f"{error.message} {error.advice}".strip()}}


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _dollars(value: float) -> str:
    return f"${value:g}"
