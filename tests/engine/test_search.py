"""Searches: they find what learns, stop what does not, and go on bit for bit after a stop anywhere."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.domain.search import Search
from app.errors import Invalid
from tests.engine.conftest import toy_spec
from tests.engine.test_train import same_bits
from worker.engine import artefact
from worker.engine import search as searches
from worker.engine.reporting import NullReporter, Paused, Stopped
from worker.engine.search import FILE, search
from worker.engine.train import train

RATES = Search(how="grid", factor=2, space={"learning_rate": [1e-9, 2e-2, 1e-6, 1e-3]})


class Counting(NullReporter):
    """Asks to stop once it was asked itself so many times: a place in the middle of anything."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def should_stop(self) -> bool:
        self.left -= 1
        return self.left < 0


def run(base: Path, folder: Path, chosen: Search = RATES, reporter: NullReporter | None = None, **changes: object) -> Any:
    values: dict[str, Any] = {"max_steps": 24, "evaluations": 2, **changes}
    return search(toy_spec(base, folder, **values), chosen, reporter or NullReporter())


def test_a_paused_run_goes_on_bit_for_bit_and_is_not_trained_twice(tiny: Path, tmp_path: Path) -> None:
    whole, parts = NullReporter(), NullReporter()
    control = train(toy_spec(tiny, tmp_path / "whole"), whole)
    for step in (4, 8):  # where validations are anyway
        for _ in range(2):
            with pytest.raises(Paused) as paused:
                train(toy_spec(tiny, tmp_path / "parts", resume=True, pause_at=step), parts)
            assert paused.value.step == step and set(paused.value.best) == {"validation_accuracy", "validation_macro_f1", "validation_loss"}
    result = train(toy_spec(tiny, tmp_path / "parts", resume=True), parts)
    assert [done for done, _, values, _ in parts.steps if "loss" in values] == list(range(1, 13))
    assert parts.points("loss") == whole.points("loss") and parts.points("learning_rate") == whole.points("learning_rate")
    assert same_bits(control.artefact, result.artefact) and result.best_step == control.best_step


def test_a_stop_at_a_pause_is_validated_by_the_next_attempt(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(toy_spec(tiny, tmp_path, pause_at=5), NullReporter(stop_after=4))
    again = NullReporter()
    with pytest.raises(Paused) as paused:
        train(toy_spec(tiny, tmp_path, resume=True, pause_at=5), again)
    assert paused.value.step == 5 and 5 in again.points("validation_loss")


def test_a_grid_keeps_the_trial_that_learns_and_stops_the_others(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    result = run(tiny, tmp_path, reporter=reporter)
    states = {number: (state, step) for number, (_, state, step, _, _) in reporter.trials.items()}
    assert states[2] == ("won", 24)
    assert sorted(step for number, (state, step) in states.items() if state == "stopped") == [6, 6, 12]
    assert result.steps == 24 and result.parameters["learning_rate"] == 2e-2
    assert result.search == {"how": "grid", "trials": 4, "winner": 2, "chosen": {"learning_rate": 2e-2}}
    assert result.artefact == tmp_path / "artefact" and not list(tmp_path.glob("trial-*"))
    assert reporter.trials[2][3] == result.best_value
    reason = next(reason for _, state, _, _, reason in reporter.trials.values() if state == "stopped")
    assert reason is not None and " against " in reason
    assert set(reporter.points("trial_2/loss")) == set(range(1, 25)) and not reporter.points("loss")
    trained = sum("/loss" in name for _, _, values, _ in reporter.steps for name in values)
    assert trained == 4 * 6 + 2 * 6 + 12, "no step is trained twice"


def test_a_random_search_around_the_usual_rate_needs_no_space(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    run(tiny, tmp_path, Search(how="random", trials=3, seed=4), reporter, max_steps=9, learning_rate=None)
    tried = [parameters for parameters, *_ in reporter.trials.values()]
    assert len(tried) == 3 and all(set(parameters) == {"learning_rate", "rank"} for parameters in tried)
    # 32 wide, so LoRA's usual rate is (576 / 32) ** 0.5 times that of the model it was searched on.
    assert all(2.1e-3 / 6 <= parameters["learning_rate"] <= 2.1e-3 * 6.01 for parameters in tried)


@pytest.mark.parametrize("asked", [1, 17, 40, 66])
def test_a_stop_anywhere_changes_nothing_in_the_result(tiny: Path, tmp_path: Path, asked: int, uninterrupted: tuple[Any, NullReporter]) -> None:
    control, told = uninterrupted
    first, second = Counting(asked), NullReporter()
    with pytest.raises(Stopped):
        run(tiny, tmp_path, reporter=first)
    result = run(tiny, tmp_path, reporter=second, resume=True)
    assert second.trials == told.trials
    for number in range(1, 5):
        for name in (f"trial_{number}/loss", f"trial_{number}/validation_loss"):
            assert first.points(name) | second.points(name) == told.points(name)
    assert same_bits(control.artefact, result.artefact) and result.search == control.search


@pytest.fixture(scope="module")
def uninterrupted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, NullReporter]:
    reporter = NullReporter()
    return run(tiny, tmp_path_factory.mktemp("whole"), reporter=reporter), reporter


def test_a_crash_between_trials_keeps_what_is_finished(tiny: Path, tmp_path: Path, uninterrupted: tuple[Any, NullReporter]) -> None:
    class Crash(NullReporter):
        def trial(self, number: int, parameters: Any, state: Any, step: int, value: float | None, reason: str | None = None) -> None:
            super().trial(number, parameters, state, step, value, reason)
            if (number, state) == (3, "running"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path, reporter=Crash())
    # Another attempt works in a copy of the folder; what was being written is not in it.
    moved = tmp_path.with_name(tmp_path.name + "-2")
    shutil.copytree(tmp_path, moved, ignore=shutil.ignore_patterns("artefact", ".tmp-*"))
    second = NullReporter()
    result = run(tiny, moved, reporter=second, resume=True)
    assert 1 not in {done for done, _, values, _ in second.steps if "trial_1/loss" in values}
    assert same_bits(uninterrupted[0].artefact, result.artefact)


def test_a_finished_search_is_not_run_again(tiny: Path, tmp_path: Path, uninterrupted: tuple[Any, NullReporter]) -> None:
    shutil.copytree(uninterrupted[0].artefact.parent, tmp_path, dirs_exist_ok=True)
    reporter = NullReporter()
    again = run(tiny, tmp_path, reporter=reporter, resume=True)
    assert again.search == uninterrupted[0].search and not reporter.steps and reporter.trials[2][1] == "won"


def test_a_trial_whose_loss_breaks_loses_with_its_reason(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_above(monkeypatch, 1e-2)
    reporter = NullReporter()
    result = run(tiny, tmp_path, reporter=reporter)
    _, state, step, _, reason = reporter.trials[2]
    assert (state, step) == ("failed", 3) and reason is not None and "loss became nan" in reason
    assert result.search["winner"] == 4 and any(line.startswith("Trial 2 failed: The loss became") for line in reporter.lines)


def test_a_stopped_trial_comes_back_when_all_that_went_on_fail(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_above(monkeypatch, 1e-5, step=9)
    reporter = NullReporter()
    result = run(tiny, tmp_path, reporter=reporter)
    assert [reporter.trials[number][1] for number in (2, 4)] == ["failed", "failed"]
    assert result.search["winner"] in (1, 3) and result.steps == 24 and any("comes back" in line for line in reporter.lines)


def test_a_search_of_which_every_trial_fails_says_so(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_above(monkeypatch, 0.0)
    with pytest.raises(Invalid, match=r"All 4 trials failed\. trial 1: The loss became nan at step 3") as failed:
        run(tiny, tmp_path)
    assert failed.value.code == "every_trial_failed" and failed.value.advice


def test_another_error_than_a_trials_own_ends_the_search(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as failed:
        run(tmp_path / "nowhere", tmp_path / "run")
    assert failed.value.code == "model_missing"


def test_another_search_in_the_folder_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"search": RATES.model_dump(mode="json") | {"seed": 9}, "trials": []}))
    with pytest.raises(Invalid) as failed:
        run(tiny, tmp_path, resume=True)
    assert failed.value.code == "other_search"


def test_free_text_is_searched_by_its_loss_and_no_validation_is_refused(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    result = run(tiny, tmp_path / "text", reporter=reporter, labels=())
    assert result.search["winner"] == 2 and reporter.trials[2][3] == result.best_value == min(reporter.points("trial_2/validation_loss").values())
    with pytest.raises(Invalid) as failed:
        run(tiny, tmp_path / "none", validation=[])
    assert failed.value.code == "no_validation_split"


def test_trials_are_judged_by_the_measure_that_was_chosen(tiny: Path, tmp_path: Path) -> None:
    """Macro F1 cannot tell trials that answer alike apart, the loss can: a search by each names its own figure."""
    for name in ("macro_f1", "loss"):
        reporter = NullReporter()
        result = run(tiny, tmp_path / name, reporter=reporter, validate_by=name, max_steps=8)
        best = max if name == "macro_f1" else min
        for number, (_, state, _, value, reason) in reporter.trials.items():
            points = {step: told for step, told in reporter.points(f"trial_{number}/validation_{name}").items() if step}
            assert value == best(points.values()) and (state == "won" or str(reason).startswith(f"{value:.3f} against "))
        assert result.measure == f"validation_{name}" and result.best_value == reporter.trials[result.search["winner"]][3]


def test_samples_say_whose_they_are(tiny: Path, tmp_path: Path) -> None:
    class Listening(NullReporter):
        def sample(self, step: int, row: int, input: str, gold: str, text: str, trial: int = 0) -> None:  # noqa: A002
            heard.setdefault(trial, set()).add(step)
            super().sample(step, row, input, gold, text, trial)

    heard: dict[int, set[int]] = {}
    reporter = Listening()
    result = run(tiny, tmp_path, reporter=reporter)
    assert set(heard) == {1, 2, 3, 4}
    assert all(steps == set(reporter.points(f"trial_{number}/validation_loss")) for number, steps in heard.items())
    assert max(heard[result.search["winner"]]) == 24


def test_a_search_in_too_little_memory_offers_what_fits_all_trials(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trial's preflight tried smaller steps; the search can be started again with the most careful of what fitted."""
    fits = iter([{"accumulation": 4}, {"accumulation": 8, "checkpointing": True}, {"accumulation": 2}, {"accumulation": 4, "max_length": 32}])

    def preflight(*given: Any, **named: Any) -> Any:
        raise Invalid("out_of_memory", "One step of this run does not fit.", "Start it with less.", detail={"suggestion": next(fits)})

    monkeypatch.setattr("worker.engine.train.preflight", preflight)
    with pytest.raises(Invalid) as failed:
        run(tiny, tmp_path)
    assert failed.value.code == "every_trial_failed"
    assert failed.value.detail["suggestion"] == {"accumulation": 8, "checkpointing": True, "max_length": 32}


def test_a_search_over_two_processes_ends_as_over_one(tiny: Path, tmp_path: Path) -> None:
    chosen = Search(how="grid", factor=2, space={"learning_rate": [1e-9, 2e-2]})
    alone, together = NullReporter(), NullReporter()
    one = run(tiny, tmp_path / "one", chosen, alone, max_steps=8, dropout=0.0)
    two = run(tiny, tmp_path / "two", chosen, together, max_steps=8, dropout=0.0, devices=2)
    assert two.search == one.search and {number: told[1:3] for number, told in together.trials.items()} == {
        number: told[1:3] for number, told in alone.trials.items()
    }
    for number in (1, 2):
        assert together.points(f"trial_{number}/loss") == pytest.approx(alone.points(f"trial_{number}/loss"), rel=1e-4)
    assert artefact.check(two.artefact).facts["devices"] == 2


def test_the_time_left_is_that_of_the_whole_search(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.pace.Pace.eta", lambda self, done: float(self.plan.total - done))  # one second a step
    reporter = NullReporter()
    run(tiny, tmp_path, reporter=reporter)
    left = [eta for _, _, values, eta in reporter.steps if eta is not None and any(name.endswith("/loss") for name in values)]
    assert left[0] == 47.0, "of 48 steps"
    assert left == sorted(left, reverse=True) and len(left) == 47, "and no time at the very end"


def break_above(monkeypatch: pytest.MonkeyPatch, rate: float, step: int = 3) -> None:
    """Runs with a higher learning rate than this lose their footing at that step, as a step too far would make them."""

    def spoiled(spec: Any, reporter: Any) -> Any:
        from worker.engine import loop
        from worker.engine.preflight import answer_loss

        def loss(model: Any, inputs: Any, tokens: Any) -> Any:
            spoils = spec.parameters.learning_rate > rate and current[0].state.global_step + 1 == step
            return answer_loss(model, inputs, tokens) * (float("nan") if spoils else 1.0)

        current: list[Any] = []
        begin = loop.Loop.run
        with monkeypatch.context() as patch:
            patch.setattr(loop.Loop, "run", lambda self, point: current.append(self) or begin(self, point))  # type: ignore[func-returns-value]
            patch.setattr(loop, "answer_loss", loss)
            return train(spec, reporter)

    monkeypatch.setattr(searches, "train", spoiled)
