"""On a GPU: what a job takes of it is measured, and worker and engine share one card. `pytest -m gpu` runs these where there is one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from app.db import reading
from app.domain import device as devices
from app.domain import metric as metrics
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.job import Job
from app.domain.model import Model
from app.services import jobs
from app.settings import settings
from tests.worker.test_device import Chat, engine, enlarged, offered, process, tune
from tests.worker.test_parent import until
from worker import devices as machine
from worker import resources, staying
from worker.tune import footprint_of, spec_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

HOLDS = "import sys, torch; held = torch.empty(int(sys.argv[1]), dtype=torch.uint8, device='cuda'); print('ready', flush=True)"
WORKS = HOLDS + "\nfactor = torch.randn(8192, 8192, device='cuda')\nwhile True: factor @ factor; torch.cuda.synchronize()"
WAITS = HOLDS + "\nsys.stdin.read()"

BUDGET = 4_300_000_000
"""What worker and engine may have of the card: the job has room, the job beside the model of `large` has not. The processor may give as much, which the model needs there."""

CONTEXT = 900_000_000
"""What a process takes of the card before it holds anything there, with room to spare. (The job's is in what it leases.)"""


@contextmanager
def taken(count: int, code: str = WAITS) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds so many bytes of the card."""
    running = subprocess.Popen([sys.executable, "-c", code, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        yield running
    finally:
        staying.end(running)
        for stream in (running.stdin, running.stdout):
            if stream is not None:
                stream.close()


def test_a_gauge_reads_its_own_share_of_the_gpu() -> None:
    with taken(2_000_000_000, WORKS) as ours, taken(3_000_000_000):
        gauge, found = resources.Gauge(ours.pid), list[float]()

        def at_work() -> bool:
            found[:] = [gauge.read()[name] for name in (metrics.GPU_MEMORY, metrics.GPU)]
            return found[1] > 30

        until(at_work, 20)
    assert 2.5e9 < found[0] < 4.5e9, "its 2 GB, its factors and its context, and nothing of the other's"
    assert found[1] <= 100


def test_a_machine_tells_its_gpu() -> None:
    first, *_ = machine.here()
    assert (
        first["name"] == "cuda:0"
        and first["title"] == torch.cuda.get_device_name(0)
        and 0.95 < first["memory"] / torch.cuda.get_device_properties(0).total_memory < 0.995
    )
    assert set(machine.driver()) == {"driver", "cuda"} and float(machine.driver()["cuda"]) >= float(str(torch.version.cuda).partition(".")[0])
    with taken(2_000_000_000):
        card = machine.in_use(machine.here())[0]
        assert 2_000_000_000 < card["used"] < card["memory"] and card["memory"] > first["memory"], "people see the whole card"


@pytest.fixture(scope="module")
def large_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's tokenizer with a thousand million weights in bfloat16."""
    shape = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 16, "head_dim": 128}
    with torch.device("cuda"):
        folder = enlarged(tiny_folder, tmp_path_factory.mktemp("large") / "large", torch.bfloat16, **shape)
    torch.cuda.empty_cache()
    return folder


@pytest.fixture
def large(base: Model, large_folder: Path, monkeypatch: pytest.MonkeyPatch, broker: str) -> Model:
    del broker
    monkeypatch.setenv("FETTLE_DEVICE", "auto")
    monkeypatch.setenv("FETTLE_DEVICE_MEMORY", str(BUDGET))
    monkeypatch.setenv("FETTLE_THREADS", "8")
    return offered(base, large_folder)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_chat_during_the_start_of_a_tune_on_one_card(person: Who, large: Model, toys: DatasetVersion, tmp_path: Path) -> None:
    free, _ = torch.cuda.mem_get_info()
    contexts = 2 * CONTEXT  # the engine's and that of whoever takes the rest
    with taken(free - BUDGET - contexts), engine(tmp_path / "engine.log") as serving:
        assert Chat(person, large, 5).answer()["output_tokens"] == 5
        with reading() as session:
            card = devices.find(session, settings().machine_name, "cuda:0")
            assert card is not None and card.memory == BUDGET
            weights = next(lease.bytes for lease in devices.leases(session, card) if lease.title == "Large")
        key = tune(person, large, toys, max_steps=200)
        with reading() as session:
            about = footprint_of(spec_of(session.get_one(Job, key)))
        assert about < BUDGET < about + weights, "or there is nothing to share"
        chats, elsewhere = [Chat(person, large, 200)], list[Chat]()
        with process("worker", log=tmp_path / "worker.log"):

            def answered_elsewhere() -> bool:
                """People go on asking until they are told that the processor answers."""
                if not chats[-1].is_alive() or chats[-1].said("token"):
                    chats.append(Chat(person, large, 20))
                elsewhere[:] = [chat for chat in chats if any(notice.get("instead") == "cpu" for notice in chat.said("notice"))]
                return bool(elsewhere) or jobs.find(person, key).job.over

            until(answered_elsewhere, 120)
            until(lambda: jobs.find(person, key).job.over, 120)
        view = jobs.find(person, key)
        assert view.job.state == "succeeded", view.job.error
        assert serving.poll() is None
        assert elsewhere, "the card was the job's, and the processor answered"
        assert {chat.answer()["output_tokens"] for chat in chats} == {200, 20}, "whoever was in mid-answer got all of it, and so did who came later"
    with reading() as session:
        memory = [point.value for point in metrics.curve(session, key, metrics.GPU_MEMORY)]
    assert memory and weights < max(memory) < BUDGET, "what the job took of the card is on its page"
    facts = view.attempts[0].ran_with or {}
    assert facts["gpus"] == [torch.cuda.get_device_name(0)]
