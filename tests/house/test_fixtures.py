"""The shared fixtures do what the other tests rely on."""

import redis
from sqlalchemy import make_url, text

from app.db import engine, now, reading
from app.domain.access import Who, visible
from app.domain.prompt import Prompt
from app.settings import settings


def test_each_test_has_an_empty_database_of_its_own(database: str, person: Who) -> None:
    assert settings().database == database
    with reading() as session:
        assert engine().dialect.name == session.get_bind().dialect.name == make_url(database).get_backend_name()
        assert session.scalars(visible(person, Prompt)).all() == []
        assert session.scalar(text('SELECT count(*) FROM "user"')) == 1
        assert now(session) > 1_700_000_000_000


def test_the_broker_answers_and_is_empty(broker: str) -> None:
    client = redis.Redis.from_url(settings().redis)
    assert (client.ping(), client.dbsize()) == (True, 0)
    client.set("left", "over")
    client.close()


def test_the_broker_is_emptied_for_the_next_test(broker: str) -> None:
    client = redis.Redis.from_url(settings().redis)
    assert client.dbsize() == 0
    client.close()
