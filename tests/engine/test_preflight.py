"""A step that does not fit ends in a change that was tried and does; the failures are real ones of the real allocator."""

import json
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch

from app.domain.methods import METHODS
from app.domain.shape import PASS_TOKENS
from app.errors import Invalid
from tests.engine.conftest import toy_spec
from worker.engine import finder, memory
from worker.engine.batches import Example, size
from worker.engine.forward import Savings
from worker.engine.load import load, shape
from worker.engine.methods import METHODS as PREPARE
from worker.engine.preflight import Known, Measured, hardest_step, measure, planned, preflight
from worker.engine.ranks import Ranks
from worker.engine.reporting import NullReporter
from worker.engine.train import train

CPU = torch.device("cpu")
MEGABYTES = 70
"""Well within what 8 examples at once take (16 fit into 90 now and then, 8 into 60 always): at the border the same step fits once and does not the next time."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts a process's memory on Linux only")

STARVED = """
import json, resource, sys
from pathlib import Path
import torch
from app.errors import Invalid
from tests.engine.conftest import toy_spec
from worker.engine.memory import _status
from worker.engine.reporting import NullReporter
from worker.engine.train import train

base, folder, megabytes, method, changes = json.loads(sys.argv[1])

class Starving(NullReporter):
    def phase(self, name, total=None):
        super().phase(name, total)
        if name == "preflight":
            limit = _status("VmData") + megabytes * 1_000_000
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

rows = [({"input": f"{number} good " * 200}, "positive") for number in range(64)]  # no start that all share
reporter = Starving()
try:
    train(toy_spec(Path(base), Path(folder), method, train=rows, validation=[], **changes), reporter)
    print(json.dumps({"fits": True}))
except Invalid as error:
    print(json.dumps(error.as_dict() | {"lines": reporter.lines}))
"""


def starve(base: Path, folder: Path, megabytes: int, method: str = "lora", **changes: Any) -> dict[str, Any]:
    """How a run of 64 examples of 400 tokens ends with so much memory beyond what it had when its preflight began."""
    large = {"max_steps": 1, "accumulation": 1, "batch_size": 64, "max_length": 400, "fit": "cut_head"}
    given = json.dumps([str(base), str(folder), megabytes, method, large | changes])
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", STARVED, given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.faults
@linux
def test_too_large_a_step_is_an_error_with_a_change_that_fits(tiny: Path, tmp_path: Path) -> None:
    told = starve(tiny, tmp_path, MEGABYTES)
    assert told["code"] == "out_of_memory", told
    assert set(told["suggestion"]) == {"accumulation"} and 1 < told["suggestion"]["accumulation"] <= 64
    assert told["peak_memory_bytes"] > 1e7 and told["seconds_per_step"] > 0
    words = f"accumulation {told['suggestion']['accumulation']}"
    assert f"With {words} it does" in told["message"] and told["advice"] == f"Start it with {words}."
    assert told["lines"][-1].startswith(f"Tried {words}") and told["lines"][-1].endswith(" fits.")
    assert starve(tiny, tmp_path / "again", MEGABYTES, **told["suggestion"]) == {"fits": True}
    assert not (tmp_path / "artefact").exists()


@pytest.mark.faults
@linux
def test_what_fits_in_no_way_says_what_the_smallest_was(tiny: Path, tmp_path: Path) -> None:
    told = starve(tiny, tmp_path, 20, "p_tuning", init="random", encoder_size=2048)  # its gradients and moments alone take 50 MB
    assert told["code"] == "out_of_memory" and "suggestion" not in told
    assert told["tried"].startswith("1 example of up to ") and told["tried"] in told["message"]


@pytest.fixture
def examples() -> list[Example]:
    return [Example(tuple(range(5, 5 + 20 * (number + 1))), (5, 6)) for number in range(8)]


def bounded(monkeypatch: pytest.MonkeyPatch, most: int, *, recomputing: int | None = None) -> list[int]:
    """A device that holds so many padded tokens at once, and more when activations are recomputed; the sizes it was asked for."""
    asked: list[int] = []

    def limited(model: Any, parts: Any, pad: int, savings: Savings) -> Measured:
        largest = max(map(size, parts))
        asked.append(largest)
        if largest > (recomputing if recomputing and model.is_activation_checkpointing else most):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Measured(0.5, largest, 1_000_000)

    monkeypatch.setattr("worker.engine.preflight.measure", limited)
    return asked


def refused(model: Any, examples: list[Example], lines: list[str], **parameters: object) -> Invalid:
    chosen = METHODS["full"].model_validate({"batch_size": 4, "max_length": 512, "epochs": 1, **parameters})
    with pytest.raises(Invalid) as error:
        preflight(model, examples, 0, chosen, lines.append, lambda: None)
    return error.value


def test_the_changes_are_tried_in_the_order_of_what_they_cost(tiny: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    model, lines = load(tiny, device="cpu").model, list[str]()
    asked = bounded(monkeypatch, most=50, recomputing=100)
    error = refused(model, examples, lines)
    assert error.detail["suggestion"] == {"accumulation": 4, "checkpointing": True, "max_length": 81, "fit": "cut_tail"}
    assert asked == [4 * 162, 2 * 162, 162, 162, 81]
    assert "With accumulation 4, max length 81, inputs cut to it and activation checkpointing it does" in error.message
    assert len(lines) == 5


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("accumulation", [None, 1, 2])
def test_no_pass_of_a_run_is_larger_than_the_hardest_steps(
    examples: list[Example], accumulation: int | None, pack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PASS_TOKENS, "cpu", 150)
    chosen = METHODS["lora"].model_validate({"batch_size": 3, "accumulation": accumulation, "max_length": 100})
    savings = Savings(pack=pack)
    parts = hardest_step(examples, chosen, 3, CPU, savings)
    run = [[examples[index].within(100) for index in part] for step in planned(examples, chosen, 3, CPU, savings) for part in step]
    sizes = partial(size, pack=pack)
    assert max(map(sizes, parts)) == max(map(sizes, run)) and parts[0] in run
    assert all(example.answer == (5, 6) for part in parts for example in part)
    if accumulation is None:
        assert max(sum(map(len, part)) if pack else size(part) for part in parts) <= 150
    else:
        assert len(parts) == accumulation


def test_the_hardest_step_is_the_one_of_most_bytes_not_of_most_tokens(tiny: Path) -> None:
    worded = replace(shape(tiny), vocabulary=50_000)
    chosen = METHODS["lora"].model_validate({"batch_size": 1})
    read, written = Example(tuple(range(5, 305)), (5, 6)), Example((5, 6), tuple(range(5, 65)))
    rows = [Example((5, 6), (7,)), read, written]
    assert hardest_step(rows, chosen, 3, CPU) == hardest_step(rows, chosen, 3, CPU, known=Known.of(shape(tiny), chosen)) == [[read]]
    assert hardest_step(rows, chosen, 3, CPU, known=Known.of(worded, chosen)) == [[written]], (
        "whose logits hold more than the activations of five times the tokens"
    )


def test_where_it_is_not_known_what_is_adapted_steps_are_compared_by_tokens(tiny: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = METHODS["lora"].model_validate({"targets": "attention", "batch_size": 1, "epochs": 1})
    strange, asked = replace(shape(tiny), attention=()), bounded(monkeypatch, 1000)
    assert Known.of(strange, chosen) is None
    preflight(load(tiny, device="cpu").model, examples, 0, chosen, lambda _: None, lambda: None, shape=strange)
    assert asked == [162], "the longest example, and no refusal"


@pytest.mark.parametrize(("device", "peak"), [("cpu", 5_000_000), ("cuda:0", 3_000_000)])
def test_a_step_of_several_ranks_takes_what_the_slowest_and_the_fullest_take(
    tiny: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch, device: str, peak: int
) -> None:
    """Rank 0 has the lightest parts. A processor holds what all of its processes hold, a GPU what its own does."""

    class First(Ranks):
        def exchange(self, *figures: float) -> list[tuple[float, ...]]:
            return [figures, (0.9, 400, 3_000_000, 0.1)]

    monkeypatch.setattr("worker.engine.preflight.measure", lambda *_: Measured(0.5, 300, 2_000_000, 0.2))
    chosen = METHODS["lora"].model_validate({"batch_size": 2, "devices": 2})
    measured = preflight(load(tiny, device="cpu").model, examples, 0, chosen, lambda _: None, lambda: None, ranks=First(0, 2, device))
    assert measured == Measured(0.9, 400, peak, 0.2)


@linux
def test_the_buckets_of_several_ranks_are_held_while_a_step_is_measured(tiny: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    class First(Ranks):
        def exchange(self, *figures: float) -> list[tuple[float, ...]]:
            return [figures] * self.world

    def held(ranks: Ranks) -> int:
        with monkeypatch.context() as patch:
            patch.setattr("worker.engine.preflight.measure", lambda *_: Measured(0.5, 100, memory._status("VmData") or 0))
            return preflight(model, examples, 0, chosen, lambda _: None, lambda: None, ranks=ranks).peak_memory_bytes

    model, chosen = load(tiny, device="cpu").model, METHODS["full"].model_validate({"batch_size": 4, "devices": 2})
    model.large = torch.nn.Parameter(torch.zeros(25_000_000))
    assert held(First(0, 2, "cuda:0")) - held(Ranks()) == pytest.approx(100_000_000, rel=0.05)


def test_ranks_try_together_and_what_one_cannot_hold_does_not_fit(tiny: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks as two threads, the second on a smaller device."""
    meeting = Barrier(2)
    said: list[tuple[float, ...]] = [(), ()]

    class Rank(Ranks):
        def exchange(self, *figures: float) -> list[tuple[float, ...]]:
            said[self.rank] = figures
            meeting.wait(30)
            heard = list(said)
            meeting.wait(30)
            return heard

    def limited(model: Any, parts: Any, pad: int, savings: Savings) -> Measured:
        largest, most = max(map(size, parts)), 200 if model is models[0] else 100
        if largest > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Measured(0.5, largest, 1_000_000)

    def run(rank: int) -> dict[str, Any]:
        with pytest.raises(Invalid) as error:
            preflight(models[rank], examples, 0, chosen, lines[rank].append, lambda: None, ranks=Rank(rank, 2))
        return error.value.detail

    monkeypatch.setattr("worker.engine.preflight.measure", limited)
    models, lines = [load(tiny, device="cpu").model for _ in range(2)], ([], [])  # type: ignore[var-annotated]
    chosen = METHODS["full"].model_validate({"batch_size": 8, "accumulation": 1, "max_length": 512, "devices": 2})
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    assert first == second and set(first["suggestion"]) == {"accumulation", "checkpointing", "max_length", "fit"}
    assert lines[0] == lines[1] and lines[0][-1].endswith(" fits.")


@pytest.mark.faults
@linux
def test_too_large_a_step_of_a_pair_is_an_error_with_a_change_that_fits(tiny: Path, tmp_path: Path) -> None:
    told = starve(tiny, tmp_path, MEGABYTES, devices=2)
    assert told["code"] == "out_of_memory" and set(told["suggestion"]) == {"accumulation"}, told
    assert told["lines"][-1].startswith("Tried accumulation ") and told["lines"][-1].endswith(" fits.")


@pytest.mark.faults
def test_memory_that_runs_out_before_the_step_is_told(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setitem(PREPARE, "lora", full)
    with pytest.raises(Invalid, match="Preparing the model ran out of memory; at its peak") as error:
        train(toy_spec(tiny, tmp_path), NullReporter())
    assert error.value.code == "out_of_memory" and "trains less of the model" in error.value.advice


@pytest.mark.faults
@linux
def test_a_rate_test_runs_under_the_cap_and_tells_what_it_held(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: Any) -> Any:
        torch.empty(2 * memory.available(), dtype=torch.uint8)

    monkeypatch.setattr(finder, "measure", greedy)
    with pytest.raises(Invalid, match="The learning-rate test ran out of memory; at its peak") as error:
        train(toy_spec(tiny, tmp_path, find_rate=True), NullReporter())
    assert error.value.code == "out_of_memory" and "Give a learning rate" in error.value.advice


@linux
def test_what_a_rate_test_holds_beside_the_step_is_measured_too(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copies(*_: Any) -> list[tuple[float, float]]:
        torch.ones(50_000_000)
        return [(10**-at, float(at)) for at in range(20, 0, -1)]

    monkeypatch.setattr(finder, "measure", copies)
    reporter, plain = NullReporter(), NullReporter()
    train(toy_spec(tiny, tmp_path / "plain", max_steps=1), plain)
    train(toy_spec(tiny, tmp_path / "found", max_steps=1, find_rate=True), reporter)
    assert (reporter.peak or 0) > (plain.peak or 0) + 150_000_000


@pytest.mark.faults
def test_another_error_is_no_lack_of_memory(tiny: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Measured:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("worker.engine.preflight.measure", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        preflight(load(tiny, device="cpu").model, examples, 0, METHODS["full"](), lambda _: None, lambda: None)


def test_the_optimiser_has_its_moments_before_the_step(tiny: Path, tmp_path: Path, examples: list[Example]) -> None:
    model = load(tiny, device="cpu").model.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measured = measure(model, [examples], 0)
    assert measured.tokens == size(examples) == 8 * 162
    assert 0 < measured.update_seconds <= measured.seconds_per_step / 2
    assert measured.seconds(10, 10 * measured.tokens) == pytest.approx(10 * measured.seconds_per_step)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@linux
def test_the_cap_is_what_is_available_and_goes_again() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory.capped(CPU):
        soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
        assert 0 < soft <= (memory._status("VmData") or 0) + memory.available()
        with pytest.raises(RuntimeError, match="allocate memory") as error:
            torch.empty(memory.available() * 2, dtype=torch.uint8)
        assert memory.is_out_of_memory(error.value)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@linux
def test_processes_that_share_a_processor_share_what_is_available() -> None:
    held = memory._status("VmData") or 0
    with memory.capped(CPU, 4):
        soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    assert soft - held < memory.available() / 3


@linux
def test_the_peak_is_counted_anew() -> None:
    memory.save_memory(METHODS["full"].model_validate({"accumulation": 2}))
    memory.forget_peak(CPU)
    low = memory.peak_memory(CPU)
    block = torch.ones(25_000_000)
    assert memory.peak_memory(CPU) > low + 90_000_000
    del block
    memory.forget_peak(CPU)
    assert memory.peak_memory(CPU) < low + 50_000_000


def test_a_run_says_what_it_measured(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    result = train(toy_spec(tiny, tmp_path, max_steps=2), reporter)
    assert any("Longest step: " in line for line in reporter.lines) and result.peak_memory_bytes > 1 << 20
