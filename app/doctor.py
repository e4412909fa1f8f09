"""`fettle doctor`: looks at every part of an installation and says in sentences what is wrong and what to do."""

import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from app.broker import ask
from app.errors import FettleError
from app.settings import settings

FREE_BYTES = 3_000_000_000
TORCH_SECONDS = 120


@dataclass(frozen=True)
class Finding:
    """One line of the examination. `bad` ones make the command fail."""

    text: str
    advice: str = ""
    bad: bool = False

    @property
    def sign(self) -> str:
        return "✗" if self.bad else "!" if self.advice else "✓"


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which one would mend things."""
    yield python()
    yield torch()
    yield from disk()
    yield storage()
    yield secret()
    schema = database()
    yield schema
    yield broker()
    if not schema.bad:
        yield from object_store()
        yield from workers()
        yield model()


def python() -> Finding:
    return Finding(f"Python {platform.python_version()}")


def torch() -> Finding:
    """Imported in another process: this one stays small."""
    code = "import torch; print(torch.__version__, torch.cuda.device_count())"
    try:
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TORCH_SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return Finding("PyTorch cannot be loaded.", "Run `make run` again; it installs what is missing. Delete .venv first when that does not help.", bad=True)
    version, gpus = answer.stdout.split()
    return Finding(f"PyTorch {version}, {gpus} GPUs" if gpus != "0" else f"PyTorch {version}, no GPU: models run on the CPU")


def disk() -> Iterator[Finding]:
    """The data folder, and what of it or of the storage is on another disk."""
    from app.disks import disks

    if not settings().folder.exists():
        yield Finding(f"The data folder {settings().folder} does not exist yet.", "`fettle up` makes it.")
        return
    for found in disks():
        name = "Data folder" if found.folder == settings().folder else "On another disk:"
        text = f"{name} {found.folder}, {found.free / 1e9:.1f} GB free"
        yield (
            Finding(text)
            if found.free > FREE_BYTES
            else Finding(text, "A tuning run needs a few GB: make room, or move FETTLE_DATA or FETTLE_STORAGE.", bad=True)
        )


def storage() -> Finding:
    """What jobs keep, and for how long."""
    from app.services import kept

    found, here = kept.everything(), settings()
    parts = (
        f"results {found.results / 1e9:.2f} GB (kept for ever)",
        f"checkpoints {found.checkpoints / 1e9:.2f} GB (for a retry, {here.keep_checkpoints_days} days after a job's end)",
        f"logs {found.logs / 1e9:.2f} GB ({here.keep_logs_days} days)",
    )
    return Finding(f"Storage {here.storage_folder}: {', '.join(parts)}")


def object_store() -> Iterator[Finding]:
    """Does it answer, and is it this installation's? Nothing where there is none."""
    from app.storage import store

    if settings().stored_remotely:
        try:
            store()
        except FettleError as error:
            yield Finding(error.message, error.advice, bad=True)
        else:
            yield Finding(f"Object store {settings().storage}")


def secret() -> Finding:
    try:
        _ = settings().key
    except (FettleError, OSError) as error:
        return Finding(f"The secret key cannot be used: {error}", getattr(error, "advice", "Check the rights on the data folder."), bad=True)
    return Finding("Secret key")


def database() -> Finding:
    from app.db import engine
    from app.migrate import current, newest

    try:
        revision = current()
    except (SQLAlchemyError, ImportError) as error:
        return Finding(f"The database does not answer: {str(error).splitlines()[0]}", "Check FETTLE_DATABASE_URL and that the server runs.", bad=True)
    if revision != newest():
        return Finding(f"The database is at {revision or 'no revision'}, this code wants {newest()}.", "Run `fettle migrate`.", bad=True)
    return Finding(f"Database ({engine().dialect.name}) at {revision}")


def broker() -> Finding:
    here = settings()
    if not here.redis_url:
        running = ask(here.run_folder / "broker.sock", "PING") == "+PONG"
        return Finding("Broker (embedded)") if running else Finding("The embedded broker is not running.", "It runs while `fettle up` does.")
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        Redis.from_url(here.redis, socket_timeout=2, socket_connect_timeout=2).ping()
    except RedisError as error:
        return Finding(f"The broker does not answer: {error}", "Check FETTLE_REDIS_URL and that the server runs. Jobs wait meanwhile; none is lost.", bad=True)
    return Finding("Broker")


def workers() -> Iterator[Finding]:
    from app.db import reading
    from app.domain.worker import alive

    with reading() as session:
        for queue, what, need, command in (
            ("gpu", "worker", "jobs wait", "worker"),
            ("light", "worker for endpoints", "evaluations of remote models wait", "worker --light"),
            ("interactive", "engine process", "the lab and /v1 do not answer", "engine"),
        ):
            names = [row.name for row in alive(session, queue)]
            if names:
                yield Finding(f"{what.capitalize()}: {', '.join(names)}")
            else:
                yield Finding(f"No {what} is there: {need}.", f"`fettle up` runs one, or start it with `fettle {command}`.")


def model() -> Finding:
    from app.services.models import has_starter

    return Finding("Starter model") if has_starter() else Finding("The starter model is not there.", "`fettle models starter` fetches it (93 MB).")
