"""What a run that was stopped or killed must not have forgotten: whether it is over, its best moment, the losses it has not reported."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.errors import Invalid
from tests.engine.conftest import toy_spec
from tests.engine.test_checkpoint import harmed
from tests.engine.test_train import same_bits
from worker.engine.loop import Loop
from worker.engine.methods import METHODS, full
from worker.engine.reporting import NullReporter, Paused, Stopped
from worker.engine.run_state import saved_state
from worker.engine.spec import TrainSpec
from worker.engine.train import TrainResult, train

pytestmark = pytest.mark.faults


class After(NullReporter):
    """Does something when the checkpoint of a step is on disk."""

    def __init__(self, step: int, then: Callable[[], None]) -> None:
        super().__init__()
        self.at, self.then = step, then

    def checkpoint(self, folder: Path, step: int, manifest_sha256: str) -> None:
        super().checkpoint(folder, step, manifest_sha256)
        if step == self.at:
            self.then()


class Killed(Exception):
    """Ends a run as nothing in it can foresee."""


def die() -> None:
    raise Killed


# Over is over.


def weary(base: Path, folder: Path, **changes: object) -> TrainSpec:
    """A run that soon runs out of patience, validated and saved after every step."""
    recipe: dict[str, Any] = {"max_steps": 12, "evaluations": 12, "early_stopping": 1, "learning_rate": 0.3, "checkpoint_seconds": 0.0, **changes}
    return toy_spec(base, folder, **recipe)


@pytest.fixture(scope="module")
def ended(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, NullReporter]:
    reporter = NullReporter()
    result = train(weary(tiny, tmp_path_factory.mktemp("ended")), reporter)
    assert 1 < result.steps < 12
    return result, reporter


def over(base: Path, folder: Path, ended: tuple[TrainResult, NullReporter], first: NullReporter) -> None:
    """The next attempt ends where the uninterrupted run did, with what it had."""
    second = NullReporter()
    result = train(weary(base, folder, resume=True), second)
    for name in ("loss", "validation_loss", "validation_accuracy"):
        assert first.points(name) | second.points(name) == ended[1].points(name)
    assert (result.steps, result.best_step) == (ended[0].steps, ended[0].best_step)
    assert same_bits(result.artefact, ended[0].artefact)


def test_a_run_that_is_killed_behind_its_last_validation_makes_no_step_more(tiny: Path, tmp_path: Path, ended: tuple[TrainResult, NullReporter]) -> None:
    first = After(ended[0].steps, die)
    with pytest.raises(Killed):
        train(weary(tiny, tmp_path), first)
    over(tiny, tmp_path, ended, first)


def test_a_run_that_is_stopped_in_its_last_validation_makes_no_step_more(tiny: Path, tmp_path: Path, ended: tuple[TrainResult, NullReporter]) -> None:
    class Impatient(NullReporter):
        def should_stop(self) -> bool:
            return sum(name == "evaluate" for name, _ in self.phases) > ended[0].steps  # the first one measures the untuned model

    first = Impatient()
    with pytest.raises(Stopped) as stopped:
        train(weary(tiny, tmp_path), first)
    assert stopped.value.checkpoint == tmp_path / f"checkpoint-{ended[0].steps}"
    over(tiny, tmp_path, ended, first)


def test_a_trial_that_runs_out_of_patience_at_its_pause_makes_no_step_more(tiny: Path, tmp_path: Path, ended: tuple[TrainResult, NullReporter]) -> None:
    first = NullReporter()
    with pytest.raises(Paused):
        train(weary(tiny, tmp_path, pause_at=ended[0].steps), first)
    over(tiny, tmp_path, ended, first)


def test_a_stop_while_the_untuned_model_is_measured_makes_no_step(tiny: Path, tmp_path: Path) -> None:
    class Impatient(NullReporter):
        def should_stop(self) -> bool:
            return any(name == "evaluate" for name, _ in self.phases)

    reporter = Impatient()
    with pytest.raises(Stopped) as stopped:
        train(toy_spec(tiny, tmp_path), reporter)
    assert stopped.value.checkpoint is None and not reporter.steps


# The curve.


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_the_curve_of_a_long_run_goes_on_as_if_it_had_not_stopped(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    monkeypatch.setattr("worker.engine.pace.POINTS", 3)  # of 12 steps: the mean of every four is reported
    control, second = NullReporter(), NullReporter()
    train(toy_spec(tiny, tmp_path / "whole", validation=[]), control)
    first = After(stop, die)
    with pytest.raises(Killed):
        train(toy_spec(tiny, tmp_path / "halves", validation=[], checkpoint_seconds=0.0), first)
    train(toy_spec(tiny, tmp_path / "halves", validation=[], resume=True), second)
    assert list(control.points("loss")) == [1, 4, 8, 12]
    for name in ("loss", "grad_norm", "learning_rate"):
        assert first.points(name) | second.points(name) == control.points(name)


def test_another_number_of_threads_is_said(tiny: Path, tmp_path: Path) -> None:
    first, second, third = NullReporter(stop_after=2), NullReporter(stop_after=4), NullReporter()
    with pytest.raises(Stopped):
        train(toy_spec(tiny, tmp_path), first)
    try:
        with pytest.raises(Stopped) as stopped:
            train(toy_spec(tiny, tmp_path, resume=True, threads=2), second)
        assert stopped.value.checkpoint and saved_state(stopped.value.checkpoint).threads == 1, "with which it began"
        train(toy_spec(tiny, tmp_path, resume=True, threads=2), third)
    finally:
        torch.set_num_threads(1)
    for reporter in (second, third):
        assert [line for line in reporter.lines if "threads" in line] == [
            "Goes on with 2 processor threads, and the run began with 1: the result is that of an uninterrupted run but for rounding, not bit for bit."
        ]


@pytest.mark.parametrize("cores", [1, 4])
def test_a_run_goes_on_with_the_threads_it_began_with_where_there_are_as_many(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr("worker.engine.train.cores", lambda: list(range(cores)))
    first, second = NullReporter(stop_after=2), NullReporter()
    try:
        with pytest.raises(Stopped):
            train(toy_spec(tiny, tmp_path, threads=2), first)
        torch.set_num_threads(1)
        assert train(toy_spec(tiny, tmp_path, resume=True, threads=None), second).threads == (2 if cores == 4 else 1)
    finally:
        torch.set_num_threads(1)
    assert any("Goes on with 1 processor thread, and the run began with 2" in line for line in second.lines) == (cores == 1)


# The best moment.


@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_a_checkpoint_whose_best_moment_is_lost_is_not_gone_on_from(tiny: Path, tmp_path: Path, harm: str) -> None:
    whole = train(toy_spec(tiny, tmp_path / "whole"), NullReporter())
    first, second = NullReporter(stop_after=9), NullReporter()
    with pytest.raises(Stopped):
        train(toy_spec(tiny, tmp_path / "halves"), first)
    harmed(next((tmp_path / "halves").glob("best-*/trainable.safetensors")), harm)
    result = train(toy_spec(tiny, tmp_path / "halves", resume=True), second)
    assert any("Passed over" in line and "the best moment of checkpoint-10 is lost" in line for line in second.lines)
    assert min(second.points("loss")) == 1 and same_bits(result.artefact, whole.artefact)


@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_a_best_moment_that_is_lost_before_the_end_is_said_and_mended_by_a_retry(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    whole = train(toy_spec(tiny, tmp_path / "whole"), NullReporter())
    spec = toy_spec(tiny, tmp_path / "run", checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        run = Loop.run

        def losing(loop: Loop, point: Path | None) -> Any:
            state = run(loop, point)
            harmed(spec.folder / f"best-{state.best_step}" / "trainable.safetensors", harm)
            return state

        patch.setattr(Loop, "run", losing)
        with pytest.raises(Invalid) as lost:
            train(spec, NullReporter())
    assert lost.value.code == "best_moment_damaged" and f"best-{whole.best_step}" in lost.value.message
    assert same_bits(train(replace(spec, resume=True), NullReporter()).artefact, whole.artefact)


def test_a_run_none_of_whose_checkpoints_is_intact_begins_anew(tiny: Path, tmp_path: Path) -> None:
    spec = toy_spec(tiny, tmp_path, checkpoint_seconds=0.0, max_steps=6, validation=[])
    first, second = After(5, die), NullReporter()
    with pytest.raises(Killed):
        train(spec, first)
    for step in (4, 5):
        harmed(tmp_path / f"checkpoint-{step}" / "optimizer.pt", "flip")
    train(replace(spec, resume=True), second)
    assert list(second.points("loss")) == [1, 2, 3, 4, 5, 6] and [step for _, step, _ in second.checkpoints] == [1, 2, 3, 4, 5]


# Gradients.


def test_a_gradient_that_is_not_finite_ends_the_run_before_it_reaches_a_weight(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is a number can have one; the step that it would have spoiled is named, and the last checkpoint is sound."""
    reporter = NullReporter()

    def prepare(model: Any, parameters: Any, opening: list[int]) -> Any:
        made = full.prepare(model, parameters, opening)
        spoils = lambda gradient: gradient * torch.inf if len(reporter.points("loss")) == 2 else gradient  # noqa: E731
        next(tensor for tensor in made.parameters() if tensor.requires_grad).register_hook(spoils)
        return made

    monkeypatch.setitem(METHODS, "full", prepare)
    with pytest.raises(Invalid) as broken:
        train(toy_spec(tiny, tmp_path, "full", validation=[], learning_rate=5e-3, checkpoint_seconds=0.0), reporter)
    assert (broken.value.code, broken.value.detail) == ("gradient_norm_not_finite", {"step": 3})
    assert list(reporter.points("loss")) == [1, 2]
    assert [step for _, step, _ in reporter.checkpoints] == [1, 2]
    tensors = load_file(tmp_path / "checkpoint-2" / "trainable.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
