"""The engine's share of the devices' memory: leases for what it loads, given back when a job needs the room."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import now, reading, transaction
from app.domain import device as devices
from app.domain.device import Device
from app.domain.job import Job
from app.domain.model import Model
from app.domain.turn import ends, to_the_minute
from app.settings import settings
from worker import devices as machine
from worker.engine.serve import Scheduler
from worker.engine.shelf import Notice, Waits

log = structlog.get_logger(__name__)

LOOK_SECONDS, KEEP_SECONDS = 0.5, 5.0


class LeasedRoom:
    """Leases memory of this machine's devices for models: of the usual device, else of the processor while a job has a GPU."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self._known: dict[str, tuple[int, str]] = {}
        self.held: set[str] = set()
        """Models that have a lease, loaded or not yet. (An earlier process of this name may have left others.)"""
        self.owed: set[str] = set()
        """Models whose leases could not be given back."""

    def know(self, key: str, model: Model) -> None:
        """What the models are whose keys will come: jobs wait for them by name, and people pin them."""
        self._known[key] = (model.id, model.name)

    def take(self, key: str, needed: int) -> tuple[str, Notice | None]:
        """The device for a model of so many bytes, with a notice when it is not the usual one. Raises Waits."""
        with transaction() as session:
            devices.found(session, settings().machine_name, machine.here())
            usual = _device(session, machine.own())
            if self._ask(session, usual, key, needed):
                devices.only_on(session, usual, self.holder, key)
                return machine.torch_name(usual.name), None
            notice, spare = _notice(session, usual), _device(session, "cpu:0")
            if spare.id != usual.id and self._ask(session, spare, key, needed):
                devices.only_on(session, spare, self.holder, key)
                return "cpu", notice | {"instead": "cpu"}
            raise Waits(notice, {machine.torch_name(device.name): self._lacking(session, device, key, needed) for device in (usual, spare)})

    def _lacking(self, session: Session, device: Device, key: str, needed: int) -> int:
        """Bytes that would have to leave a device for this model."""
        others = [lease for lease in devices.leases(session, device) if (lease.holder, lease.key) != (self.holder, key)]
        return max(0, devices.taken(device, others) + needed - device.memory)

    def give_back(self, keys: Sequence[str]) -> None:
        """These models are in memory no more. While the database does not answer that is remembered: the scheduler's thread must go on."""
        self.held.difference_update(keys)
        self.owed.update(keys)
        given = tuple(self.owed)
        try:
            with transaction() as session:
                devices.give_back(session, self.holder, given)
        except SQLAlchemyError as error:
            log.warning("leases not given back yet", reason=str(error))
        else:
            self.owed.difference_update(given)

    def pinned(self, session: Session, keys: Sequence[str]) -> list[str]:
        """Those of the models that a person has pinned."""
        wanted = {self._known[key][0] for key in keys if key in self._known}
        chosen = set(session.scalars(select(Model.id).where(Model.id.in_(wanted), Model.pinned))) if wanted else set()
        return [key for key in keys if key in self._known and self._known[key][0] in chosen]

    def _ask(self, session: Session, device: Device, key: str, needed: int) -> bool:
        self.owed.discard(key)
        title = self._known[key][1] if key in self._known else "A model"
        granted = devices.ask(session, device, self.holder, key, title, needed)
        if granted:
            self.held.add(key)
        return granted


def _device(session: Session, name: str) -> Device:
    found = devices.find(session, settings().machine_name, name, lock=True)
    assert found is not None, "its row was written a moment ago"  # noqa: S101
    return found


def _notice(session: Session, device: Device) -> dict[str, Any]:
    """Who has the device, and until about when as far as that is known (milliseconds since 1970 on the database's clock)."""
    every = devices.leases(session, device)
    spoken = device.spoken[0].upper() + device.spoken[1:]
    lease = next((one for one in every if one.job_id is not None and one.granted), None)
    if lease is None and (next_one := next(iter(devices.coming(device, every)), None)) is not None:
        return {"text": f"{spoken} is being freed for job {next_one.job_id}", "job": next_one.job_id, "until": None}
    if lease is None:
        return {"text": f"{spoken}'s memory is in use by other models", "until": None}
    job = session.get_one(Job, lease.job_id)
    return {"text": f"{spoken} is with job {lease.job_id}", "job": lease.job_id, "until": to_the_minute(ends(job, now(session)))}


class Keeper(threading.Thread):
    """Says that the engine's leases are alive, and makes the engine give back what is idle when a job needs the room."""

    def __init__(self, room: LeasedRoom, scheduler: Scheduler) -> None:
        super().__init__(name="leases", daemon=True)
        self._room, self._scheduler = room, scheduler
        self._ended = threading.Event()
        self._told: tuple[list[str], list[str], list[str]] | None = None
        self._told_at = 0.0

    def run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self.look()
            except SQLAlchemyError as error:
                log.warning("leases not kept", reason=str(error))

    def look(self) -> None:
        """One round. It writes only what is new, or what would otherwise run out."""
        loaded, busy = list(self._scheduler.loaded()), sorted(self._scheduler.busy())
        with reading() as session:
            pinned = self._room.pinned(session, loaded)
            rows = [devices.find(session, settings().machine_name, device["name"]) for device in machine.here()]
            waiting = [row for row in rows if row is not None and devices.lacking(session, row)]
            short = {machine.torch_name(row.name): devices.lacking(session, row) for row in waiting}
            notices = {machine.torch_name(row.name): _notice(session, row) for row in waiting}
        if self._room.owed:
            self._room.give_back(())
        self._scheduler.pin(pinned)
        # Or people who go on chatting would keep a job waiting for ever.
        self._scheduler.hold_back(notices)
        if short:
            self._scheduler.release_idle(short)
        self._tell((loaded, busy, pinned))

    def _tell(self, state: tuple[list[str], list[str], list[str]]) -> None:
        _, busy, pinned = state
        if (held := tuple(self._room.held)) and (state != self._told or time.monotonic() - self._told_at > KEEP_SECONDS):
            with transaction() as session:
                devices.keep(session, self._room.holder, keys=held)
                devices.mark(session, self._room.holder, busy, pinned)
            self._told, self._told_at = state, time.monotonic()

    def stop(self) -> None:
        """The engine ends, and with it its leases."""
        self._ended.set()
        self.join(timeout=2)
        with suppress(SQLAlchemyError), transaction() as session:  # else they run out
            devices.give_back(session, self._room.holder)
