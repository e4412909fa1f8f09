"""A worker says that it is there, whatever is wrong around it."""

import errno
import os
import threading

import pytest

from app import disks
from app.db import now, reading, transaction
from app.domain import ending
from app.domain import job as jobs
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.job import Job
from app.domain.metric import LogLine
from app.services import machines
from app.settings import settings
from tests.worker.test_parent import until
from worker import devices, presence
from worker.pruning import DAY_MS


def test_a_worker_whose_disk_cannot_be_looked_at_is_there_all_the_same(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    del person
    looks = []

    def room() -> dict[str, int]:
        looks.append("look")
        if len(looks) > 1:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return {"tune": 5}

    def rooms() -> list[object]:
        with reading() as session:
            return [row.versions["room"] for row in workers.alive(session, "light")]

    monkeypatch.setattr(devices, "room", room)
    monkeypatch.setattr(presence, "_queue", ["light"])
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(presence, "_ended", threading.Event())
    beats = threading.Thread(target=presence._beat, daemon=True)
    beats.start()
    until(lambda: len(looks) > 3, 20)
    assert beats.is_alive() and rooms() == [{"tune": 5}]
    presence._ended.set()
    beats.join(10)
    assert not beats.is_alive()


def test_a_worker_says_how_full_its_disks_are_and_what_is_kept_on_them(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = settings().storage_folder / "jobs" / "1" / "attempt-1"
    for name, size in (("checkpoint-8/optimizer.pt", 300), ("artefact/adapter_model.safetensors", 200), ("process.log", 100)):
        (attempt / name).parent.mkdir(parents=True, exist_ok=True)
        (attempt / name).write_bytes(bytes(size))
    monkeypatch.setattr(presence, "_queue", ["light"])
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(presence, "_ended", threading.Event())
    monkeypatch.setattr(presence, "_kept", {})
    threads = [threading.Thread(target=work, daemon=True) for work in (presence._measure, presence._beat)]
    for thread in threads:
        thread.start()
    until(lambda: any(machine.kept for machine in machines.overview(person)), 20)
    (machine,) = machines.overview(person)
    assert {use: machine.kept[use] for use in ("results", "checkpoints", "logs")} == {"results": 200, "checkpoints": 300, "logs": 100}
    assert [disk.folder for disk in machine.disks] == [disk.folder for disk in disks.disks()] and machine.disks[0].total == disks.disks()[0].total
    presence._ended.set()
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize("queue", ["gpu", "light"])
def test_a_worker_of_either_queue_prunes(person: Who, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction() as session:
        key = jobs.add(session, person, "evaluate", "an evaluation", {}, light=queue == "light").id
        ending.cancel(session, session.get_one(Job, key))
        session.add(LogLine(job_id=key, attempt=1, event=1, at=now(session) - 100 * DAY_MS, text="said"))

    def left() -> int:
        with reading() as session:
            return session.query(LogLine).count()

    monkeypatch.setattr(presence, "_queue", [queue])
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(presence, "_ended", threading.Event())
    looks = threading.Thread(target=presence._look)
    looks.start()
    until(lambda: left() == 0, 20)
    presence._ended.set()
    looks.join(10)
    assert not looks.is_alive()
