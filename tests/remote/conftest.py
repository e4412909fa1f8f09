"""Real servers in processes of their own: one that speaks the protocol over a tiny model, one that does everything wrong."""

import pytest

from app.remote.spec import EndpointSpec
from tests.remote.servers import Server


@pytest.fixture
def spec(model_server: Server, broker: str) -> EndpointSpec:
    """The model server's full endpoint, with its key."""
    return spec_of(model_server, "v1", broker, key="sesame", completions=True)


def spec_of(server: Server, path: str, broker: str, **more: object) -> EndpointSpec:
    about = {"id": 1, "name": "there", "url": f"{server.address}/{path}", "allowed": (server.place,), "redis": broker.replace("redis+socket://", "unix://")}
    return EndpointSpec(**{**about, **more})  # type: ignore[arg-type]
