"""Webhooks between real processes: what a worker ended is told by whichever web process comes next, once, and signed."""

import base64
import hashlib
import hmac
import json
import signal

import pytest

from tests.faults.site import Site, until
from tests.services.test_webhooks import Receiver, hook, receiver

pytestmark = [pytest.mark.faults, pytest.mark.slow]
__all__ = ["receiver"]


def told(server: Receiver, secret: str) -> list[tuple[str, int]]:
    """(type, job) of every message that came, each with a signature that holds."""
    found = []
    for _, headers, body in list(server.got):
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
        message = json.loads(body)
        found.append((message["type"], message["data"]["id"]))
    return found


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True)
def test_ends_are_told_once_although_web_dies_before_it_could_say_so(receiver: Receiver, site: Site) -> None:
    secret = hook(site.person, receiver)
    web = site.web()
    site.worker(nan=12)
    web.send_signal(signal.SIGKILL)
    web.wait()
    lost = site.tune()
    assert site.ended(lost).state == "failed" and not receiver.got, "there is nobody who could say it"
    web = site.web()
    until(lambda: told(receiver, secret) == [("job.failed", lost)], 30)
    receiver.statuses = [503]  # its receiver is not there either, and web dies before it tries again
    done = site.tune(max_steps=3)
    site.succeeded(done)
    until(lambda: len(receiver.got) == 2, 30)
    web.send_signal(signal.SIGKILL)
    web.wait()
    site.web()
    until(lambda: len(receiver.got) == 3, 60)
    assert told(receiver, secret) == [("job.failed", lost), ("job.succeeded", done), ("job.succeeded", done)]
    names = [headers["webhook-id"] for _, headers, _ in receiver.got]
    assert names[1] == names[2] != names[0], "who asks twice can tell that it is the same message"
