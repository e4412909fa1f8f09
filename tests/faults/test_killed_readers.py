"""Imports on both databases whose processes are killed, the one that reads the file among them, and uploads that break off: nothing is left."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from app.broker import wait
from tests.faults.test_imports import SWEPT_SECONDS, Web, big, reached
from tests.installation import environment, free_port
from tests.services.uploading import table

__all__ = ["big"]

pytestmark = [pytest.mark.faults, pytest.mark.slow]

KILLED = pytest.mark.parametrize(
    ("kind", "victim", "share"),
    [
        ("sqlite", "app.readers.child", 0.4),
        ("postgresql", "app.readers.child", 0.4),
        ("postgresql", "app.import_child", 0.4),
        ("postgresql", "web", 0.4),
        *(pytest.param("postgresql", victim, share, marks=pytest.mark.long) for victim in ("app.import_child", "web") for share in (0.1, 0.9)),
    ],
)
"""Who is killed, on which database, and how much of the file has been read by then."""


class Site(Web):
    """A web process on either database."""

    def counts(self) -> tuple[int, int, int]:
        bind = create_engine(self.environment["FETTLE_DATABASE_URL"])
        try:
            with bind.connect() as connection:
                names = ("example", "dataset_version", "dataset")
                return tuple(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names)  # noqa: S608
        finally:
            bind.dispose()

    def files(self) -> list[str]:
        return super().files() if (self.folder / "data" / "uploads").exists() else []


@pytest.fixture
def site(request: pytest.FixtureRequest, kind: str) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="fettle-readers-") as name:
        found = Site(Path(name))
        url = request.getfixturevalue("postgresql_url") if kind == "postgresql" else f"sqlite:///{name}/data/fettle.db"
        found.environment = environment(found.folder, free_port()) | {"FETTLE_REDIS_URL": "redis://127.0.0.1:1/0", "FETTLE_DATABASE_URL": url}
        found.begin()
        yield found
        if found.process is not None and found.process.poll() is None:
            found.process.terminate()
            found.process.wait(20)


def nothing_is_left(site: Site) -> bool:
    return site.counts() == (0, 0, 0) and not site.files()


@KILLED
def test_whoever_is_killed_in_the_middle_of_an_import_leaves_nothing(site: Site, big: bytes, victim: str, share: float) -> None:
    key = site.upload(big)
    assert wait(reached(site, key, share), 90)
    assert site.counts()[0] > 0, "rows are in already"
    if victim == "web":
        site.kill()
        site.start()
    else:
        (site.children(victim)[-1]).kill()
    assert site.call("GET", "/api/v1/datasets")["items"] == [], "nobody sees it, not for a moment"
    assert wait(lambda: nothing_is_left(site), SWEPT_SECONDS), (site.counts(), site.files())
    assert wait(lambda: site.call("GET", f"/api/v1/uploads/{key}")["state"] == "failed", 10)
    error = site.call("GET", f"/api/v1/uploads/{key}")["error"]
    assert error["code"] == ("too_costly" if victim == "app.readers.child" else "import_lost") and error["advice"]
    again = site.call("POST", "/api/v1/datasets", files={"file": ("small.csv", table(2_000))})
    assert again["rows"] == 2_000, "the next file is taken"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_iz8_an_upload_that_breaks_off_or_says_a_wrong_length_leaves_nothing(site: Site) -> None:
    """A browser that is closed in the middle of a file: the server waits for bytes that never come, and forgets what came."""
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + table(5_000).encode()
    head = f"POST /api/v1/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {site.token}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with socket.create_connection(("127.0.0.1", int(site.environment["FETTLE_PORT"])), timeout=10) as line:
        line.sendall(f"{head}Content-Length: {len(body) + 100_000}\r\n\r\n".encode() + body)
    with socket.create_connection(("127.0.0.1", int(site.environment["FETTLE_PORT"])), timeout=10) as line:
        line.sendall(f"{head}Content-Length: {len(body) // 2}\r\nConnection: close\r\n\r\n".encode() + body[: len(body) // 2])
        with line.makefile("rb") as stream:
            answer = stream.read().decode(errors="replace")
    assert " 4" in answer.splitlines()[0] and '"error"' in answer and '"message"' in answer, answer[:400]
    assert wait(lambda: nothing_is_left(site), 20), (site.counts(), site.files())
    assert site.call("GET", "/api/v1/uploads")["items"] == []
    assert "Traceback" not in (site.folder / "web.log").read_text()
