"""An installation of real processes that a test may kill: web, workers, a broker behind a tap, a database and a storage folder that they share."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2
import psutil
from sqlalchemy import select

from app import broker, queue
from app.db import reading, transaction
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import Attempt, Job
from app.domain.metric import LogLine, MetricPoint
from app.domain.model import Model
from app.domain.rendering import Template
from app.domain.user import User, start_session
from app.doors import COOKIE
from app.errors import Unavailable
from app.services import jobs
from app.services.accounts import token_for
from app.settings import settings
from tests.faults.tap import Tap
from tests.house.rules import ROOT
from tests.installation import free_port

INJECT = Path(__file__).parent / "inject"
RUN = {"max_steps": 80, "batch_size": 8, "learning_rate": 2e-2, "evaluations": 2}
LORA = {"rank": 4, "dropout": 0.1}
"""The run whose curve must be the same whatever happens to it."""

PATIENCE = 300.0


def until(condition: Callable[[], object], seconds: float = PATIENCE, what: str | Callable[[], str] = "it did not happen") -> None:
    """Wait for something that other processes do; `what` is said where it did not happen, as it then is."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what if isinstance(what, str) else what()
        time.sleep(0.1)


def under(folder: Path, pattern: str) -> list[Path]:
    """What below a folder has such a name, also while somebody removes parts of it: `rglob` raises then."""
    return [Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files) if fnmatch(name, pattern)]


class Site:
    """`person` is an administrator; `base` and `toys` are what every run starts from. Processes end with the test."""

    def __init__(self, folder: Path, person: Who, base: Model, toys: DatasetVersion, lease_seconds: int = 5) -> None:
        self.folder, self.person, self.base, self.toys = folder, person, base, toys
        self.short = Path(tempfile.mkdtemp(prefix="fettle-site-"))
        self.port = free_port()
        self._began: list[subprocess.Popen[bytes]] = []
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.storage = settings().storage_folder
        self.logs = folder / "process-logs"
        self.logs.mkdir()
        self._broker: Any = None
        self.start_broker()
        self.tap = Tap(self.short / "broker.sock")
        os.environ["FETTLE_REDIS_URL"] = self.tap.address  # taken back with the test's other settings
        settings.cache_clear()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TEST_")},
            "PYTHONPATH": f"{INJECT}{os.pathsep}{ROOT}",
            "FETTLE_REDIS_URL": self.tap.address,
            "FETTLE_DATABASE_URL": settings().database,
            "FETTLE_STORAGE": str(self.storage),
            "FETTLE_PORT": str(self.port),
            "FETTLE_LEASE_SECONDS": str(lease_seconds),
            "FETTLE_CHECKPOINT_SECONDS": "1",
            "FETTLE_THREADS": "1",
            "XDG_RUNTIME_DIR": str(self.short),
            "TEST_FAULTS_FOLDER": str(self.marks),
        }
        self.token = token_for(person.name or "Ada", "faults")

    # Processes.

    def save_every_step(self) -> None:
        """For workers that start from now on: the step at which a run goes on is then known. It costs a file system's syncs at every step."""
        self.environment["FETTLE_CHECKPOINT_SECONDS"] = "0"

    def start_broker(self) -> None:
        """Always empty: nothing of an earlier one is kept."""
        shutil.rmtree(self.short / "aof", ignore_errors=True)

        def launch(command: list[str]) -> "subprocess.Popen[bytes]":
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        self._broker = broker.start(self.short / "broker.sock", self.short / "aof", launch)

    def kill_broker(self) -> None:
        self._broker.kill()
        self._broker.wait()

    def _start(self, name: str, words: list[str], more: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=self.environment | dict(more), stdout=log, stderr=log, start_new_session=True)
        self._began.append(process)
        return process

    def web(self) -> "subprocess.Popen[bytes]":
        process = self._start("web", ["-m", "app.cli", "web"], {})
        until(self.is_up, 60, "web did not start")
        return process

    def is_up(self) -> bool:
        with suppress(httpx2.HTTPError):
            return self.call("GET", "/healthz")[0] == 200
        return False

    def worker(self, name: str = "one", *, wait: bool = True, **faults: Any) -> "subprocess.Popen[bytes]":
        """A worker on a machine of its own, with that machine's data folder and devices."""
        process = self._start(f"worker-{name}", ["-m", "app.cli", "worker"], self.machine(name) | {"TEST_FAULTS": json.dumps(faults)})
        if wait:
            until(lambda: b"ready." in (self.logs / f"worker-{name}.log").read_bytes(), 90, "the worker did not start")
        return process

    def engine(self, name: str = "engine", **faults: Any) -> "subprocess.Popen[bytes]":
        """The engine process, when the web process knows of it."""
        process = self._start(name, ["-m", "app.cli", "engine"], {"TEST_FAULTS": json.dumps(faults)})
        until(lambda: self.call("GET", "/readyz")[1]["engine"], 120, "the engine did not start")
        return process

    def machine(self, name: str) -> dict[str, str]:
        """What a machine has of its own: its name and its data folder, which is made."""
        data = self.folder / f"machine-{name}"
        if not data.exists():
            data.mkdir()
            (data / "models").symlink_to(settings().models_folder)
        return {"FETTLE_MACHINE": name, "FETTLE_DATA": str(data), "FETTLE_SECRET_KEY": settings().key.hex()}

    def children(self, worker: "subprocess.Popen[bytes]") -> list[psutil.Process]:
        """The processes of jobs under a worker."""
        with suppress(psutil.Error):
            return [child for child in psutil.Process(worker.pid).children(recursive=True) if "worker.run_job" in child.cmdline()]
        return []

    def family(self, worker: "subprocess.Popen[bytes]") -> list[psutil.Process]:
        root = psutil.Process(worker.pid)
        return [root, *root.children(recursive=True)]

    def signal(self, worker: "subprocess.Popen[bytes]", sign: signal.Signals) -> None:
        """To a worker with everything under it."""
        for process in self.family(worker):
            with suppress(psutil.Error):
                process.send_signal(sign)

    def close(self) -> None:
        for left in self._left():
            with suppress(psutil.Error):
                left.kill()
        for process in self._began:
            process.wait()
        self.tap.cut()
        self._broker.kill()
        self._broker.wait()
        shutil.rmtree(self.short, ignore_errors=True)

    def _left(self) -> Iterator[psutil.Process]:
        """Everything that was started here and what that started, orphans too: they have the folder of marks in their environment."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TEST_FAULTS_FOLDER") == str(self.marks):
                    yield process

    # What a person does and sees.

    def call(self, method: str, path: str, token: str = "", **values: Any) -> tuple[int, Any]:
        answer = httpx2.request(method, f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {token or self.token}"}, timeout=30, **values)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.status_code, answer.json() if is_json and answer.content else answer.text

    def page(self, path: str) -> str:
        """What a browser with this person's session sees."""
        with transaction() as session:
            cookie = start_session(session, session.get_one(User, self.person.user_id))
        return httpx2.get(f"http://127.0.0.1:{self.port}{path}", cookies={COOKIE: cookie}, timeout=30).text

    def order(self, method: str = "lora", **parameters: Any) -> dict[str, Any]:
        """What a request for a tune says."""
        chosen = RUN | (LORA if method == "lora" else {}) | parameters
        return {"kind": "tune", "model": self.base.id, "dataset": self.toys.dataset_id, "method": method, "parameters": chosen, "seed": 1}

    def tune(self, method: str = "lora", **parameters: Any) -> int:
        order = self.order(method, **parameters)
        key = jobs.start_tune(self.person, prompt_version=None, **{name: value for name, value in order.items() if name != "kind"}).job.id
        with suppress(Unavailable):
            queue.wake("gpu")  # as the dispatcher does, where there is one
        return key

    @cached_property
    def prompt(self) -> str:
        """A prompt version with which the base model can be asked."""
        with transaction() as session:
            return prompts.create(session, self.person, "asked", prompts.fields_of(Template(instruction="Good or bad?"))).reference

    # What is so.

    def job(self, key: int) -> Job:
        with reading() as session:
            return session.get_one(Job, key)

    def attempts(self, key: int) -> list[Attempt]:
        with reading() as session:
            return list(session.scalars(select(Attempt).where(Attempt.job_id == key).order_by(Attempt.number)))

    def outcomes(self, key: int) -> list[str | None]:
        return [attempt.outcome for attempt in self.attempts(key)]

    def log(self, key: int) -> list[str]:
        with reading() as session:
            return list(session.scalars(select(LogLine.text).where(LogLine.job_id == key).order_by(LogLine.event)))

    def stored(self, key: int, pattern: str) -> list[Path]:
        """What a job's attempts have on the disk under such a name."""
        return under(self.storage / "jobs" / str(key), pattern)

    def reached(self, key: int) -> int:
        return self.job(key).step

    def ended(self, key: int, seconds: float = PATIENCE) -> Job:
        until(lambda: self.job(key).over, seconds, "the job did not end")
        return self.job(key)

    def succeeded(self, key: int, seconds: float = PATIENCE) -> Job:
        job = self.ended(key, seconds)
        assert job.state == "succeeded", (job.error, self.outcomes(key), self.log(key)[-3:])
        return job

    def curve(self, key: int) -> tuple[dict[int, float], str]:
        """The loss of every step, and the sha256 of the weights that came out."""
        with reading() as session:
            points = session.scalars(select(MetricPoint).where(MetricPoint.job_id == key, MetricPoint.name == "loss")).all()
            model = session.scalars(select(Model).where(Model.job_id == key)).one()
        (weights,) = (self.storage / model.folder).glob("*.safetensors")
        return {point.step: point.value for point in points}, hashlib.sha256(weights.read_bytes()).hexdigest()
