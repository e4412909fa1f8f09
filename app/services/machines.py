"""The machines that work for this installation: what they have, what is wrong with one, and how another one joins."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from sqlalchemy import select

from app.db import now, reading, transaction
from app.disks import Disk, told
from app.domain import machine as machines
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.device import Device, MemoryLease
from app.domain.machine import JoinToken
from app.domain.worker import ALIVE_MS, Worker
from app.errors import Conflict, Forbidden
from app.migrate import newest
from app.settings import settings

FETTLE = version("fettle")
OURS = machines.installed()
"""What this server would compute with: the versions of its lock."""


@dataclass(frozen=True)
class DeviceView:
    """A device, what has its memory, and the worker that runs jobs on it, if one does now."""

    device: Device
    leases: list[MemoryLease]
    worker: str | None

    @property
    def taken(self) -> int:
        return sum(lease.bytes for lease in self.leases if lease.granted)


@dataclass
class Machine:
    """A machine by its name at a moment: its processes that were heard within a week, its devices, and what is wrong in sentences."""

    name: str
    at: int
    processes: list[Worker] = field(default_factory=list)
    devices: list[DeviceView] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def heard(self) -> int | None:
        return max((row.heartbeat_at for row in self.processes), default=None)

    @property
    def clock_ms(self) -> int | None:
        """How far its clock is ahead of the database's. None while nobody is there to say it."""
        return next((row.versions["clock_ms"] for row in self.alive if "clock_ms" in row.versions), None)

    @property
    def disks(self) -> list[Disk]:
        """Its disks as it measured them last; none while nobody is there to say it."""
        return next(filter(None, (told(row.versions) for row in self.alive)), [])

    @property
    def kept(self) -> dict[str, int]:
        """Bytes that the installation keeps there, by their use, the most first. (PostgreSQL keeps no order in a row's JSON.)"""
        said: dict[str, int] = next((row.versions["kept"] for row in self.alive if row.versions.get("kept")), {})
        return dict(sorted(said.items(), key=lambda one: (-one[1], one[0])))

    @property
    def alive(self) -> list[Worker]:
        return [row for row in self.processes if self.at - row.heartbeat_at <= ALIVE_MS]

    @property
    def silent(self) -> list[Worker]:
        """Of each queue that nobody here answers for any more, the process that was heard last: one that was started again has taken the other's place."""
        newest = {row.queue: row for row in sorted(self.processes, key=lambda row: row.heartbeat_at)}
        served = {row.queue for row in self.alive}
        return [row for queue, row in sorted(newest.items()) if queue not in served]


@dataclass(frozen=True)
class Ready:
    """Something another machine needs of this installation: whether it is so, and the sentence about it."""

    good: bool
    text: str


def overview(person: Who) -> list[Machine]:
    """Every machine that was heard of within a week, by name. The same number of queries however many there are."""
    del person
    found: dict[str, Machine] = {}
    with reading() as session:
        clock = now(session)
        for row in session.scalars(select(Worker).where(Worker.queue != workers.WEB).order_by(Worker.name)):
            found.setdefault(row.machine, Machine(row.machine, clock)).processes.append(row)
        held: dict[int, list[MemoryLease]] = {}
        for lease in session.scalars(select(MemoryLease).where(MemoryLease.until > clock).order_by(MemoryLease.id)):
            held.setdefault(lease.device_id, []).append(lease)
        for device in session.scalars(select(Device).where(Device.heartbeat_at > clock - workers.FORGET_MS).order_by(Device.machine, Device.name)):
            worker = device.worker if (device.worker_until or 0) > clock else None
            found.setdefault(device.machine, Machine(device.machine, clock)).devices.append(DeviceView(device, held.get(device.id, []), worker))
    for machine in found.values():
        machine.troubles += _troubles(machine)
    return [found[name] for name in sorted(found)]


def _troubles(machine: Machine) -> list[str]:
    said = []
    if machine.alive:
        said += [_silence(f"its {row.kind} for {row.queue}", machine.at - row.heartbeat_at, row.kind) for row in machine.silent]
    elif machine.processes:
        said.append(_silence("it", machine.at - (machine.heard or 0), "worker"))
    others = sorted({str(row.versions["fettle"]) for row in machine.alive if row.versions.get("fettle", FETTLE) != FETTLE})
    if others:
        said.append(f"It runs Fettle {', '.join(others)}, and this server {FETTLE}: install the same version and start its processes again.")
    unlike = [sentence for row in machine.alive for sentence in machines.differences(row.versions, OURS)]
    return said + list(dict.fromkeys(unlike)) + machines.clock_trouble(machine.clock_ms or 0)


def _silence(who: str, ms: int, kind: str) -> str:
    """That nothing is heard of a process, or of a whole machine, and what that means."""
    long = f"{ms // 1000} s" if ms < 120_000 else f"{ms // 60_000} min"
    means = "Its jobs go back to the queue by themselves." if kind == "worker" else f"It answers nobody until `fettle {kind}` runs there again."
    return f"Nothing was heard of {who} for {long}. {means}"


def suited() -> list[Ready]:
    """What of this installation's own settings another machine can share. No values: they may hold passwords."""
    here = settings()
    return [
        Ready(not here.database.startswith("sqlite"), "The database is PostgreSQL" if not here.database.startswith("sqlite") else "The database is SQLite, a file of this machine: other machines need PostgreSQL (FETTLE_DATABASE_URL)"),
        Ready(bool(here.redis_url), "The broker has an address of its own" if here.redis_url else "The broker is the embedded one, which only this machine reaches: other machines need a Redis (FETTLE_REDIS_URL)"),
        Ready(here.stored_remotely, "Artefacts are in an object store" if here.stored_remotely else "Artefacts are in a folder: other machines need the same folder, or an object store (FETTLE_STORAGE=s3://…)"),
        Ready(bool(here.secret_key), "The secret key is set" if here.secret_key else "The secret key lies in the data folder: set FETTLE_SECRET_KEY to its content, on every machine"),
    ]  # fmt: skip


def make_token(person: Who) -> str:
    """A one-use token with which a machine may ask to join. Raises Forbidden for anybody but an administrator."""
    if person.role != "admin":
        raise Forbidden("not_admin", "Only an administrator adds machines.", "They will run everybody's jobs. Ask the person who set this installation up.")
    with transaction() as session:
        return machines.make(session, person.user_id)


def reports(person: Who) -> list[JoinToken]:
    """What machines said that joined within the last day, or tried to."""
    del person
    with reading() as session:
        return machines.reports(session)


def join(token: str, report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Accept a machine; gives how far its clock is ahead of the database's in milliseconds, and sentences about what is not as here. Raises Forbidden for its token, Conflict with the reason to refuse it."""
    refusal = _refusal(report)
    with transaction() as session:
        ahead = int(report["clock_ms"]) - now(session)
        warnings = machines.differences(report.get("libraries", {}), OURS) + machines.clock_trouble(ahead)
        machines.use(session, token, {**report, "ahead_ms": ahead, "warnings": warnings}, refusal)
    if refusal:
        raise Conflict("machine_refused", refusal, "Then try again; the token is still good.")
    return ahead, warnings


def _refusal(report: Mapping[str, Any]) -> str | None:
    """Why such a machine may not work here."""
    if report["version"] != FETTLE:
        return f"This machine has Fettle {report['version']}, and the server {FETTLE}. Install {FETTLE} here."
    if report.get("schema") != newest():
        return f"This machine's code wants the database at {report.get('schema')}, and the server's at {newest()}. Install the server's code here."
    return None
