"""Webhooks: where a workspace is told how its jobs end (administrators), and the sending of what is due."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.db import now, reading, transaction
from app.domain import webhook as webhooks
from app.domain.access import Who, may_administer, owned
from app.domain.webhook import Delivery, Webhook
from app.errors import Conflict, FettleError, NotFound
from app.remote import address
from app.settings import settings

TAKEN_SECONDS = 60
"""A message is nobody else's for so long while it is sent; longer than any try takes."""


@dataclass(frozen=True)
class View:
    """A workspace's webhook with its newest messages; `waiting` counts those that are still to be sent."""

    webhook: Webhook
    messages: Sequence[Delivery]
    waiting: int


def find(person: Who) -> View | None:
    may_administer(person)
    with reading() as session:
        hook = webhooks.of(session, person.workspace_id)
        return View(hook, webhooks.recent(session, hook), webhooks.unsent(session, hook)) if hook else None


def save(person: Who, url: str) -> str | None:
    """Set the address. Returns a new signing secret for a new one, or for another scheme, host or port: it is shown once and never again.

    Raises Invalid for an address that may not be asked, by the rules of endpoints.
    """
    may_administer(person)
    place = address.parse(url.strip(), "")
    address.early_check(place, settings().allowed_endpoints)
    with transaction() as session:
        hook = webhooks.of(session, person.workspace_id)
        if hook is not None and hook.origin == place.origin:
            hook.url = place.url
            return None
        secret = webhooks.fresh_secret()
        sealed = webhooks.sealed(secret, settings().key, place.origin)
        if hook is None:
            session.add(Webhook(**owned(person), url=place.url, origin=place.origin, sealed_secret=sealed))
        else:
            hook.url, hook.origin, hook.sealed_secret = place.url, place.origin, sealed
        return secret


def renew(person: Who) -> str:
    """Another secret; the old one signs nothing more."""
    may_administer(person)
    with transaction() as session:
        hook, secret = webhooks.of(session, person.workspace_id), webhooks.fresh_secret()
        if hook is None:
            raise NotFound("webhook", "here")
        hook.sealed_secret = webhooks.sealed(secret, settings().key, hook.origin)
        return secret


def forget(person: Who) -> None:
    """Tell nobody any more; what was not sent yet goes too."""
    may_administer(person)
    with transaction() as session:
        hook = webhooks.of(session, person.workspace_id)
        if hook is not None:
            session.delete(hook)


def test(person: Who) -> None:
    """Queue a message that only says that the webhook works."""
    may_administer(person)
    with transaction() as session:
        hook = webhooks.of(session, person.workspace_id)
        if hook is None:
            raise NotFound("webhook", "here")
        webhooks.add(session, hook, webhooks.TEST, {"message": "This is a test from Fettle's settings page."})


def send_next() -> bool:
    """Try the message that is due longest. False when none is due."""
    with transaction() as session:
        taken = webhooks.take(session, TAKEN_SECONDS)
        second = now(session) // 1000
    if taken is None:
        return False
    message, hook = taken
    answered, problem = _try(message, hook, second)
    with transaction() as session:
        webhooks.note(session, message, answered, problem)
    return True


def _try(message: Delivery, hook: Webhook, second: int) -> tuple[int | None, str | None]:
    """(status of the answer, what is wrong); no problem for a 2xx."""
    from app.remote import hook as remote  # here, because it loads an HTTP client

    body = json.dumps(_body(message)).encode()
    try:
        headers = {
            "webhook-id": message.name,
            "webhook-timestamp": str(second),
            "webhook-signature": webhooks.sign(hook.secret(settings().key), message.name, second, body),
        }
        status = remote.post(address.parse(hook.url, ""), headers, body, tuple(settings().allowed_endpoints))
    except Conflict:
        return None, "The stored secret cannot be read: it was saved under another FETTLE_SECRET_KEY. Make a new one."
    except FettleError as error:
        return None, error.message
    return status, None if 200 <= status < 300 else f"It answered {status}."


def _body(message: Delivery) -> dict[str, Any]:
    """{type, timestamp, data}: when it happened, not when it is sent."""
    moment = datetime.fromtimestamp(message.created_at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    place = {"url": f"{settings().address}/jobs/{message.job_id}"} if message.job_id else {}
    return {"type": message.kind, "timestamp": moment, "data": {**message.body, **place}}
