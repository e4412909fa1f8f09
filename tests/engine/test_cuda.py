"""On a GPU: what holds on a processor holds there as well, and what only a GPU can do is done. `pytest -m gpu` runs these where there is one."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.domain.generation import Parameters
from app.domain.methods import METHODS
from app.domain.rendering import Rendered, Shot, Template, render
from app.errors import Invalid
from tests.engine.conftest import toy_rows, toy_spec
from tests.engine.test_methods import ASKING, BARE, NAMES, RATES, VARIANTS
from tests.engine.test_serve import ask, request
from worker.engine.generate import complete, prepare
from worker.engine.load import Loaded, load
from worker.engine.memory import release
from worker.engine.reporting import NullReporter, Stopped
from worker.engine.score import score_labels
from worker.engine.serve import Scheduler
from worker.engine.train import TrainResult, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

LABELS = (" positive", " negative", " not good", " not bad at all")
EXACT = {"precision": "float32"}

BEGUN = {"tiny": 1e-3, "translator": 2e-2}
"""How far the first losses may lie apart, by model. T5 does not scale its scores of attention, and the translator's weights are large: what a GPU rounds
otherwise moved the first loss of a prefix by 1.6 % on an H100."""


@pytest.fixture(params=["decoder", "translator"])
def base(request: pytest.FixtureRequest, tiny: Path, translator: Path) -> Path:
    return tiny if request.param == "decoder" else translator


@pytest.fixture(scope="module")
def on_gpu(tiny: Path) -> Loaded:
    return load(tiny, device="cuda", exact=True)


def tuned(base: Path, folder: Path, method: str, **values: Any) -> tuple[NullReporter, TrainResult]:
    own = {"dropout": 0.0} if method == "lora" else {}  # the devices draw differently
    reporter = NullReporter()
    given = {"device": "cuda", "learning_rate": RATES[method], "template": BARE, "opening": ASKING, **own, **values}
    return reporter, train(toy_spec(base, folder, method, **given), reporter)


def prompts(count: int, shots: int = 3) -> list[Rendered]:
    examples = tuple(Shot(values["input"], answer) for values, answer in toy_rows(shots))
    return [render(Template(instruction="Judge it.", shots=examples), values) for values, _ in toy_rows(count)]


def writes(loaded: Loaded, **parameters: object) -> list[str]:
    chosen = Parameters.model_validate({"max_tokens": 12, "min_tokens": 12, "stop": [], **parameters})
    return [one.text for one in complete(loaded, [prepare(loaded, prompt, chosen) for prompt in prompts(9)])]


@pytest.mark.parametrize(("method", "values"), VARIANTS, ids=NAMES)
def test_a_run_in_float32_is_the_processors(base: Path, tmp_path: Path, method: str, values: dict[str, object]) -> None:
    here, result = tuned(base, tmp_path / "gpu", method, **EXACT, **values)
    there, _ = tuned(base, tmp_path / "cpu", method, device="cpu", **EXACT, **values)
    if values.get("init") not in ("random", "small", "vocabulary") and not values.get("projection") and method != "p_tuning":  # these draw where they start
        begun = [[reporter.points("loss")[step] for step in (1, 2)] for reporter in (here, there)]
        assert begun[0] == pytest.approx(begun[1], rel=BEGUN[base.name]), "after that, steps as long as these make much of what is rounded otherwise"
    assert result.device == "cuda" and result.peak_memory_bytes > 0
    sums = []
    for device in ("cuda", "cpu"):
        tuned_there = load(base, adapter=result.artefact, device=device, exact=True) if method != "full" else load(result.artefact, device=device, exact=True)
        sums.append(score_labels(tuned_there, prompts(9), LABELS).sums)
    np.testing.assert_allclose(sums[0], sums[1], atol=1e-2, rtol=1e-3 if base.name == "translator" else 0)


@pytest.mark.parametrize(("method", "values"), VARIANTS, ids=NAMES)
def test_a_run_in_bfloat16_learns(base: Path, tmp_path: Path, method: str, values: dict[str, object]) -> None:
    reporter, result = tuned(base, tmp_path, method, max_steps=24, **values)
    losses = list(reporter.points("loss").values())
    assert np.isfinite(losses).all() and np.mean(losses[-4:]) < np.mean(losses[:4])
    assert result.best_value is not None and reporter.peak


@pytest.mark.parametrize("method", list(METHODS))
def test_a_stopped_run_goes_on_where_it_was(base: Path, tmp_path: Path, method: str) -> None:
    control, _ = tuned(base, tmp_path / "whole", method, **EXACT)
    first, second = NullReporter(stop_after=5), NullReporter()
    given: dict[str, Any] = {"device": "cuda", "learning_rate": RATES[method], "template": BARE, "opening": ASKING, **EXACT}
    given |= {"dropout": 0.0} if method == "lora" else {}
    with pytest.raises(Stopped):
        train(toy_spec(base, tmp_path / "halves", method, **given), first)
    train(toy_spec(base, tmp_path / "halves", method, resume=True, **given), second)
    # Sums over indices are not added in a fixed order on a GPU.
    assert {**first.points("loss"), **second.points("loss")} == pytest.approx(control.points("loss"), rel=1e-3)


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning", "ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("changes", [{"checkpointing": True}, {"accumulation": 4}, {"compile": True}], ids=str)
def test_what_saves_memory_or_time_changes_no_loss(tiny: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    plain, _ = tuned(tiny, tmp_path / "plain", "lora", **EXACT)
    other, _ = tuned(tiny, tmp_path / "other", "lora", **EXACT, **changes)
    assert other.points("loss") == pytest.approx(plain.points("loss"), rel=1e-3)


def test_a_step_that_does_not_fit_ends_in_a_change_that_does(tiny: Path, tmp_path: Path) -> None:
    rows = [({"input": f"{number} good " * 200}, "positive") for number in range(512)]
    large: dict[str, Any] = {"train": rows, "validation": [], "max_steps": 1, "accumulation": 1, "batch_size": 512, "max_length": 400, "fit": "cut_head"}
    tuned(tiny, tmp_path / "small", "lora", max_steps=1)
    release(torch.device("cuda"))
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 600e6) / total)
    try:
        with pytest.raises(Invalid, match="does not fit") as told:
            tuned(tiny, tmp_path / "large", "lora", **large)
        assert told.value.code == "out_of_memory"
        suggestion = told.value.as_dict()["suggestion"]
        assert suggestion["accumulation"] > 1
        release(torch.device("cuda"))
        tuned(tiny, tmp_path / "again", "lora", **large | suggestion)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs bitsandbytes")
def test_four_bits_are_tuned_and_served(tiny: Path, tmp_path: Path) -> None:
    reporter, result = tuned(tiny, tmp_path, "lora", max_steps=24, four_bit=True)
    losses = list(reporter.points("loss").values())
    assert np.isfinite(losses).all() and np.mean(losses[-4:]) < np.mean(losses[:4])
    assert writes(load(tiny, adapter=result.artefact, device="cuda"))


def test_likelihoods_and_answers_are_the_processors(tiny: Path, on_gpu: Loaded) -> None:
    asked, there = prompts(9), load(tiny, device="cpu")
    np.testing.assert_allclose(score_labels(on_gpu, asked, LABELS).sums, score_labels(there, asked, LABELS).sums, atol=1e-3)
    assert writes(on_gpu) == writes(there)
    narrow = load(tiny, device="cuda")
    assert narrow.dtype == torch.bfloat16
    np.testing.assert_allclose(score_labels(narrow, asked, LABELS).sums, score_labels(there, asked, LABELS).sums, atol=1.0)


def test_drawn_answers_repeat_with_their_seed(on_gpu: Loaded) -> None:
    first, second, third = (writes(on_gpu, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert first == second != third


def test_the_scheduler_serves_from_a_gpu(tiny: Path, other: Path) -> None:
    scheduler = Scheduler(1 << 30, device="cuda")
    try:
        listeners = [ask(scheduler, request(folder, text)) for folder in (tiny, other) for text in ("a film", "the plot is good", "bad")]
        assert all(listener.last()["type"] == "done" and listener.text for listener in listeners)
        again = ask(scheduler, request(tiny))
        assert again.last()["type"] == "done" and again.text == listeners[0].text
    finally:
        scheduler.close()
