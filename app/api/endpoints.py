"""/api/v1/endpoints"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app.api import shapes
from app.domain.endpoint import DEFAULTS, LIMITS, MOST_TOKENS
from app.doors import Person
from app.services import endpoints

router = APIRouter(prefix="/endpoints")

Dollars = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class PriceBody(shapes.Body):
    """US dollars for a million tokens."""

    input: Dollars
    output: Dollars


class WindowBody(shapes.Body):
    """Tokens that a model takes at once, and the model here whose tokenizer counts like it."""

    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    tokenizer: int | None = Field(None, ge=1, le=2**31)


Key = Annotated[str, Field(max_length=4000, pattern=r"^[\x21-\x7e]*$")]
Prices = Annotated[dict[str, PriceBody], Field(max_length=1000)]
Windows = Annotated[dict[str, WindowBody], Field(max_length=1000)]
Concurrency = Annotated[int, Field(ge=LIMITS["concurrency"][0], le=LIMITS["concurrency"][1])]
TimeOut = Annotated[float, Field(ge=LIMITS["time_out"][0], le=LIMITS["time_out"][1], allow_inf_nan=False)]
Names = Annotated[list[str], Field(max_length=1000)]


class NewEndpoint(shapes.Body):
    name: str = Field(max_length=200)
    url: str = Field(max_length=2000)
    key: Key | None = None
    prices: Prices = {}
    windows: Windows = {}
    concurrency: Concurrency = DEFAULTS["concurrency"]
    time_out: TimeOut = DEFAULTS["time_out"]
    models: Names = []


class Changes(shapes.Body):
    """Only what is sent changes. `key` "" forgets the stored one."""

    name: str | None = Field(None, max_length=200)
    url: str | None = Field(None, max_length=2000)
    key: Key | None = None
    prices: Prices | None = None
    windows: Windows | None = None
    concurrency: Concurrency | None = None
    time_out: TimeOut | None = None
    models: Names | None = None


class Trial(shapes.Body):
    """Which model to try; without one, the first."""

    model: str = Field("", max_length=200)


@router.get("")
def index(person: Person, after: shapes.After = None, limit: shapes.Limit = 50) -> dict[str, Any]:
    views, following = endpoints.recent(person, after, limit)
    return shapes.listing([shapes.endpoint(view) for view in views], following)


@router.post("", status_code=201)
def create(person: Person, body: NewEndpoint) -> dict[str, Any]:
    """Register an OpenAI-compatible server. Administrators only."""
    return shapes.endpoint(endpoints.create(person, **body.model_dump()))


@router.get("/{key}")
def show(person: Person, key: shapes.Key) -> dict[str, Any]:
    return shapes.endpoint(endpoints.find(person, key))


@router.patch("/{key}")
def update(person: Person, key: shapes.Key, body: Changes) -> dict[str, Any]:
    """Change what is sent. Another scheme, host or port needs the key again."""
    return shapes.endpoint(endpoints.update(person, key, body.model_dump(exclude_none=True)))


@router.delete("/{key}", status_code=204)
def delete(person: Person, key: shapes.Key) -> None:
    endpoints.delete(person, key)


@router.post("/{key}/test")
def probe(person: Person, key: shapes.Key, body: Trial | None = None) -> dict[str, Any]:
    """Ask it as a user would. What was found is the answer, a failure included: `ok` says which."""
    return endpoints.probe(person, key, body.model if body else "")
