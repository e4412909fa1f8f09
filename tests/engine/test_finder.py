"""The learning-rate finder: it leaves no trace, it finds the steep place, and it runs once."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.methods import METHODS as DOMAIN_METHODS
from app.domain.search import Search
from app.errors import Invalid
from tests.engine.conftest import toy_spec
from tests.engine.test_train import same_bits
from worker.engine import finder
from worker.engine.reporting import NullReporter, Stopped
from worker.engine.search import search
from worker.engine.train import train

FINDER = Search(how="rate_finder")


@pytest.mark.parametrize("method", ["lora", "full", "prompt_tuning", "p_tuning"])
def test_a_run_after_the_test_is_the_run_with_that_rate(tiny: Path, tmp_path: Path, method: str) -> None:
    found, given = NullReporter(), NullReporter()
    result = search(toy_spec(tiny, tmp_path / "found", method, learning_rate=None), FINDER, found)
    rate = result.parameters["learning_rate"]
    control = train(toy_spec(tiny, tmp_path / "given", method, learning_rate=rate), given)
    assert found.points("loss") == given.points("loss") and same_bits(result.artefact, control.artefact)
    assert result.search == {"how": "rate_finder", "learning_rate": rate} and control.search is None
    assert any(line.startswith(f"Learning rate {rate:g}: the loss fell fastest there") for line in found.lines)
    rates = list(found.points("finder_rate").values())
    usual = DOMAIN_METHODS[method]().rate(32)
    assert rates == sorted(rates) and rates[0] == pytest.approx(usual / 1000) and rates[-1] <= min(1.0, usual * 100) * 1.001
    assert rates[0] < rate <= rates[-1] and found.points("finder_loss").keys() == found.points("finder_rate").keys()


def test_the_test_touches_no_random_number_and_no_gradient(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    real = finder.measure

    def watched(model: Any, *rest: Any) -> Any:
        before = [parameter.clone() for parameter in model.parameters()]
        states.append((torch.get_rng_state(), random.getstate(), model.training))
        curve = real(model, *rest)
        states.append((torch.get_rng_state(), random.getstate(), model.training))
        assert all(torch.equal(one, two) and two.grad is None for one, two in zip(before, model.parameters(), strict=True))
        return curve

    monkeypatch.setattr(finder, "measure", watched)
    search(toy_spec(tiny, tmp_path, learning_rate=None, max_steps=2), FINDER, NullReporter())
    assert torch.equal(states[0][0], states[1][0]) and states[0][1:] == states[1][1:]


def test_a_resumed_run_goes_on_with_the_rate_it_found(tiny: Path, tmp_path: Path) -> None:
    class Later(NullReporter):
        """Asks to stop after the fifth step of the run itself."""

        def should_stop(self) -> bool:
            return len(self.points("loss")) >= 5

    control = search(toy_spec(tiny, tmp_path / "whole", learning_rate=None), FINDER, NullReporter())
    with pytest.raises(Stopped):
        search(toy_spec(tiny, tmp_path / "halves", learning_rate=None), FINDER, Later())
    again = NullReporter()
    result = search(toy_spec(tiny, tmp_path / "halves", learning_rate=None, resume=True), FINDER, again)
    assert not again.points("finder_loss") and same_bits(control.artefact, result.artefact)


def test_the_test_can_be_stopped(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        search(toy_spec(tiny, tmp_path, learning_rate=None), FINDER, NullReporter(stop_after=3))
    assert not (tmp_path / finder.FILE).exists()


def test_the_steepest_place_is_found_and_a_loss_that_never_falls_is_an_error() -> None:
    rates = [10 ** (-6 + at / 10) for at in range(60)]
    curve = [(rate, 2.0 - 1.5 / (1 + (1e-3 / rate) ** 2)) for rate in rates]
    assert finder.steepest(curve) == pytest.approx(1e-3, rel=0.3)
    with pytest.raises(Invalid, match="fell at no learning rate"):
        finder.steepest([(rate, 1.0 + at) for at, rate in enumerate(rates)])
