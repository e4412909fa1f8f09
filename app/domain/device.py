"""Devices and who has their memory: one row for each device of each machine, and a lease for everything that holds some of it.

The engine process leases the bytes of each model it keeps, a job its preflight's peak and a margin. A lease ends when it is given back, or when
its holder has been silent for too long on the database's clock. A job goes before models that are only kept: while it waits for memory nothing
new is loaded beside it, and the engine gives back what is idle. What answers just now, and what a person has pinned, stays.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Row, db_now, inserting

HELD_SECONDS = 20
"""How long a holder may be silent."""

FORGET_MS = 30 * 24 * 3_600_000
"""A lease that has run out counts for nothing. Its row stays for so long: a holder that only slept, with its machine, has it again when it wakes up."""

MARGIN = 1.1
"""What a job may take beyond the peak its preflight measured: the allocator keeps some of what was freed, and validation has caches of its own."""


class Device(Row, Base):
    """`memory` is what models and jobs may take together, in bytes. `worker` runs its jobs here, until `worker_until` at least."""

    __tablename__ = "device"
    __table_args__ = (UniqueConstraint("machine", "name"),)

    machine: Mapped[str]
    name: Mapped[str]
    title: Mapped[str]
    memory: Mapped[int]
    heartbeat_at: Mapped[int]
    worker: Mapped[str | None]
    worker_until: Mapped[int | None]

    @property
    def spoken(self) -> str:
        """What people call it."""
        return spoken(self.name)


def spoken(name: str) -> str:
    """What people call the device of this name."""
    return "the CPU" if name.startswith("cpu") else "the GPU" if name == "cuda:0" else f"GPU {name.partition(':')[2]}"


class MemoryLease(Row, Base):
    """So many bytes of a device for one model of an engine process, or for one job. One that is not `granted` waits for others to give back.

    `key` names the model or job to its holder. `busy` models are answering; `pinned` ones are kept because a person said so.
    """

    __tablename__ = "memory_lease"
    __table_args__ = (UniqueConstraint("device_id", "holder", "key"),)

    device_id: Mapped[int] = mapped_column(ForeignKey("device.id", ondelete="CASCADE"))
    holder: Mapped[str]
    key: Mapped[str]
    title: Mapped[str]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    bytes: Mapped[int]
    granted: Mapped[bool]
    busy: Mapped[bool]
    pinned: Mapped[bool]
    until: Mapped[int]


def found(session: Session, machine: str, devices: Sequence[Mapping[str, Any]]) -> None:
    """Say that a machine has these devices: {name, title, memory} each."""
    insert = inserting(session, Device)
    for device in devices:
        about = {"title": device["title"], "memory": device["memory"], "heartbeat_at": db_now()}
        row = {"machine": machine, "name": device["name"], "created_at": db_now(), **about}
        session.execute(insert.values(row).on_conflict_do_update(index_elements=["machine", "name"], set_=about))


def find(session: Session, machine: str, name: str, *, lock: bool = False) -> Device | None:
    """A machine's device; with `lock` nobody else decides about its memory before this transaction ends."""
    query = select(Device).where(Device.machine == machine, Device.name == name)
    return session.scalars(query.with_for_update() if lock else query, execution_options={"populate_existing": True}).first()


def hold(session: Session, machine: str, name: str, worker: str, gone: Sequence[str] = ()) -> str | None:
    """Take or keep a device for a worker's jobs, one worker at a time. None, or the worker that has it. Those in `gone` are known to be dead."""
    mine = [Device.worker.is_(None), Device.worker == worker, Device.worker_until < db_now(), Device.worker.in_(gone)]
    free = mine[0]
    for other in mine[1:]:
        free = free | other
    taken = update(Device).where(Device.machine == machine, Device.name == name, free).values(worker=worker, worker_until=db_now() + HELD_SECONDS * 1000)
    if session.execute(taken.returning(Device.id), execution_options={"synchronize_session": False}).first():
        return None
    return session.scalar(select(Device.worker).where(Device.machine == machine, Device.name == name))


def renew(session: Session, worker: str) -> None:
    """A worker is alive, and goes on having its devices."""
    query = update(Device).where(Device.worker == worker).values(worker_until=db_now() + HELD_SECONDS * 1000)
    session.execute(query, execution_options={"synchronize_session": False})


def let_go(session: Session, worker: str, but: str = "") -> None:
    """A worker's devices are free, except one that it goes on with."""
    query = update(Device).where(Device.worker == worker, Device.name != but).values(worker=None, worker_until=None)
    session.execute(query, execution_options={"synchronize_session": False})


def leases(session: Session, device: Device) -> Sequence[MemoryLease]:
    """What holds, or waits for, memory of a device now, oldest first."""
    query = select(MemoryLease).where(MemoryLease.device_id == device.id, MemoryLease.until > db_now()).order_by(MemoryLease.id)
    return session.scalars(query, execution_options={"populate_existing": True}).all()


def ask(session: Session, device: Device, holder: str, key: str, title: str, needed: int, job_id: int | None = None, seconds: int = HELD_SECONDS) -> bool:
    """Lease `needed` bytes of a locked device. True when they are there; a job that gets none waits in the row, a model that gets none leaves no trace.

    For a model, what jobs wait for and are to have counts as taken.
    """
    session.execute(delete(MemoryLease).where(MemoryLease.device_id == device.id, MemoryLease.until <= db_now() - FORGET_MS))
    others = [lease for lease in leases(session, device) if (lease.holder, lease.key) != (holder, key)]
    granted = needed <= device.memory - (taken(device, others) if job_id is None else sum(lease.bytes for lease in others if lease.granted))
    if not granted and job_id is None:
        return False
    insert = inserting(session, MemoryLease)
    about = {"title": title, "job_id": job_id, "bytes": needed, "granted": granted, "busy": False, "pinned": False, "until": db_now() + seconds * 1000}
    row = {"device_id": device.id, "holder": holder, "key": key, "created_at": db_now(), **about}
    session.execute(insert.values(row).on_conflict_do_update(index_elements=["device_id", "holder", "key"], set_=about))
    return granted


def measured(session: Session, holder: str, peak: int) -> None:
    """A job knows now what it takes at most: the rest of its lease is free for others. It never grows: what does not fit was found out by the preflight."""
    needed = int(peak * MARGIN)
    query = update(MemoryLease).where(MemoryLease.holder == holder, MemoryLease.bytes > needed).values(bytes=needed)
    session.execute(query, execution_options={"synchronize_session": False})


def keep(session: Session, holder: str, seconds: int = HELD_SECONDS, keys: Collection[str] | None = None) -> None:
    """The holder is alive, and so are these of its leases, or all, those too that ran out while it was silent: it has that memory, whoever was granted it
    meanwhile."""
    mine = [MemoryLease.holder == holder] if keys is None else [MemoryLease.holder == holder, MemoryLease.key.in_(keys)]
    session.execute(update(MemoryLease).where(*mine).values(until=db_now() + seconds * 1000), execution_options={"synchronize_session": False})


def give_back(session: Session, holder: str, keys: Sequence[str] | None = None) -> None:
    """The holder has given back these, or all."""
    query = delete(MemoryLease).where(MemoryLease.holder == holder)
    session.execute(query if keys is None else query.where(MemoryLease.key.in_(keys)), execution_options={"synchronize_session": False})


def hand_over(session: Session, holder: str, job_id: int, attempt: int, seconds: int) -> None:
    """What a holder has is another job's from now on: the process that has it goes on with that one."""
    query = update(MemoryLease).where(MemoryLease.holder == holder)
    mine = {"holder": job_holder(job_id, attempt), "job_id": job_id, "until": db_now() + seconds * 1000}
    session.execute(query.values(mine), execution_options={"synchronize_session": False})


def only_on(session: Session, device: Device, holder: str, key: str) -> None:
    """What is on this device now is on no other any more."""
    query = delete(MemoryLease).where(MemoryLease.holder == holder, MemoryLease.key == key, MemoryLease.device_id != device.id)
    session.execute(query, execution_options={"synchronize_session": False})


def mark(session: Session, holder: str, busy: Sequence[str], pinned: Sequence[str]) -> None:
    """Which of a holder's models answer now, and which a person has pinned."""
    query = update(MemoryLease).where(MemoryLease.holder == holder)
    session.execute(query.values(busy=MemoryLease.key.in_(busy), pinned=MemoryLease.key.in_(pinned)), execution_options={"synchronize_session": False})


def job_holder(job_id: int, attempt: int) -> str:
    """The name under which a job's attempt holds memory: the parent of its process prolongs it by that, whatever the process does.

    By attempt, because one that lost its job gives back and measures its own memory, never that of the attempt that has the job now.
    """
    return f"job/{job_id}/{attempt}"


def coming(device: Device, every: Sequence[MemoryLease]) -> list[MemoryLease]:
    """The jobs that wait and will fit once models have left. Pinned models and other jobs stay: where they are in the way, no model that leaves is of use."""
    room = device.memory - sum(lease.bytes for lease in every if lease.granted and (lease.pinned or lease.job_id is not None))
    found = []
    for lease in every:
        if lease.job_id is not None and not lease.granted and lease.bytes <= room:
            found.append(lease)
            room -= lease.bytes
    return found


def taken(device: Device, every: Sequence[MemoryLease]) -> int:
    """Bytes that no model may have: held already, or about to be a job's."""
    return sum(lease.bytes for lease in [lease for lease in every if lease.granted] + coming(device, every))


def lacking(session: Session, device: Device) -> int:
    """Bytes that models have to give back before the jobs that wait for this device's memory fit; 0 where that would not help them."""
    every = leases(session, device)
    return max(0, taken(device, every) - device.memory) if coming(device, every) else 0


def waits_for(session: Session, job_id: int) -> str | None:
    """Why a job that has begun waits for memory, as a sentence; None when it does not."""
    own = session.scalars(select(MemoryLease).where(MemoryLease.job_id == job_id, ~MemoryLease.granted, MemoryLease.until > db_now())).first()
    if own is None:
        return None
    device = session.get_one(Device, own.device_id)
    others = [lease for lease in leases(session, device) if lease.granted]
    free = device.memory - sum(lease.bytes for lease in others)
    return sentence(device, own.bytes, max(0, free), others)


def sentence(device: Device, needed: int, free: int, others: Sequence[MemoryLease]) -> str:
    """Waits for 2.1 GB of the GPU's memory, of which 0.4 GB is free: who has the rest, and what ends the wait."""
    waits = f"Waits for {needed / 1e9:.2f} GB of {device.spoken}'s memory; {free / 1e9:.2f} of {device.memory / 1e9:.2f} GB are free."
    pinned = [lease for lease in others if lease.pinned]
    if pinned:
        names = ", ".join(f"{lease.title} ({lease.bytes / 1e9:.2f} GB)" for lease in pinned)
        return f"{waits} {names} {'is' if len(pinned) == 1 else 'are'} pinned: unpin on the model's page, or wait for somebody to."
    busy = next((lease for lease in others if lease.busy), None)
    if busy is not None:
        return f"{waits} {busy.title} is answering in the Lab and gives its memory back after that."
    job = next((lease for lease in others if lease.job_id is not None), None)
    if job is not None:
        return f"{waits} Job {job.job_id} has the rest."
    return f"{waits} The engine is giving back what is idle."
