"""Imports whose processes are killed in the middle: nothing is seen of them at once, and soon nothing is left. Heartbeats go on meanwhile."""

import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from sqlalchemy import text

from app.broker import wait
from app.db import make_engine, transaction
from app.domain import job as jobs
from bench.locks import beside
from tests.house.rules import ROOT
from tests.installation import environment, free_port
from tests.services.uploading import table

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROWS = 260_000
SWEPT_SECONDS = 60
PROMPT = 2.0
"""Within so many seconds a write is done, and a job that is asked for is claimed, on two slow cores that read a file and store it."""

SHARES = pytest.mark.parametrize("share", [0.1, pytest.param(0.5, marks=pytest.mark.long), 0.9])
"""How much of the file has been read when the import is killed."""


@dataclass
class Web:
    """A web process alone on a SQLite data folder, and its API."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    token: str = ""

    def run(self, *words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "app.cli", *words], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def begin(self) -> None:
        """On a fresh database, with an account's token."""
        self.run("migrate")
        subprocess.run([sys.executable, "-c", ACCOUNT], cwd=ROOT, env=self.environment, check=True)
        self.token = self.run("token", "create", "--name", "faults").split()[-1]
        self.start()

    def start(self) -> None:
        with (self.folder / "web.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "app.cli", "web"], cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        assert wait(self.answers, 60), (self.folder / "web.log").read_text()[-2000:]

    def answers(self) -> bool:
        try:
            return bool(self.call("GET", "/healthz") is not None)
        except httpx2.HTTPError:
            return False

    def call(self, method: str, path: str, **values: Any) -> Any:
        answer = httpx2.request(method, f"{self.address}{path}", headers={"Authorization": f"Bearer {self.token}"}, timeout=30, **values)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.environment['FETTLE_PORT']}"

    def upload(self, text: bytes) -> int:
        return int(self.call("POST", "/api/v1/datasets", files={"file": ("big.csv", text)})["upload"])

    def counts(self) -> tuple[int, int, int]:
        """Rows of examples, versions and datasets, sealed or not."""
        with closing(sqlite3.connect(self.folder / "data" / "fettle.db", timeout=15)) as database:
            return tuple(database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("example", "dataset_version", "dataset"))  # noqa: S608

    def files(self) -> list[str]:
        return [path.name for path in (self.folder / "data" / "uploads").iterdir()]

    def children(self, *words: str) -> list[psutil.Process]:
        assert self.process is not None
        return [child for child in psutil.Process(self.process.pid).children(recursive=True) if all(word in " ".join(child.cmdline()) for word in words)]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


ACCOUNT = """
from app.db import transaction
from app.domain.user import User, the_workspace
with transaction() as session:
    session.add(User(workspace_id=the_workspace(session).id, name="Ada", password_hash="!", role="admin", disabled_at=None, seen_at=None))
"""


MODEL = """
from app.db import transaction
from app.domain.access import owned, who
from app.domain.model import Model
from app.domain.user import User
with transaction() as session:
    person = who(session.query(User).one())
    about = {"name": "Starter", "kind": "foundation", "folder": "starter", "content_hash": "0" * 64, "parameters": 1000, "alias": "starter"}
    session.add(Model(**owned(person), **about))
"""


@pytest.fixture(scope="module")
def big() -> bytes:
    text = table(ROWS, labels=20).encode()
    assert len(text) > 15_000_000
    return text + b"".join(b"%s filler %d,label 1\n" % (b"x" * 60, number) for number in range(80_000))


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with tempfile.TemporaryDirectory(prefix="fettle-imports-") as name:
        found = Web(Path(name))
        found.environment = environment(found.folder, free_port()) | {"FETTLE_REDIS_URL": "redis://127.0.0.1:1/0"}
        found.begin()
        yield found
        if found.process is not None and found.process.poll() is None:
            found.process.send_signal(signal.SIGTERM)
            found.process.wait(20)


def reached(web: Web, key: int, share: float) -> Callable[[], bool]:
    def there() -> bool:
        upload = web.call("GET", f"/api/v1/uploads/{key}")
        assert upload["state"] in ("waiting", "importing"), upload
        return bool(upload["state"] == "importing" and upload["bytes_read"] >= share * upload["bytes"])

    return there


def nothing_is_left(web: Web) -> bool:
    return web.counts() == (0, 0, 0) and not web.files()


@SHARES
def test_a_killed_import_is_invisible_at_once_and_gone_within_a_minute(web: Web, big: bytes, share: float) -> None:
    key = web.upload(big)
    assert wait(reached(web, key, share), 90)
    web.children("app.import_child")[0].kill()
    assert web.call("GET", "/api/v1/datasets")["items"] == []
    assert wait(lambda: nothing_is_left(web), SWEPT_SECONDS), (web.counts(), web.files())
    assert wait(lambda: web.call("GET", f"/api/v1/uploads/{key}")["state"] == "failed", 10)
    assert web.call("GET", f"/api/v1/uploads/{key}")["error"]["code"] == "import_lost"


@SHARES
def test_a_killed_web_takes_its_child_along_and_the_next_one_clears_up(web: Web, big: bytes, share: float) -> None:
    key = web.upload(big)
    assert wait(reached(web, key, share), 90)
    children = web.children()
    web.kill()
    assert wait(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), 30)
    assert web.counts()[0] > 0
    web.start()
    began = time.monotonic()
    assert web.call("GET", "/api/v1/datasets")["items"] == []
    assert wait(lambda: nothing_is_left(web), SWEPT_SECONDS), (web.counts(), web.files())
    assert time.monotonic() - began < SWEPT_SECONDS
    assert web.call("GET", f"/api/v1/uploads/{key}")["state"] == "failed"


def test_a_look_whose_child_is_killed_says_so_and_leaves_nothing(web: Web, big: bytes) -> None:
    answer = httpx2.post(f"{web.address}/datasets/uploads", headers={"Authorization": f"Bearer {web.token}"}, files={"file": ("big.csv", big)}, timeout=30)
    place = f"/api/v1/uploads/{answer.headers['location'].rsplit('/', 1)[-1]}"

    def in_the_middle() -> bool:
        upload = web.call("GET", place)
        return bool(upload["state"] == "reading" and upload["bytes_read"] > 0.2 * upload["bytes"])

    assert wait(in_the_middle, 90)
    web.children("app.import_child", "upload")[0].kill()
    assert wait(lambda: web.call("GET", place)["state"] == "failed", 10)
    assert web.call("GET", place)["error"]["code"] == "import_lost" and nothing_is_left(web)
    assert not web.children("app.readers.child"), "nobody reads on for a process that is gone"


def test_a_cancelled_import_leaves_nothing_not_even_its_row(web: Web, big: bytes) -> None:
    key = web.upload(big)
    assert wait(reached(web, key, 0.3), 90)
    web.call("DELETE", f"/api/v1/uploads/{key}")
    assert wait(lambda: nothing_is_left(web), SWEPT_SECONDS), (web.counts(), web.files())
    assert wait(lambda: key not in [upload["id"] for upload in web.call("GET", "/api/v1/uploads")["items"]], 10)


def test_an_append_whose_child_is_killed_is_invisible_and_gone(web: Web, big: bytes) -> None:
    """Small beside a large version: whichever phase it is in, the version stays as it was."""
    first = web.call("POST", "/api/v1/datasets", files={"file": ("small.csv", table(4_000, labels=20, seed=3))})
    before = web.counts()
    key = web.call("POST", f"/api/v1/datasets/{first['id']}/append", files={"file": ("big.csv", big)})["upload"]
    assert wait(reached(web, key, 0.6), 90)
    assert web.counts()[0] > before[0]
    web.children("app.import_child")[0].kill()
    assert web.call("GET", f"/api/v1/datasets/{first['id']}")["version"] == 1
    assert wait(lambda: web.counts() == before and not web.files(), SWEPT_SECONDS), (web.counts(), web.files())
    assert wait(lambda: web.call("GET", f"/api/v1/uploads/{key}")["state"] == "failed", 10)
    web.call("DELETE", f"/api/v1/uploads/{key}")
    web.call("DELETE", f"/api/v1/datasets/{first['id']}")
    assert wait(lambda: nothing_is_left(web), SWEPT_SECONDS)


def test_a_change_of_a_long_version_whose_child_is_killed_is_invisible_and_gone(web: Web, big: bytes) -> None:
    first = web.upload(big)
    assert wait(lambda: web.call("GET", f"/api/v1/uploads/{first}")["state"] == "done", 120)
    dataset = web.call("GET", f"/api/v1/uploads/{first}")["dataset"]
    before = web.counts()
    key = web.call("POST", f"/api/v1/datasets/{dataset}/versions", json={"kind": "relabel", "labels": {"label 1": "label 2"}})["upload"]
    assert wait(lambda: web.call("GET", f"/api/v1/uploads/{key}")["rows"] > 50_000, 60)
    assert web.counts()[0] > before[0]
    web.children("app.import_child", "upload")[0].kill()
    assert web.call("GET", f"/api/v1/datasets/{dataset}")["version"] == 1
    assert wait(lambda: web.counts() == before and not web.files(), SWEPT_SECONDS), (web.counts(), web.files())
    assert wait(lambda: web.call("GET", f"/api/v1/uploads/{key}")["state"] == "failed", 10)
    assert web.call("GET", f"/api/v1/uploads/{key}")["error"]["code"] == "change_lost"
    web.call("DELETE", f"/api/v1/uploads/{key}")
    web.call("DELETE", f"/api/v1/datasets/{dataset}")
    assert wait(lambda: nothing_is_left(web), SWEPT_SECONDS)


def test_others_write_and_jobs_start_while_an_import_goes_on(web: Web, big: bytes) -> None:
    """A heartbeat writes every 50 ms, and somebody asks for one evaluation after the other, which a worker claims: none waits long for the lock."""
    subprocess.run([sys.executable, "-c", MODEL], cwd=ROOT, env=web.environment, check=True)
    web.call("POST", "/api/v1/datasets", files={"file": ("small.csv", table(200, seed=5))})
    prompt = web.call("POST", "/api/v1/prompts", json={"name": "first", "instruction": "Which label?"})["id"]
    dataset = web.call("GET", "/api/v1/datasets")["items"][0]["id"]
    asked = {"dataset": dataset, "model": "starter", "prompt_version": prompt, "split": "validation"}
    waited, claimed, started = list[float](), dict[int, float](), list[float]()
    database = make_engine(f"sqlite:///{web.folder / 'data' / 'fettle.db'}")

    def beat(over: threading.Event) -> None:
        while not over.wait(0.05):
            began = time.perf_counter()
            with transaction(database) as session:
                session.execute(text("INSERT OR REPLACE INTO lease (name, holder, until) VALUES ('beat', 'test', 0)"))
            waited.append(time.perf_counter() - began)

    def work(over: threading.Event) -> None:
        while not over.wait(0.05):
            with transaction(database) as session:
                job = jobs.claim(session, "gpu", "faults", 60)
            if job is not None:
                claimed[job.id] = time.perf_counter()

    with beside(beat), beside(work):
        key = web.upload(big)
        assert wait(reached(web, key, 0.01), 90)
        while (upload := web.call("GET", f"/api/v1/uploads/{key}"))["state"] == "importing":
            began = time.perf_counter()
            job = web.call("POST", "/api/v1/evaluations", json=asked | {"limit": len(started) + 1})["job"]
            assert wait(partial(claimed.__contains__, job), 30)
            started.append(claimed[job] - began)
    database.dispose()
    assert upload["state"] == "done" and len(waited) > 20 and len(started) >= 5
    assert max(waited) < PROMPT and max(started) < PROMPT, (sorted(waited)[-5:], sorted(started)[-5:])
    (view,) = (one for one in web.call("GET", "/api/v1/datasets")["items"] if one["rows"] > 200)
    assert view["rows"] == ROWS + 80_000 and sum(view["splits"].values()) == view["rows"]
