"""`fettle join`, and what every worker asks before it starts: does this machine's code fit the installation it is to work for?"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.db import reading
from app.domain import worker as workers
from app.domain.machine import installed
from app.errors import Conflict, Unavailable
from app.migrate import current, newest
from app.settings import settings

SECONDS = 20
NEEDED = {
    "FETTLE_DATABASE_URL": "database_url",
    "FETTLE_REDIS_URL": "redis_url",
    "FETTLE_SECRET_KEY": "secret_key",
}
"""What a second machine cannot do without."""


def join(address: str, token: str, say: Callable[[str], None]) -> None:
    """Present this machine to the server at an address, then check that it reaches what it will work with. Raises FettleError with what to do."""
    report = about()
    say(f"This is {report['machine']}: Fettle {report['version']}, {', '.join(device['title'] for device in report['devices'])}")
    said = [f"Python {report['python']}", *(f"{name} {found}" for name, found in report["libraries"].items())]
    say(", ".join(said + ([f"GPU driver {report['driver']} for CUDA up to {report['cuda']}"] if "driver" in report else [])))
    ahead, warnings = _present(address, token, report)
    say(f"The server takes it. This machine's clock is {abs(ahead) / 1000:.1f} s {'ahead of' if ahead > 0 else 'behind'} the server's.")
    for warning in warnings:
        say(f"Mind: {warning}")
    missing = [name for name, field in NEEDED.items() if not getattr(settings(), field)]
    if missing:
        raise Conflict(
            "not_set", f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set here.", "Set them as on the server, then run `fettle worker`."
        )
    fit_to_work()
    say("The database answers and has the schema this code wants.")
    _ask_broker()
    say("The broker answers. Start work with `fettle worker`, and answers for the Lab with `fettle engine`.")


def about() -> dict[str, Any]:
    """What a machine says of itself. Its devices are looked at in a process of the worker's."""
    done = subprocess.run([sys.executable, "-m", "worker.devices"], capture_output=True, text=True, timeout=SECONDS * 3, check=False)
    if done.returncode:
        raise Unavailable("no_devices", "This machine's devices cannot be looked at.", done.stderr.strip()[-300:])
    return {
        "machine": settings().machine_name,
        "version": version("fettle"),
        "schema": newest(),
        "python": platform.python_version(),
        "libraries": installed(),
        **json.loads(done.stdout),
        "clock_ms": time.time_ns() // 1_000_000,
    }


def _present(address: str, token: str, report: object) -> tuple[int, list[str]]:
    """Hand the report in; gives how far this clock is ahead, and what the server finds unlike itself. Raises Conflict with the server's words."""
    import httpx2

    try:
        answer = httpx2.post(f"{address.rstrip('/')}/api/v1/machines/join", json={"token": token, "report": report}, timeout=SECONDS)
        told = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise Unavailable(
            "no_server", f"{address} does not answer as Fettle does: {error}", "Give the address that people use, with http:// or https://."
        ) from error
    if answer.status_code >= 400:
        raise Conflict(told["error"]["code"], told["error"]["message"], told["error"]["advice"])
    return int(told["ahead_ms"]), list(told["warnings"])


def fit_to_work() -> None:
    """Raises Conflict when the database has another schema than this code wants, or the web process another version. A database that does not answer
    is none of it: a worker waits for that."""
    try:
        found = current()
        with reading() as session:
            servers = {str(row.versions.get("fettle")) for row in workers.alive(session, workers.WEB)} if found == newest() else set()
    except SQLAlchemyError:
        return
    if found != newest():
        raise Conflict(
            "other_schema",
            f"The database is at {found or 'no revision'}, and this machine's code wants {newest()}.",
            "Run `fettle migrate` when this code is the newer one; else install the version that the server runs.",
        )
    mine = version("fettle")
    if servers and mine not in servers:
        raise Conflict("other_version", f"This machine has Fettle {mine}, and the server {', '.join(sorted(servers))}.", "Install the server's version here.")


def _ask_broker() -> None:
    from app import queue

    if not queue.ping():
        raise Unavailable(
            "broker_down", "The broker does not answer from here.", "Check FETTLE_REDIS_URL, and that nothing between the machines is in the way."
        )
