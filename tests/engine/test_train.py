"""Training runs: they learn, they stop and go on bit for bit, they find the best moment, and they say so when they break."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.domain.methods.full import Full
from app.domain.rendering import DEFAULT, render
from app.domain.shape import PASS_TOKENS
from app.errors import Invalid
from tests.engine.conftest import toy_rows, toy_spec
from worker.engine import artefact
from worker.engine.load import load
from worker.engine.methods import METHODS as METHODS_HALVES
from worker.engine.methods import full
from worker.engine.preflight import Measured
from worker.engine.reporting import NullReporter, Stopped
from worker.engine.score import score_labels
from worker.engine.train import train

METHODS = ["lora", "full"]
RATES = {"lora": 2e-2, "full": 5e-3}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def same_bits(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_learns_and_leaves_a_checked_artefact(tiny: Path, tmp_path: Path, method: str) -> None:
    reporter = NullReporter()
    result = train(toy_spec(tiny, tmp_path, method, max_steps=40, learning_rate=RATES[method]), reporter)
    losses = list(reporter.points("loss").values())
    assert len(losses) == 40
    assert sum(losses[-5:]) < sum(losses[:5]) / 2
    assert result.best_value == max(reporter.points("validation_accuracy").values()) == 1.0
    assert result.best_step in reporter.points("validation_loss")
    assert [phase for phase, _ in reporter.phases][:3] == ["load", "preflight", "train"]
    assert (result.steps, result.threads) == (40, 1)
    assert result.peak_memory_bytes > 1 << 20
    assert result.seconds > 0
    assert 0 < result.trainable <= result.total
    checked = artefact.check(result.artefact)
    assert checked.kind == ("adapter" if method == "lora" else "full")
    assert checked.facts["best"]["step"] == result.best_step
    assert str(tiny) not in "".join(file.read_text(errors="replace") for file in result.artefact.iterdir() if file.suffix == ".json")


def test_the_saved_adapter_is_the_model_that_was_validated(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    result = train(toy_spec(tiny, tmp_path, max_steps=40), reporter)
    tuned = load(tiny, adapter=result.artefact, device="cpu")
    rows = toy_rows(10)
    scores = score_labels(tuned, [render(DEFAULT, values) for values, _ in rows], [" positive", " negative"])
    right = sum(("positive", "negative")[scores.sums[at].argmax()] == answer for at, (_, answer) in enumerate(rows))
    assert right / 10 == result.best_value


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_bit_for_bit(tiny: Path, tmp_path: Path, method: str) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    control = NullReporter()
    uninterrupted = train(toy_spec(tiny, whole, method, learning_rate=RATES[method]), control)
    first, second = NullReporter(stop_after=5), NullReporter()
    with pytest.raises(Stopped) as stopped:
        train(toy_spec(tiny, halves, method, learning_rate=RATES[method]), first)
    assert stopped.value.checkpoint == halves / "checkpoint-6"
    assert first.steps[-1][0] == 6
    resumed = train(toy_spec(tiny, halves, method, learning_rate=RATES[method], resume=True), second)
    for name in ("loss", "validation_loss", "validation_accuracy", "learning_rate"):
        assert {**first.points(name), **second.points(name)} == control.points(name)
    assert min(second.points("loss")) == 7
    assert same_bits(uninterrupted.artefact, resumed.artefact)
    assert resumed.best_step == uninterrupted.best_step


@pytest.mark.faults
@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_ended_early_keeps_its_best_moment(tiny: Path, tmp_path: Path, method: str) -> None:
    """Bit for bit what it was at its best validation, steps after which it was stopped."""
    changes: dict[str, Any] = {"learning_rate": RATES[method], "max_steps": 40, "evaluations": 10}
    first, second = NullReporter(stop_after=30), NullReporter()
    with pytest.raises(Stopped):
        train(toy_spec(tiny, tmp_path, method, **changes), first)
    seen = {step: value for step, value in first.points("validation_accuracy").items() if step}
    best = max(seen, key=lambda step: (seen[step], -first.points("validation_loss")[step]))
    kept = load_file(tmp_path / f"best-{best}" / "trainable.safetensors")
    result = train(toy_spec(tiny, tmp_path, method, **changes, resume=True, finish=True), second)
    assert "train" not in [name for name, _ in second.phases], "nothing is trained, so nothing is shown as if"
    assert second.steps == [] and (result.steps, result.best_step, result.best_value) == (31, best, seen[best]) and result.seconds > 0
    assert any(line.startswith(f"Ends at step 31 of 40, as asked, and keeps its best moment, step {best}.") for line in second.lines)
    saved = {torch.sum(tensor.double()).item() for tensor in weights(result.artefact).values()}
    assert {torch.sum(tensor.double()).item() for tensor in kept.values()} <= saved
    assert not list(tmp_path.glob("best-*"))


def test_a_run_without_a_checkpoint_has_nothing_to_keep(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        train(toy_spec(tiny, tmp_path, resume=True, finish=True), NullReporter())
    assert refused.value.code == "nothing_to_keep" and "before its first checkpoint" in refused.value.message


def test_a_stop_during_a_validation_takes_it_up_again(tiny: Path, tmp_path: Path) -> None:
    class Impatient(NullReporter):
        def should_stop(self) -> bool:
            return self.phases.count(("evaluate", 10)) > 1  # the first one measures the untuned model

    control, first, second = NullReporter(), Impatient(), NullReporter()
    train(toy_spec(tiny, tmp_path / "whole"), control)
    with pytest.raises(Stopped) as stopped:
        train(toy_spec(tiny, tmp_path / "halves"), first)
    assert stopped.value.checkpoint == tmp_path / "halves" / "checkpoint-4"
    assert set(first.points("validation_loss")) == {0}
    train(toy_spec(tiny, tmp_path / "halves", resume=True), second)
    assert {**first.points("validation_loss"), **second.points("validation_loss")} == control.points("validation_loss")


@pytest.mark.faults
def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_shown_as_a_number(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Poison(NullReporter):
        """Spoils a weight after the third step, as a step too far would."""

        def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
            super().step(done, total, values, eta_seconds)
            if done == 3:
                next(iter(models[0].parameters())).data.fill_(torch.inf)

    models: list[Any] = []

    def prepare(model: Any, parameters: Full, opening: list[int]) -> Any:
        models.append(full.prepare(model, parameters, opening))
        return models[0]

    monkeypatch.setitem(METHODS_HALVES, "full", prepare)
    reporter = Poison()
    with pytest.raises(Invalid) as broken:
        train(toy_spec(tiny, tmp_path, "full", validation=[]), reporter)
    assert (broken.value.code, broken.value.detail) == ("loss_not_finite", {"step": 4})
    assert list(reporter.points("loss")) == [1, 2, 3]
    assert not (tmp_path / "artefact").exists()


@pytest.mark.faults
def test_a_base_with_broken_weights_is_found_before_the_first_step(tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "base"
    broken.mkdir()
    for file in tiny.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][0] = torch.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    reporter = NullReporter()
    with pytest.raises(Invalid, match="step 0"):
        train(toy_spec(broken, tmp_path / "run"), reporter)
    assert reporter.steps == []


def test_the_preflight_moves_no_weight_and_no_random_number(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = NullReporter(), NullReporter()
    train(toy_spec(tiny, tmp_path / "one", max_steps=3), one)
    monkeypatch.setattr("worker.engine.train.preflight", lambda *_, **__: Measured(1.0, 100, 1))
    train(toy_spec(tiny, tmp_path / "two", max_steps=3), two)
    assert one.points("loss") == two.points("loss")
    assert same_bits(tmp_path / "one" / "artefact", tmp_path / "two" / "artefact")


def test_accumulation_does_not_change_the_step(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    monkeypatch.setitem(PASS_TOKENS, "cpu", 60)
    for accumulation in (1, 4, None):
        reporter = NullReporter()
        train(toy_spec(tiny, tmp_path / str(accumulation), max_steps=3, accumulation=accumulation, dropout=0.0, validation=[]), reporter)
        losses.append(list(reporter.points("loss").values()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4) and losses[2] != losses[0]


def test_early_stopping_ends_a_run_that_gets_no_better(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    result = train(toy_spec(tiny, tmp_path, max_steps=40, evaluations=40, early_stopping=2, learning_rate=1e-9), reporter)
    assert result.steps < 40
    assert any("Stopped early" in line for line in reporter.lines)


def test_free_text_answers_are_validated_by_their_loss(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    result = train(toy_spec(tiny, tmp_path, labels=()), reporter)
    assert not reporter.points("validation_accuracy")
    assert result.best_value == min(reporter.points("validation_loss").values())


def test_the_whole_run_is_foretold_once_a_step_is_measured_and_the_rest_of_it_after_each(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    train(toy_spec(tiny, tmp_path, validation=[]), reporter)
    assert reporter.ticks[0][:2] == (0, 12) and reporter.ticks[0][2] is not None
    etas = [eta for _, _, _, eta in reporter.steps]
    assert all(eta is not None for eta in etas)
    assert etas[-1] == 0.0
    assert any("Longest step: " in line and "All 12 steps: about" in line for line in reporter.lines)


def test_a_finished_run_is_not_trained_again(tiny: Path, tmp_path: Path) -> None:
    first = train(toy_spec(tiny, tmp_path), NullReporter())
    again = NullReporter()
    assert train(toy_spec(tiny, tmp_path, resume=True), again) == first
    assert again.phases == []
    assert not list(tmp_path.glob("best-*"))


def test_what_a_person_can_mend_is_told(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no training examples"):
        train(toy_spec(tiny, tmp_path, train=[]), NullReporter())
    with pytest.raises(Invalid, match="no model at"):
        train(toy_spec(tmp_path / "nowhere", tmp_path), NullReporter())
    never = NullReporter()
    never.should_stop = lambda: True  # type: ignore[method-assign]
    with pytest.raises(Stopped) as stopped:
        train(toy_spec(tiny, tmp_path / "never"), never)
    assert stopped.value.checkpoint is None


def test_rows_that_are_too_long_are_refused_or_made_to_fit_as_was_chosen(tiny: Path, tmp_path: Path) -> None:
    """Never cut in silence: the number and what was done about it stand in the log and beside the result."""
    with pytest.raises(Invalid, match=r"\d+ of \d+ rows do not fit .* in the 12 tokens of max_length") as refused:
        train(toy_spec(tiny, tmp_path / "refused", max_length=12, max_steps=2), NullReporter())
    assert refused.value.code == "rows_do_not_fit" and refused.value.detail == {"field": "fit"}
    reporter = NullReporter()
    found = train(toy_spec(tiny, tmp_path / "cut", max_length=12, max_steps=2, fit="cut_tail"), reporter)
    assert any("cut the end of the input" in line for line in reporter.lines)
    assert found.fit["policy"] == "cut_tail" and 0 < found.fit["too_long"] <= found.fit["rows"] and found.fit["window"] == 12 < found.fit["longest"]


def test_many_validation_rows_are_sampled_so_that_training_stays_the_larger_part(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    train(toy_spec(tiny, tmp_path, validation=toy_rows(400), max_steps=6), reporter)
    assert ("evaluate", 64) in reporter.phases
    assert any("64 of 400 rows" in line for line in reporter.lines)


def test_the_run_file_says_how_it_was_made(tiny: Path, tmp_path: Path) -> None:
    result = train(toy_spec(tiny, tmp_path, max_steps=2), NullReporter())
    facts = json.loads((result.artefact / "run.json").read_text())
    assert (facts["method"], facts["seed"], facts["rows"]) == ("lora", 3, {"train": 30, "validation": 10})
    assert facts["template"]["input_prefix"] == "Input:"
    assert facts["versions"]["torch"] == torch.__version__
