"""Endpoints: register, change, test and delete them (administrators), list them (everyone). Keys go in and never come out."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.db import now, reading, transaction
from app.domain import endpoint as endpoints
from app.domain.access import Who, may_administer, owned, page, read, visible
from app.domain.endpoint import Endpoint
from app.domain.model import Model
from app.errors import FettleError
from app.remote import address
from app.remote.spec import EndpointSpec, Price, price_of
from app.settings import settings


@dataclass(frozen=True)
class EndpointView:
    """An endpoint with the models that were taken from it."""

    endpoint: Endpoint
    models: list[Model]


@dataclass(frozen=True)
class Remote:
    """All that asking a remote model takes."""

    spec: EndpointSpec
    model: str
    price: Price | None


def create(
    person: Who,
    *,
    name: str,
    url: str,
    key: str | None = None,
    prices: Mapping[str, Mapping[str, float]] | None = None,
    windows: Mapping[str, Mapping[str, Any]] | None = None,
    concurrency: int = endpoints.DEFAULTS["concurrency"],
    time_out: float = endpoints.DEFAULTS["time_out"],
    models: Sequence[str] = (),
) -> EndpointView:
    """Register an endpoint. Raises Forbidden, Invalid for an address it may not have, Conflict for a name that is taken."""
    may_administer(person)
    chosen, place = endpoints.named(name), _place(url)
    endpoints.check_prices(prices or {}, models)
    with transaction() as session:
        endpoints.free(session, person, chosen)
        about = {"prices": dict(prices or {}), "concurrency": concurrency, "time_out": time_out, "probe": None, "tested_at": None}
        said = endpoints.check_windows(session, person, windows or {}, models)
        row = Endpoint(**owned(person), name=chosen, url=place.url, origin=place.origin, sealed_key=None, windows=said, **about)
        row.lock(key, settings().key)
        session.add(row)
        session.flush()
        endpoints.take(session, person, row, models)
        return _view(session, row)


def update(person: Who, key: int, changes: Mapping[str, Any]) -> EndpointView:
    """Change what is named. Another scheme, host or port needs the key again: the stored one goes nowhere else."""
    may_administer(person)
    place = _place(changes["url"]) if changes.get("url") is not None else None
    with transaction() as session:
        row = read(session, person, Endpoint, key, "endpoint")
        if place is not None:
            row.move(place.url, place.origin, changes.get("key"))
        if changes.get("key") is not None:
            row.lock(changes["key"], settings().key)
        if changes.get("name") is not None:
            chosen = endpoints.named(changes["name"])
            endpoints.free(session, person, chosen, row.id)
            row.name = chosen
        for field in ("concurrency", "time_out"):
            setattr(row, field, getattr(row, field) if changes.get(field) is None else changes[field])
        there = [model.remote_name or "" for model in endpoints.models_of(session, [row.id])[row.id]]
        names = there if changes.get("models") is None else changes["models"]
        if changes.get("prices") is not None:
            endpoints.check_prices(changes["prices"], names)
            row.prices = dict(changes["prices"])
        if changes.get("windows") is not None:
            row.windows = endpoints.check_windows(session, person, changes["windows"], names)
        endpoints.take(session, person, row, names)
        return _view(session, row)


def delete(person: Who, key: int) -> None:
    """Raises Conflict while something that was measured names one of its models."""
    may_administer(person)
    with transaction() as session:
        endpoints.remove(session, read(session, person, Endpoint, key, "endpoint"))


def find(person: Who, key: int) -> EndpointView:
    with reading() as session:
        return _view(session, read(session, person, Endpoint, key, "endpoint"))


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[EndpointView], int | None]:
    with reading() as session:
        rows, following = page(session, visible(person, Endpoint), Endpoint, after, limit)
        models = endpoints.models_of(session, [row.id for row in rows])
        return [EndpointView(row, models[row.id]) for row in rows], following


def refusing(person: Who) -> dict[int, str]:
    """By id, the endpoints that give no likelihoods, and why."""
    with reading() as session:
        return {row.id: row.likelihood_refused for row in session.scalars(visible(person, Endpoint)) if row.likelihood_refused}


def probe(person: Who, key: int, model: str = "") -> dict[str, Any]:
    """Ask the endpoint as a user would, and keep what was found: {ok, models, model, chat, completions, likelihood, reason, latency_ms, error}.

    `model` is the one to try; without it the first of its models that is in use, else the first that it lists.
    """
    may_administer(person)
    with reading() as session:
        view = _view(session, read(session, person, Endpoint, key, "endpoint"))
    known = view.endpoint.probe or {"models": [], "chat": True, "completions": False, "likelihood": False, "latency_ms": None}
    chosen = model or next((one.remote_name or "" for one in view.models), "")
    try:
        found = {"ok": True, "error": None, **asdict(_probe(spec_of(view.endpoint), chosen))}
        found["models"] = list(found["models"])
    except FettleError as error:
        # What it could do stays known: a server that is away for a minute must not change how it is asked.
        found = {**known, "ok": False, "model": chosen, "error": error.as_dict(), "reason": known.get("reason") or "It has never been tested with success."}
    with transaction() as session:
        row = read(session, person, Endpoint, key, "endpoint")
        if row.url == view.endpoint.url:  # it may have moved meanwhile
            row.probe, row.tested_at = found, now(session)
    return found


def _probe(spec: EndpointSpec, model: str) -> Any:
    from app.remote import probe as trial  # here, because it loads the openai SDK

    return asyncio.run(trial.probe(spec, model))


def spec_of(endpoint: Endpoint) -> EndpointSpec:
    """The plain description that app/remote takes, with the key in the clear. Raises Conflict when the key cannot be read."""
    here = settings()
    return EndpointSpec(**endpoint.facts(here.key), allowed=tuple(here.allowed_endpoints), redis=here.redis)


def remote(session: Session, model: Model) -> Remote | None:
    """How to ask a remote model; None for one that runs here."""
    if not model.remote:
        return None
    endpoint = endpoints.of_model(session, model)
    return Remote(spec_of(endpoint), model.remote_name or "", price_of(endpoint.prices, model.remote_name or ""))


def _place(url: str) -> address.Address:
    """An address that an endpoint may have. Raises Invalid."""
    place = address.parse(url.strip())
    address.early_check(place, settings().allowed_endpoints)
    return place


def _view(session: Session, row: Endpoint) -> EndpointView:
    return EndpointView(row, endpoints.models_of(session, [row.id])[row.id])
