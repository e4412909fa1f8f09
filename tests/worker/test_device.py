"""A worker and an engine process share a machine's memory: real processes, a small budget, a model large enough to be missed."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoConfig, LlamaForCausalLM

from app import queue
from app.db import reading, transaction
from app.domain import device as devices
from app.domain import worker as workers
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.device import MemoryLease
from app.domain.generation import Parameters
from app.domain.job import Job
from app.domain.model import Model
from app.domain.shape import PROCESS_BYTES
from app.services import generate, jobs, models
from app.settings import settings
from tests.house.rules import ROOT
from tests.worker.test_interactive import FIELDS
from tests.worker.test_parent import SHORT, until
from worker import devices as machine
from worker.engine.folders import fingerprint
from worker.tune import footprint_of, spec_of

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]

WEIGHTS = 200_000_000
"""Bytes of the model, about."""

BUDGET = 850_000_000
"""The device's memory: the job of `tune` alone has room, the job beside the model has not."""

LIBRARIES = 400_000_000
"""What the job's process takes beyond the budget before it has a model, for the most part torch."""


@pytest.fixture(scope="module")
def large_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's tokenizer with weights of 200 MB."""
    return enlarged(tiny_folder, tmp_path_factory.mktemp("large") / "large", hidden_size=768, intermediate_size=3072, num_hidden_layers=6)


def enlarged(tiny_folder: Path, folder: Path, dtype: torch.dtype = torch.float32, **shape: int) -> Path:
    """A model of another shape with the tiny one's tokenizer, in a new folder."""
    folder.mkdir()
    for file in tiny_folder.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    config = AutoConfig.from_pretrained(tiny_folder)
    config.update({**shape, "initializer_range": 0.02})
    LlamaForCausalLM._from_config(config, dtype=dtype).save_pretrained(folder)
    return folder


@pytest.fixture
def large(base: Model, large_folder: Path, monkeypatch: pytest.MonkeyPatch, broker: str) -> Model:
    """That model in the catalogue, on a device of a small budget."""
    del broker
    monkeypatch.setenv("FETTLE_DEVICE_MEMORY", str(BUDGET))
    return offered(base, large_folder)


def offered(base: Model, folder: Path) -> Model:
    """The model of a folder in the place of the tiny one, for processes with the settings that the environment has now."""
    settings.cache_clear()
    for cache in (queue._celery, queue._redis):
        cache.cache_clear()
    (settings().models_folder / "large").symlink_to(folder)
    with transaction() as session:
        row = session.get_one(Model, base.id)
        row.folder, row.name, row.content_hash = "large", "Large", fingerprint(folder)
    return base


@contextmanager
def process(*words: str, log: Path, environment: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A command of Fettle, with this test's settings unless others are given."""
    with log.open("ab") as output:
        running = subprocess.Popen([sys.executable, "-m", "app.cli", *words], cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def engine(log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with process("engine", log=log) as running:
        until(lambda: alive("interactive"), 90)
        yield running


def alive(name: str) -> bool:
    with reading() as session:
        return bool(workers.alive(session, name))


def resident(pid: int) -> int:
    """Bytes of a process and its children."""
    found = 0
    try:
        root = psutil.Process(pid)
        for one in [root, *root.children(recursive=True)]:
            found += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return found


class Chat(threading.Thread):
    """Somebody asks in the Lab, and reads all of the answer."""

    def __init__(self, person: Who, model: Model, tokens: int) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        parameters = Parameters.model_validate({"max_tokens": tokens, "min_tokens": tokens, "stop": []})
        self.request = generate.start(person, model, FIELDS, {"input": "the film is"}, parameters)
        self.start()

    def run(self) -> None:
        async def read() -> None:
            async for event in generate.events(self.request):
                self.events.append(event)

        asyncio.run(read())

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def answer(self) -> dict[str, Any]:
        self.join(120)
        assert self.events and self.events[-1]["type"] == "done", self.events[-3:]
        return self.events[-1]


def tune(person: Who, model: Model, toys: DatasetVersion, **parameters: Any) -> int:
    chosen = SHORT | {"max_steps": 4, "evaluations": 1, "batch_size": 2} | parameters
    return jobs.start_tune(person, model=model.id, dataset=toys.dataset_id, method="lora", parameters=chosen, prompt_version=None, seed=1).job.id


def leases() -> dict[str, MemoryLease]:
    with reading() as session:
        device = devices.find(session, settings().machine_name, "cpu:0")
        return {lease.title: lease for lease in devices.leases(session, device)} if device else {}


@pytest.mark.faults
def test_chat_during_the_start_of_a_tune_and_neither_dies_of_memory(person: Who, large: Model, toys: DatasetVersion, tmp_path: Path) -> None:
    with engine(tmp_path / "engine.log") as serving:
        bare = resident(serving.pid)
        assert Chat(person, large, 5).answer()["output_tokens"] == 5
        assert leases()["Large"].bytes > WEIGHTS * 0.8 and resident(serving.pid) > bare + WEIGHTS / 2
        key = tune(person, large, toys)
        chats, together, waited = list[Chat](), list[int](), set[str]()
        with process("worker", log=tmp_path / "worker.log") as working:

            def asked_to_wait() -> bool:
                """People go on asking until they are told to wait."""
                if not chats or len(chats[-1].said("token")) > 30 or not chats[-1].is_alive():
                    chats.append(Chat(person, large, 60))
                waited.add(jobs.find(person, key).waits or "")
                return bool(chats[-1].said("notice"))

            until(asked_to_wait, 120)
            assert chats[-1].said("notice")[0]["text"] in (f"The CPU is being freed for job {key}", f"The CPU is with job {key}")

            def over() -> bool:
                together.append(resident(serving.pid) + resident(working.pid))
                waited.add(jobs.find(person, key).waits or "")
                return jobs.find(person, key).job.over and not chats[-1].is_alive()

            until(over, 120)
        assert jobs.find(person, key).job.state == "succeeded", jobs.find(person, key).job.error
        assert [chat.answer()["output_tokens"] for chat in chats] == [60] * len(chats), "whoever was in mid-answer got all of it, and so did who waited"
        assert any(words.startswith("Waits for 0.85 GB of the CPU's memory") for words in waited), waited
        assert any("Large is answering in the Lab" in words for words in waited), waited
        assert serving.poll() is None and max(together) < bare + LIBRARIES + BUDGET + WEIGHTS / 2, "the budget once, and no second copy of the model"


def test_a_job_waits_for_a_pinned_model_and_says_so(person: Who, large: Model, toys: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.pin(person, large.id, True)
    with reading() as session:
        about = footprint_of(spec_of(session.get_one(Job, tune(person, large, toys))))
    jobs.cancel(person, 1)
    monkeypatch.setenv("FETTLE_DEVICE_MEMORY", str(int(about * 1.05)))  # room for the job, and not for it beside the model
    settings.cache_clear()
    with engine(tmp_path / "engine.log"):
        Chat(person, large, 5).answer()
        until(lambda: leases()["Large"].pinned)
        key = tune(person, large, toys)
        with process("worker", log=tmp_path / "worker.log"):
            until(lambda: jobs.find(person, key).waits, 90)
            assert "Large (0." in (jobs.find(person, key).waits or "") and "is pinned: unpin on the model's page" in (jobs.find(person, key).waits or "")
            models.pin(person, large.id, False)
            until(lambda: jobs.find(person, key).job.over, 120)
    assert jobs.find(person, key).job.state == "succeeded", jobs.find(person, key).job.error


@pytest.mark.faults
def test_a_second_worker_on_the_same_device_refuses_in_words(person: Who, base: Model, broker: str, tmp_path: Path) -> None:
    del person, base, broker
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with process("worker", log=first) as running:
        until(lambda: alive("gpu"), 60)
        with process("worker", log=second) as refused:
            assert refused.wait(60) != 0
        name = settings().machine_name
        assert f"This worker has no device: cpu:0 is held by worker {name}:{running.pid}." in second.read_text()
        assert running.poll() is None
        os.kill(running.pid, 9)
        running.wait()
        with process("worker", log=tmp_path / "third.log") as third:
            until(lambda: third.poll() is not None or _holder() == f"{name}:{third.pid}", 60)
            assert third.poll() is None, "a device of the dead is free at once"


def _holder() -> str | None:
    with reading() as session:
        found = devices.find(session, settings().machine_name, "cpu:0")
        return found.worker if found else None


def test_models_and_jobs_have_less_of_a_card_than_people_are_shown(person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    del person
    card = {"name": "cuda:0", "title": "A card", "memory": 80_000_000_000}
    monkeypatch.setattr(machine, "_there", lambda: [card, {"name": "cpu:0", "title": "2 CPU cores", "memory": 8_000_000_000}])
    monkeypatch.setattr(machine, "_used", lambda name: 79_900_000_000 if name == "cuda:0" else 1)
    assert [device["memory"] for device in machine.here()] == [80_000_000_000 * 0.99 - PROCESS_BYTES["cuda"], 8_000_000_000]
    assert machine.in_use(machine.here())[0] == card | {"used": 79_900_000_000}, "never more used than there is"
    monkeypatch.setenv("FETTLE_DEVICE_MEMORY", "5000000000")
    settings.cache_clear()
    assert [device["memory"] for device in (*machine.here(), *machine.in_use(machine.here()))] == [5_000_000_000] * 4


def test_a_job_that_runs_by_itself_asks_nobody(person: Who, base: Model, toys: DatasetVersion) -> None:
    with transaction() as session:
        job = session.get_one(Job, tune(person, base, toys))
    assert machine._ask(job, 1 << 60, "cpu:0") is None, "no worker has said that this device is there"


def test_a_job_takes_what_there_is_beside_a_pinned_model(person: Who, large: Model, toys: DatasetVersion) -> None:
    with transaction() as session:
        job = session.get_one(Job, tune(person, large, toys))
        devices.found(session, settings().machine_name, machine.here())
        device = devices.find(session, settings().machine_name, "cpu:0")
        assert device is not None and device.memory == BUDGET
        devices.ask(session, device, "engine", "large", "Large", 200_000_000)
        devices.mark(session, "engine", [], ["large"])
    assert machine._ask(job, 600_000_000, "cpu:0") is None, "600 MB of the 900 that it might take are free"
    assert leases()[job.name].bytes == 650_000_000
    with reading() as session:
        assert session.get_one(Job, job.id).state == "queued"
