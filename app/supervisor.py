"""`fettle up`: everything on one machine under one process. Prepares, starts, waits until it answers, looks after it, ends it."""

import errno
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from app import broker, console
from app.console import step
from app.errors import Conflict, Unavailable
from app.parts import Part, end, fit_to_start, kill, launch
from app.settings import Settings, settings

READY_SECONDS = 180.0
END_SECONDS = 6.0
WORKER_SECONDS = 30.0
"""A worker with a job finishes the job's step and saves, so that it can go on from there."""
BROKER_SECONDS = 2.0
MOST_FAILURES = 3
"""A part that dies so often before anything answered stops the start: something is wrong that waiting does not mend."""


class Ended(BaseException):
    """Somebody pressed Ctrl-C or sent SIGTERM."""


def up(reload: bool = False) -> None:
    """Run Fettle until Ctrl-C. Raises FettleError with a sentence when it cannot start."""
    here = settings()
    fit_to_start(here)
    with _signals(), _alone(here):
        _port_is_free(here)
        began, parts = time.monotonic(), _parts(here, reload)
        try:
            console.out.print(f"[bold]Fettle[/] starts, with its data in {here.folder}")
            _prepare(here, parts)
            _start(here, parts)
            _welcome(here, time.monotonic() - began)
            _look_after(parts)
        except Ended:
            console.out.print()
        finally:
            _end(parts)


@contextmanager
def _signals() -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_IGN)  # asked once is enough; the end takes at most half a minute
        raise Ended

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _alone(here: Settings) -> Iterator[None]:
    """One supervisor on a data folder. The system gives the lock back when its holder dies, however that happens."""
    here.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (here.folder / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Conflict(
                "already_up", f"Fettle already runs on this data folder ({file.read().strip()}).", "Use that one, end it with Ctrl-C, or set FETTLE_DATA."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}, {here.address}")
        file.flush()
        yield


def _port_is_free(here: Settings) -> None:
    """Ask before anything starts: a web process that cannot listen would fail at the very end."""
    family = socket.AF_INET6 if ":" in here.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((here.host, here.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Unavailable("no_listen", f"Cannot listen on {here.host}:{here.port}: {error.strerror}.", "Set FETTLE_HOST and FETTLE_PORT.") from error
            raise Conflict("port_in_use", f"Port {here.port} is used by another program.", f"Choose another: FETTLE_PORT={here.port + 1} make run") from error


def _parts(here: Settings, reload: bool) -> list[Part]:
    """What runs, in the order in which it starts. The embedded broker only where no other one is named."""
    logs = here.folder / "logs"
    found = []
    if not here.redis_url:
        log = logs / "broker.log"
        run = partial(broker.start, here.run_folder / "broker.sock", here.folder / "broker", partial(launch, log=log))
        found.append(Part("broker", run, log, grace=BROKER_SECONDS))
    commands = {"web": ["web", *(["--reload"] if reload else [])], "worker": ["worker"], "light": ["worker", "--light"], "engine": ["engine"]}
    for name, words in commands.items():
        log = logs / f"{name}.log"
        grace = WORKER_SECONDS if words[0] == "worker" else END_SECONDS
        found.append(Part(name, partial(launch, [sys.executable, "-m", "app.cli", *words], log), log, grace=grace))
    return found


def _prepare(here: Settings, parts: list[Part]) -> None:
    """Everything that the processes expect to find."""
    with step("Data folder and secret key"):
        for folder in (here.folder, here.storage_folder, here.models_folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _ = here.key
    for part in parts:
        if part.name == "broker":
            with step("Broker"):
                part.start()
    with step("Database"):
        from app.migrate import migrate
        from app.storage import refuse_other

        migrate()
        refuse_other()
    _starter_model(here)
    _samples()


def _starter_model(here: Settings) -> None:
    """Fetch the starter model once. Without it Fettle still runs, so this only tells."""
    from app.services.models import has_starter

    if has_starter():
        return
    with step("Starter model SmolLM2-135M-Instruct") as say:
        failed = run_and_tell([sys.executable, "-m", "worker.models", "starter"], say)
    if failed:
        console.note(f"There is no starter model yet: {failed}")
        console.note("Fettle starts without it; `fettle models starter` tries again, `fettle models add FOLDER` takes one of yours.")


def _samples() -> None:
    from app.services.accounts import has_accounts
    from app.services.seed import seed

    if has_accounts():  # only a new installation gets them; whoever deletes them does not want them back
        return
    with step("Sample tasks") as say:
        seed(say)


def run_and_tell(command: list[str], say: Callable[[str], None]) -> str:
    """Run one command of ours and pass its lines on. Returns "" when it went well, else the last thing it said."""
    last = ""
    with subprocess.Popen([sys.executable, "-m", "app.tied", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout or ():
                if line.strip():
                    last = line.strip()
                    say(last)
        except BaseException:
            kill(process)
            raise
    return last if process.returncode else ""


def _start(here: Settings, parts: list[Part]) -> None:
    """Start the processes and wait until /readyz says that all of them answer. Raises Unavailable."""
    with step("Web, worker and engine") as say:
        for part in parts:
            if part.process is None:
                part.start()
        deadline, told = time.monotonic() + READY_SECONDS, ""
        while (missing := _missing(here)) is not None:
            if missing != told:
                say(f"waiting for {missing}")
                told = missing
            _give_up_on(_revive(parts, quiet=True))
            if time.monotonic() > deadline:
                raise Unavailable("not_ready", f"Still waiting for {missing} after {READY_SECONDS:.0f} s.", f"Read the logs in {here.folder / 'logs'}.")
            time.sleep(0.1)


def _give_up_on(ended: list[Part]) -> None:
    """Raises Unavailable, with the end of its log, for a part that does not start."""
    for part in ended:
        if part.failures >= MOST_FAILURES:
            message = f"The {part.name} process does not start. The end of {part.log}:\n{part.tail()}"
            raise Unavailable("does_not_start", message, "`fettle doctor` looks for the cause.")


def _missing(here: Settings) -> str | None:
    """What does not answer yet; None when everything does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(here.host, here.host)  # noqa: S104 a comparison, not a bind
    connection = http.client.HTTPConnection(host, here.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        state = json.loads(answer.read())
        if answer.status == 200:
            return None
        return ", ".join(name for name, value in state.items() if name != "ready" and not value)
    except (OSError, http.client.HTTPException, ValueError):
        return "web"
    finally:
        connection.close()


def _welcome(here: Settings, seconds: float) -> None:
    from app.db import transaction
    from app.domain import user
    from app.services.accounts import has_accounts

    console.out.print(f"\nReady in {seconds:.1f} s: [bold]{here.address}[/]")
    if not has_accounts():
        with transaction() as session:
            secret = user.invite(session, role="admin")
        console.out.print(f"Make the first account with this link. It works once, for {user.INVITE_HOURS} hours:\n\n  [bold]{here.address}/welcome/{secret}[/]")
    console.out.print("\n[dim]Ctrl-C ends everything.[/]")


def _look_after(parts: list[Part]) -> None:
    """Until somebody ends it: whatever dies is started again."""
    while True:
        _revive(parts, quiet=False)
        time.sleep(0.3)


def _revive(parts: list[Part], *, quiet: bool) -> list[Part]:
    """Start again what is due; returns the parts that have just ended."""
    ended = []
    for part in parts:
        code = part.ended()
        if code is not None:
            ended.append(part)
            if not quiet:
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                console.note(f"{part.name} {how} and starts again in {part.pause:.0f} s; its log is {part.log}")
        if part.process is None and time.monotonic() >= part.due:
            try:
                part.start()
            except Unavailable as error:  # the broker did not come up: its turn comes again
                console.note(f"{error.message} {error.advice}")
                part.due = time.monotonic() + part.pause
            else:
                if not quiet:
                    console.note(f"{part.name} runs again")
    return ended


def _end(parts: list[Part]) -> None:
    """The broker goes last: the others say good-bye through it."""
    if not any(part.process for part in parts):
        return
    with step("Ending all processes"):
        end([part for part in parts if part.name != "broker"])
        end([part for part in parts if part.name == "broker"])
