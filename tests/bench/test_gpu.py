"""bench.gpu: its short form on a processor is the real thing, it needs few packages, and what it counts is what it says."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.domain.rendering import render
from app.errors import Invalid
from bench import gpu
from bench.gpu import RANK, SHAPES, Results, flops, peak
from bench.runs import gpu_fettle
from tests.house.rules import ROOT
from worker.engine.encode import encode_pair

NEEDED = ("accelerate", "peft", "transformers", "safetensors", "tokenizers", "pydantic", "jinja2", "torch")

HIDING = """
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from packaging.requirements import Requirement

def closure(names):
    found, ahead = set(), list(names)
    while ahead:
        name = ahead.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        try:
            wanted = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            continue
        ahead += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found

kept = closure(sys.argv[1:])
hidden = {top for top, owners in packages_distributions().items() if not kept & {owner.lower().replace("_", "-") for owner in owners}} - {"app", "worker"}

class Without:
    def __init__(self, finders):
        self.finders = finders
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            return None
        return next((spec for finder in self.finders if (spec := finder.find_spec(name, path, target))), None)
    def find_distributions(self, context):
        return [found for finder in self.finders if hasattr(finder, "find_distributions") for found in finder.find_distributions(context)]

assert not hidden & set(sys.modules), hidden & set(sys.modules)
sys.meta_path[:] = [Without(list(sys.meta_path))]
assert {"sqlalchemy", "celery", "msgspec", "structlog", "scipy", "pydantic_settings"} <= hidden
import bench.gpu, bench.runs.gpu_fettle, bench.runs.gpu_measure, worker.engine.train
sys.path.insert(0, "bench/runs")
import gpu_model, gpu_trainer
assert not hidden & {name.partition(".")[0] for name in sys.modules}
"""
"""Imports everything of bench.gpu but TRL's side with every package hidden that the named ones do not require."""


def command(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["--shapes", "tiny", "--device", "cpu", "--length", "24", "--steps", "6", "--batch", "2", "--folder", str(folder), *more]
    return subprocess.run(
        [sys.executable, "-m", "bench.gpu", *words, "--results", str(folder / "results.json")], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(the folder of a short call, what it printed)"""
    folder = tmp_path_factory.mktemp("gpu")
    done = command(folder, "--methods", "lora", "--sides", "fettle", "trainer", "--keep", "--peak", "1e12")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_short_form_prints_one_table(measured: tuple[Path, str]) -> None:
    lines = measured[1].splitlines()
    table = [line for line in lines if line.startswith("| tiny")]
    assert [line.split(" | ")[2:5] for line in table] == [["lora", "fettle", "2"], ["lora", "trainer", "2"]]
    assert all(re.search(r"\| \d+ \| \d+\.\d\d \| \d+\.\d % \| \d+\.\d \|$", line) for line in table)
    assert re.search(r"^processor, length 24, 6 steps; torch \d.*peft \d.*fettle ", lines[-1])


def test_both_sides_train_on_the_same_rows(measured: tuple[Path, str]) -> None:
    results = json.loads((measured[0] / "results.json").read_text())
    sides = [results[f"processor/length 24, 6 steps/tiny/lora/{side}/2"] for side in ("fettle", "trainer")]
    sizes = {len(prompt) + len(answer) + 1 for prompt, answer in gpu.rows(12, 24)}
    for side in sides:
        assert len(side["timed"]) == 2 * (6 - gpu.WARM)
        assert {size for size, _ in side["timed"]} <= sizes
        assert all(12 <= size <= 24 and answer == size - (size - 1) // 2 for size, answer in side["timed"])
        assert side["seconds"] > 0
        assert side["peak_memory_bytes"] > 1e8


def test_a_broken_off_call_goes_on_and_a_result_that_says_no_is_shown(measured: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_bytes((measured[0] / "results.json").read_bytes())
    Results(file, "processor/length 24, 6 steps").put("tiny/full/trainer/2", {"fits": False})
    Results(file, "processor/length 24, 6 steps").put("tiny/full/fettle/2", {"fits": False})
    words = ["--shapes", "tiny", "--device", "cpu", "--length", "24", "--steps", "6", "--batch", "2", "--sides", "fettle", "trainer"]
    assert gpu.main([*words, "--folder", str(tmp_path / "none"), "--results", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("does not fit") == 2
    assert printed.count("peak unknown") == 2
    assert not (tmp_path / "none").exists()


def test_a_run_that_breaks_is_reported_with_its_words_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tokenizer.json").touch()
    monkeypatch.setattr(gpu, "interpreter", lambda side: sys.executable if side == "trainer" else None)
    words = ["--shapes", "tiny", "--device", "cpu", "--sides", "trl", "trainer", "--methods", "full", "--folder", str(tmp_path)]
    monkeypatch.setattr(gpu, "RUNS", tmp_path)
    (tmp_path / "gpu_trainer.py").write_text("raise ValueError('the weights are odd')")
    assert gpu.main([*words, "--results", str(tmp_path / "r.json")]) == 1
    printed = capsys.readouterr().out
    assert "tiny/full/trl/4: trl is not installed here; left out" in printed
    assert "| failed: ValueError: the weights are odd |" in printed
    assert not (tmp_path / "tiny").exists()
    assert gpu.main([*words, "--results", str(tmp_path / "r.json")]) == 1
    assert "tiny/full/trainer/4: the model could not be made: " in capsys.readouterr().out


@pytest.mark.parametrize("error", [Invalid("out_of_memory", "It does not fit.", "Less."), RuntimeError("CUDA out of memory.")])
def test_too_little_memory_is_an_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, error: Exception) -> None:
    assert run_ours(monkeypatch, tmp_path, error) == 0
    assert json.loads(capsys.readouterr().out) == {"fits": False}


def test_any_other_error_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        run_ours(monkeypatch, tmp_path, Invalid("loss_not_finite", "The loss is not finite.", "Look."))


def run_ours(monkeypatch: pytest.MonkeyPatch, folder: Path, error: Exception) -> int:
    """Our side's run in this process with a train() that raises; its exit status."""

    def broken(*arguments: Any) -> None:
        raise error

    class Ended(BaseException):
        pass

    def end(status: int) -> None:
        raise Ended(status)

    job = {"device": "cpu", "warm": 1, "steps": 2, "batch_size": 2, "method": "full", "model": str(folder), "folder": str(folder / "run"), "rows": [[[1], [2]]]}
    (folder / "job.json").write_text(json.dumps(job))
    monkeypatch.setattr(sys, "argv", ["gpu_fettle.py", str(folder / "job.json")])
    monkeypatch.setattr(gpu_fettle, "train", broken)
    monkeypatch.setattr("os._exit", end)
    with pytest.raises(Ended) as ended:
        gpu_fettle.main()
    return int(ended.value.args[0])


def test_the_model_has_the_weights_that_are_counted_and_a_word_is_a_token(measured: tuple[Path, str]) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(measured[0] / "tiny"), AutoTokenizer.from_pretrained(measured[0] / "tiny")
    assert sum(tensor.numel() for tensor in model.parameters()) == SHAPES["tiny"].parameters
    prompt, answer = gpu.rows(1, 24)[0]
    spec = gpu_fettle.spec({"folder": "none", "model": ".", "steps": 1, "batch_size": 1, "method": "full", "device": "cpu", "rows": [(prompt, answer)]})
    assert encode_pair(tokenizer, render(spec.template, *spec.train[0])) == (prompt, [*answer, tokenizer.eos_token_id])


def test_flops_are_palms() -> None:
    shape = SHAPES["tiny"]
    body, head = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128), 512 * 64
    adapter = 2 * RANK * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128))
    attention = 12 * 2 * 4 * 16 * (10 * 10 + 20 * 20)
    assert flops(shape, "full", [(10, 5), (20, 8)]) == 6 * body * 30 + 6 * head * 13 + attention
    assert flops(shape, "lora", [(10, 5), (20, 8)]) == 4 * body * 30 + 4 * head * 13 + 6 * adapter * 30 + attention


@pytest.mark.parametrize(("name", "billions"), [("0.5b", 0.49), ("1b", 1.24), ("3b", 3.21), ("8b", 8.03)])
def test_shapes_have_the_sizes_their_models_have(name: str, billions: float) -> None:
    assert SHAPES[name].parameters / 1e9 == pytest.approx(billions, abs=0.01)


def test_the_peak_is_that_of_the_whole_device() -> None:
    assert peak("NVIDIA H100 80GB HBM3") == 989e12
    assert peak("NVIDIA H100 PCIe") == 756e12
    assert peak("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    assert peak("Some other card") is None


def test_without_a_gpu_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.main([]) == 0
    assert "There is no CUDA device here" in capsys.readouterr().out


def test_too_few_steps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--steps", str(gpu.WARM)])
    assert "so many are not timed" in capsys.readouterr().err


def test_it_needs_no_other_packages_than_it_names() -> None:
    assert all(name in " ".join((gpu.__doc__ or "").split()) for name in NEEDED)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", HIDING, *NEEDED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
