"""Runs over several processes: the same losses as over one, stop and resume in step, and nobody left hanging or behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.errors import Invalid
from tests.engine.conftest import multiplying, toy_rows, toy_spec
from tests.engine.test_command import write
from tests.house.rules import ROOT
from worker.engine import artefact, launch, precision
from worker.engine.batches import divided, enough_for
from worker.engine.load import load
from worker.engine.place import Place
from worker.engine.ranks import Ranks
from worker.engine.reporting import NullReporter, Stopped
from worker.engine.spec import TrainSpec, from_json, to_json
from worker.engine.train import TrainResult, _data, train
from worker.engine.validate import LEAST_ROWS

RATES = {"lora": 2e-2, "full": 5e-3}
Pair = Callable[[TrainSpec, NullReporter], TrainResult]


@pytest.fixture(scope="module")
def partner() -> Iterator["subprocess.Popen[str]"]:
    """A second process that takes part in every run it is told of."""
    with subprocess.Popen([sys.executable, "-m", "tests.engine.partner"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.fixture
def pair(partner: "subprocess.Popen[str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """train() over two processes, the second being the partner instead of one that is started for each run."""
    runs = iter(range(100))

    @contextmanager
    def started(spec: TrainSpec) -> Iterator[Place]:
        place = Place(0, 2, 0, str(tmp_path / f"meeting-{next(runs)}"))
        assert partner.stdin
        assert partner.stdout
        other = asdict(replace(place, rank=1, local=1)) | {"rounded": precision.WIDE == 1}
        partner.stdin.write(f"{json.dumps(other)}\n{to_json(spec)}\n")
        partner.stdin.flush()
        with launch._environment(place):
            yield place
        assert partner.stdout.readline() == "done\n"

    def run(spec: TrainSpec, reporter: NullReporter) -> TrainResult:
        with monkeypatch.context() as patch:
            patch.setattr("worker.engine.train.started", started)
            try:
                return train(spec, reporter)
            except Stopped:
                assert partner.stdout
                assert partner.stdout.readline() == "done\n"
                raise

    return run


def spec(base: Path, folder: Path, method: str = "lora", **changes: object) -> TrainSpec:
    """Without dropout, whose places differ from rank to rank."""
    own: dict[str, object] = {"dropout": 0.0} if method == "lora" else {}
    return toy_spec(base, folder, method, **({"learning_rate": RATES.get(method, 5e-3)} | own | changes))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.mark.parametrize(("method", "sharding"), [("lora", "none"), ("full", "none"), ("lora", "fsdp"), ("full", "fsdp")])
def test_two_processes_train_as_one_does(tiny: Path, tmp_path: Path, pair: Pair, method: str, sharding: str) -> None:
    alone, together = NullReporter(), NullReporter()
    # A last step of another size, and answers of one and of several tokens: the count of answer tokens differs from rank to rank.
    rows = [(values, answer if number % 3 else f"{answer}, {answer}") for number, (values, answer) in enumerate(toy_rows(29))]
    one = train(spec(tiny, tmp_path / "one", method, train=rows, validation=toy_rows(10)), alone)
    two = pair(spec(tiny, tmp_path / "two", method, train=rows, validation=toy_rows(10), devices=2, sharding=sharding), together)
    losses, norms = alone.points("loss"), alone.points("grad_norm")
    assert len(losses) == 12
    assert together.points("loss") == pytest.approx(losses, rel=1e-4)
    assert together.points("grad_norm") == pytest.approx(norms, rel=1e-3)
    assert together.points("validation_loss") == pytest.approx(alone.points("validation_loss"), rel=1e-4)
    assert min((together.peak or 0) - (alone.peak or 0), two.peak_memory_bytes - one.peak_memory_bytes) > 100_000_000, "what the other process holds"
    assert (two.steps, two.trainable, two.total, two.best_step) == (one.steps, one.trainable, one.total, one.best_step)
    checked = artefact.check(two.artefact)
    assert (checked.facts["devices"], checked.kind) == (2, "full" if method == "full" else "adapter")
    first, second = tensors(one.artefact), tensors(two.artefact)
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], rtol=1e-2, atol=1e-4) for name in first)
    load(two.artefact, device="cpu") if method == "full" else load(tiny, adapter=two.artefact, device="cpu")


def test_ranks_that_train_on_rows_of_different_lengths_validate_on_the_same(tiny: Path, tmp_path: Path) -> None:
    said: dict[int, tuple[float, ...]] = {}

    class Rank(Ranks):
        def exchange(self, *figures: float) -> list[tuple[float, ...]]:
            said[self.rank] = figures
            return list(said.values())

    rows = [({"input": "good " * (1 + number % 40)}, "positive") for number in range(400)]
    loaded = load(tiny, device="cpu")
    chosen = spec(tiny, tmp_path, train=rows, validation=rows, max_steps=60, max_length=512, devices=2, evaluations=2)

    def validated() -> set[int]:
        return {_data(loaded, chosen, Rank(rank, 2), NullReporter())[1].rows for rank in range(2)}  # type: ignore[union-attr]

    validated()
    assert said[0] != said[1], "rank 0 has the shorter ones"
    (count,) = validated()
    assert LEAST_ROWS < count < len(rows)


@pytest.mark.parametrize(
    ("model", "method", "own"),
    [
        ("tiny", "prompt_tuning", {}),
        ("tiny", "p_tuning", {}),
        ("tiny", "p_tuning", {"encoder": "lstm"}),
        ("tiny", "prefix", {}),
        ("tiny", "prefix", {"projection": True}),
        ("tiny", "lora", {"variant": "dora"}),
        ("translator", "prompt_tuning", {}),
        ("translator", "lora", {}),
        ("translator", "full", {}),
    ],
)
def test_every_method_is_spread(model: str, method: str, own: dict[str, object], request: pytest.FixtureRequest, tmp_path: Path, pair: Pair) -> None:
    base, alone, together = request.getfixturevalue(model), NullReporter(), NullReporter()
    # The random T5 magnifies the rounding of another order of sums so much that one process with other passes is far off after six steps, too.
    gentle = {"learning_rate": 1e-4, "max_steps": 3} if model == "translator" else {"learning_rate": 5e-3, "max_steps": 6}
    asked: dict[str, Any] = {**gentle, "validation": [], **own}
    one = train(spec(base, tmp_path / "one", method, **asked), alone)
    two = pair(spec(base, tmp_path / "two", method, devices=2, **asked), together)
    assert together.points("loss") == pytest.approx(alone.points("loss"), rel=1e-4)
    first, second = tensors(one.artefact), tensors(two.artefact)
    assert first.keys() == second.keys() and all(torch.allclose(first[name], second[name], rtol=1e-2, atol=1e-3) for name in first)


@pytest.mark.parametrize(("method", "sharding"), [("lora", "none"), ("full", "none"), ("lora", "fsdp"), ("full", "fsdp")])
def test_in_bfloat16_two_processes_learn_as_one_does(tiny: Path, tmp_path: Path, pair: Pair, method: str, sharding: str) -> None:
    alone, together, exact = NullReporter(), NullReporter(), NullReporter()
    own: dict[str, Any] = {"max_steps": 6, "validation": []}
    with multiplying():
        train(spec(tiny, tmp_path / "one", method, **own), alone)
        two = pair(spec(tiny, tmp_path / "two", method, devices=2, sharding=sharding, **own), together)
        pair(spec(tiny, tmp_path / "exact", method, devices=2, sharding=sharding, precision="float32", **own), exact)
    assert artefact.check(two.artefact).facts["computes_in"] == "bfloat16"
    assert together.points("loss") == pytest.approx(alone.points("loss"), rel=1e-2)
    assert together.points("loss") != exact.points("loss")
    assert all(torch.isfinite(tensor).all() for tensor in tensors(two.artefact).values())


@pytest.mark.parametrize(("method", "sharding"), [("lora", "none"), ("full", "fsdp")])
def test_a_stopped_pair_goes_on_bit_for_bit(tiny: Path, tmp_path: Path, pair: Pair, method: str, sharding: str) -> None:
    own: dict[str, Any] = {"devices": 2, "sharding": sharding, "max_steps": 8} | ({"dropout": 0.1} if method == "lora" else {})
    control, first, second = NullReporter(), NullReporter(stop_after=4), NullReporter()
    whole = pair(spec(tiny, tmp_path / "whole", method, **own), control)
    with pytest.raises(Stopped) as stopped:
        pair(spec(tiny, tmp_path / "halves", method, **own), first)
    assert stopped.value.checkpoint == tmp_path / "halves" / "checkpoint-5"
    assert {file.name for file in stopped.value.checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    resumed = pair(spec(tiny, tmp_path / "halves", method, resume=True, **own), second)
    for name in ("loss", "validation_loss", "learning_rate"):
        assert {**first.points(name), **second.points(name)} == control.points(name)
    assert min(second.points("loss")) == 6
    one, two = tensors(whole.artefact), tensors(resumed.artefact)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_in_pieces_without_validation_keeps_its_last_weights(tiny: Path, tmp_path: Path, pair: Pair) -> None:
    one = train(spec(tiny, tmp_path / "one", "full", validation=[], max_steps=3), NullReporter())
    two = pair(spec(tiny, tmp_path / "two", "full", validation=[], max_steps=3, devices=2, sharding="fsdp"), NullReporter())
    first, second = tensors(one.artefact), tensors(two.artefact)
    assert all(torch.allclose(first[name], second[name], rtol=1e-2, atol=1e-4) for name in first)
    assert not list((tmp_path / "two").glob("best-*"))


def ranks_of(process: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(process).children() if "worker.engine.rank" in child.cmdline()]


@pytest.mark.faults
def test_a_killed_rank_ends_the_run_with_a_clear_error(tiny: Path, tmp_path: Path) -> None:
    class Killer(NullReporter):
        """Kills the second process after the third step."""

        def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
            super().step(done, total, values, eta_seconds)
            if done == 3:
                ranks_of(os.getpid())[0].kill()
                self.killed = time.monotonic()

    reporter = Killer()
    with pytest.raises(Invalid, match="Process 2 of the run's 2 was killed by SIGKILL") as lost:
        train(spec(tiny, tmp_path, devices=2, validation=[], max_steps=1000), reporter)
    assert time.monotonic() - reporter.killed < 10
    assert lost.value.code == "rank_killed"
    assert not ranks_of(os.getpid())
    assert not torch.distributed.is_initialized()
    assert "WORLD_SIZE" not in os.environ


@pytest.mark.faults
def test_an_error_of_another_rank_is_told_as_its_own(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "to_json", lambda told: to_json(replace(told, base=tmp_path / "nowhere")))
    with pytest.raises(Invalid, match="There is no model at nowhere") as raised:
        train(spec(tiny, tmp_path / "run", devices=2), NullReporter())
    assert (raised.value.code, raised.value.advice) == ("model_missing", "Add the model again.")


@pytest.fixture
def options(tiny: Path, tmp_path: Path) -> list[str]:
    given = ["--base", tiny, "--train", write(tmp_path / "train.jsonl", 40), "--out", tmp_path / "run", "--device", "cpu", "--threads", 1]
    for setting in ("devices=2", "learning_rate=0.02", "batch_size=8", "rank=4"):
        given += ["--set", setting]
    return [str(word) for word in given]


@pytest.mark.faults
def test_a_killed_first_process_leaves_none_behind(options: list[str]) -> None:
    command = [sys.executable, "-m", "worker.engine.train", *options, "--set", "max_steps=100000"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        next(line for line in process.stderr if line.startswith("step 1/"))
        (other,) = ranks_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    gone, _ = psutil.wait_procs([other], timeout=10)
    assert gone == [other]


def test_a_launcher_of_its_own_is_enough(options: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0", "-m", "worker.engine.train", *options, "--set", "max_steps=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 3
    assert done.stderr.count("step 3/3: loss") == 1
    assert artefact.check(tmp_path / "run" / "artefact").facts["devices"] == 2


def test_every_rank_has_as_many_parts_of_a_step() -> None:
    lengths = [number % 7 + 2 for number in range(8)]
    for accumulation, passes in ((2, 2), (None, 3), (9, 4)):
        parts = divided(range(8), lengths, accumulation, budget=11, devices=2)
        own = [parts[rank::2] for rank in range(2)]
        assert [len(rank) for rank in own] == [passes, passes]
        assert sorted(index for rank in own for part in rank for index in part) == list(range(8))
    enough_for(2, examples=30, batch_size=8)
    with pytest.raises(Invalid, match="A step of 3 examples cannot be spread over 4 devices"):
        enough_for(4, examples=3, batch_size=8)


def test_a_spec_is_the_same_on_the_other_side(tiny: Path, tmp_path: Path) -> None:
    told = spec(tiny, tmp_path, devices=2, learning_rate=0.1 + 0.2, train=[({"input": "é\u2028\ud800"}, "b\n")], labels=["b"], aliases={"b": ["c"]})
    heard = from_json(to_json(told))
    assert "\n" not in to_json(told)
    assert heard == replace(told, train=list(told.train))


@pytest.mark.parametrize(
    ("method", "values", "said"),
    [
        ("lora", {"sharding": "fsdp"}, "there is one device"),
        ("lora", {"devices": 2, "sharding": "fsdp", "four_bit": True}, "4 bits"),
        ("lora", {"devices": 2, "sharding": "fsdp", "variant": "dora"}, "dora"),
        ("lora", {"devices": 2, "sharding": "fsdp", "variant": "pissa"}, "pissa"),
        ("prefix", {"devices": 2, "sharding": "fsdp"}, "soft prompt"),
        ("full", {"devices": 20}, "16 examples cannot be spread over 20"),
        ("full", {"devices": 65}, "64"),
    ],
)
def test_what_cannot_be_spread_is_refused_with_the_reason(method: str, values: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse(METHODS, method, values)


def test_more_devices_than_there_are_is_refused_with_their_number(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(Invalid, match="This machine has 2 GPUs; the run asks for 3"), launch.started(spec(tiny, tmp_path, devices=3, device="auto")):
        pass
    with pytest.raises(Invalid, match="names a single device"), launch.started(spec(tiny, tmp_path, devices=2, device="cuda:1")):
        pass


def test_an_encoder_decoder_is_not_cut(translator: Path) -> None:
    with pytest.raises(Invalid, match="encoder-decoder"):
        load(translator, device="cpu", pieces=2)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_gpus_train_as_one_does(tiny: Path, tmp_path: Path, sharding: str) -> None:
    alone, together = NullReporter(), NullReporter()
    train(spec(tiny, tmp_path / "one", "full", device="cuda"), alone)
    train(spec(tiny, tmp_path / "two", "full", device="cuda", devices=2, sharding=sharding), together)
    assert together.points("loss") == pytest.approx(alone.points("loss"), rel=2e-2)  # bfloat16
