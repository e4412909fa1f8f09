"""Webhooks against a real HTTP server: signed, sent after the commit that ended the job, tried again, and kept inside the house's rules."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import update

from app.db import now, transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import webhook as domain
from app.domain.access import Who
from app.domain.job import Fenced, Job
from app.domain.webhook import Delivery, Webhook
from app.errors import Forbidden, Invalid
from app.messenger import Messenger
from app.services import webhooks
from app.settings import settings
from tests.rows import claim


class Receiver(ThreadingHTTPServer):
    """Keeps every request it gets, and answers with these statuses in turn, then with 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.statuses: list[int] = []
        self.got: list[tuple[str, dict[str, str], bytes]] = []


class Door(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([place(server)]))
    settings.cache_clear()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def place(server: Receiver) -> str:
    return f"127.0.0.1:{server.server_address[1]}"


def hook(person: Who, server: Receiver) -> str:
    secret = webhooks.save(person, f"http://{place(server)}/hooks/fettle")
    assert secret is not None
    return secret


def end(person: Who, failed: bool = False) -> int:
    """A job that a worker takes and ends."""
    with transaction() as session:
        jobs.add(session, person, "tune", "LoRA on tickets", {})
    with transaction() as session:
        job = claim(session)
    with transaction() as session:
        if failed:
            ending.fail(session, job.id, job.lease_token or "", {"code": "full", "message": "The disk is full.", "advice": "Free some."})
        else:
            ending.succeed(session, job.id, job.lease_token or "", {"model": 3})
    return job.id


def succeed_twice(job: Job) -> None:
    """The second end takes the first one back with it."""
    with transaction() as session:
        for _ in range(2):
            ending.succeed(session, job.id, job.lease_token or "", {})


def due() -> None:
    """As if the pause before the next try were over."""
    with transaction() as session:
        session.execute(update(Delivery).where(Delivery.state == "waiting").values(next_at=now(session)))


def message() -> Delivery:
    with transaction() as session:
        return session.query(Delivery).one()


def test_a_receiver_that_fails_twice_gets_the_same_signed_message_a_third_time_and_it_is_over(person: Who, receiver: Receiver) -> None:
    secret = hook(person, receiver)
    receiver.statuses = [500, 302]
    key = end(person, failed=True)
    assert receiver.got == [], "nothing is sent inside a transaction"
    pauses = []
    for tries in (1, 2, 3):
        began = time.time()
        assert webhooks.send_next() is True
        row = message()
        assert row.tries == tries
        if row.next_at:
            pauses.append(round((row.next_at / 1000 - began) / 5) * 5)
            assert webhooks.send_next() is False, "not before the pause is over"
        due()
    assert pauses == [5, 60] and (row.state, row.answered, row.problem) == ("sent", 204, None) and webhooks.send_next() is False
    assert len(receiver.got) == 3 and len({body for _, _, body in receiver.got}) == 1 and {path for path, _, _ in receiver.got} == {"/hooks/fettle"}
    for _, headers, body in receiver.got:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode() and abs(int(headers["webhook-timestamp"]) - time.time()) < 10
        assert headers["content-type"] == "application/json" and "authorization" not in headers
    told = json.loads(receiver.got[0][2])
    assert told["type"] == "job.failed" and told["data"]["id"] == key and told["data"]["error"]["message"] == "The disk is full."
    assert told["data"]["url"] == f"http://127.0.0.1:8000/jobs/{key}" and told["timestamp"].endswith("Z")


def test_a_receiver_that_never_accepts_is_given_up_visibly(person: Who, receiver: Receiver) -> None:
    hook(person, receiver)
    end(person)
    for _ in range(len(domain.PAUSES) + 1):
        receiver.statuses = [503]
        due()
        assert webhooks.send_next() is True
    row = message()
    assert (row.state, row.tries, row.problem) == ("failed", 8, "It answered 503.") and webhooks.send_next() is False
    view = webhooks.find(person)
    assert view is not None and view.waiting == 0 and [one.state for one in view.messages] == ["failed"]


def test_ends_that_rolled_back_or_that_a_person_caused_tell_nobody(person: Who, receiver: Receiver) -> None:
    hook(person, receiver)
    with transaction() as session:
        waiting, running = jobs.add(session, person, "tune", "a", {}), jobs.add(session, person, "tune", "b", {}, priority=1)
        ending.cancel(session, waiting)
    with transaction() as session:
        job = claim(session)
    assert job.id == running.id
    with pytest.raises(Fenced):
        succeed_twice(job)
    with transaction() as session:
        ending.cancel(session, session.get_one(Job, job.id))
        ending.stop(session, job.id, job.lease_token or "")
    assert webhooks.send_next() is False and receiver.got == []


def test_a_job_ends_as_ever_where_there_is_no_webhook(person: Who) -> None:
    end(person)
    assert webhooks.send_next() is False and webhooks.find(person) is None


def test_nobody_listening_is_a_problem_and_not_an_error(person: Who, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", '["127.0.0.1:9"]')
    settings.cache_clear()
    webhooks.save(person, "http://127.0.0.1:9/x")
    end(person)
    assert webhooks.send_next() is True and (message().problem or "").startswith("No connection") and message().state == "waiting"
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", "[]")
    settings.cache_clear()
    due()
    assert webhooks.send_next() is True and "not on the open internet" in (message().problem or ""), "the rules hold when it is sent, not only when it is set"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "http://169.254.169.254/x", "https://10.0.0.1/x", "https://a@b.example/x", "ftp://example.com", "http://[::1]:8000/x"]
)
def test_a_private_or_ambiguous_address_is_refused_when_it_is_set(person: Who, url: str) -> None:
    with pytest.raises(Invalid):
        webhooks.save(person, url)


def test_the_secret_is_shown_once_encrypted_and_made_anew_for_another_host(person: Who, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = hook(person, receiver)
    assert webhooks.save(person, f"http://{place(receiver)}/other") is None
    with transaction() as session:
        row = session.query(Webhook).one()
        assert secret not in row.sealed_secret and row.secret(settings().key) == secret and row.url.endswith("/other")
    monkeypatch.setenv("FETTLE_ALLOWED_ENDPOINTS", json.dumps([place(receiver), "127.0.0.1:9"]))
    settings.cache_clear()
    moved = webhooks.save(person, "http://127.0.0.1:9")
    assert moved not in (None, secret) and webhooks.renew(person) not in (moved, secret)
    with pytest.raises(Forbidden):
        webhooks.save(Who(person.user_id, person.workspace_id, "Eve", "member"), f"http://{place(receiver)}/mine")


def test_two_senders_at_once_send_each_message_once(person: Who, receiver: Receiver) -> None:
    hook(person, receiver)
    for _ in range(6):
        end(person)

    def send() -> None:
        while webhooks.send_next():
            pass

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    send()  # on PostgreSQL a sender that met only locked rows has gone home
    names = [headers["webhook-id"] for _, headers, _ in receiver.got]
    assert len(names) == len({*names}) == 6


def test_the_messenger_sends_by_itself_and_a_removed_webhook_takes_its_messages_along(person: Who, receiver: Receiver) -> None:
    hook(person, receiver)
    webhooks.test(person)
    messenger = Messenger()
    messenger.start()
    until = time.monotonic() + 20
    while message().state != "sent" and time.monotonic() < until:
        time.sleep(0.1)
    messenger.stop()
    assert json.loads(receiver.got[0][2])["type"] == "webhook.test" and not messenger.is_alive()
    webhooks.test(person)
    webhooks.forget(person)
    with transaction() as session:
        assert session.query(Delivery).count() == 0
