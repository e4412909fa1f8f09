"""What a machine asks before it works for an installation."""

import pytest
from sqlalchemy import text

from app import joining
from app.db import transaction
from app.domain import worker as workers
from app.domain.access import Who
from app.errors import Conflict, Unavailable
from app.services import machines
from tests.conftest import forget
from tests.installation import free_port


def test_a_worker_of_this_code_is_fit(person: Who) -> None:
    del person
    joining.fit_to_work()
    with transaction() as session:
        workers.present(session, "server:1/web", "web", "web", [], {"fettle": machines.FETTLE})
    joining.fit_to_work()


def test_another_schema_or_version_is_refused_in_words(person: Who) -> None:
    del person
    with transaction() as session:
        workers.present(session, "server:1/web", "web", "web", [], {"fettle": "9.9.9"})
    with pytest.raises(Conflict, match=r"and the server 9\.9\.9\."):
        joining.fit_to_work()
    with transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'fedcba987654'"))
    with pytest.raises(Conflict, match="The database is at fedcba987654, and this machine's code wants"):
        joining.fit_to_work()


def test_a_database_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_DATABASE_URL", f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    forget()
    joining.fit_to_work()


def test_a_machine_says_what_it_has() -> None:
    told = joining.about()
    assert told["libraries"] == machines.OURS and set(told["libraries"]) == {"torch", "transformers", "peft"} and ("driver" in told) == ("cuda" in told)
    assert told["version"] == machines.FETTLE and [device["name"] for device in told["devices"]][-1] == "cpu:0" and told["devices"][-1]["memory"] > 1e8


def test_a_server_that_is_not_there_is_said_in_words() -> None:
    with pytest.raises(Unavailable, match="does not answer as Fettle does"):
        joining.join(f"http://127.0.0.1:{free_port()}", "token", lambda _: None)
