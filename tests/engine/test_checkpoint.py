"""Checkpoints on disk: told, counted, and never believed when damaged."""

import shutil
from pathlib import Path

import pytest

from tests.engine.conftest import toy_spec
from worker.engine.checkpoint import newest_valid
from worker.engine.folders import MANIFEST, sha256
from worker.engine.reporting import NullReporter
from worker.engine.train import train

pytestmark = pytest.mark.faults

FILES = ["manifest.json", "optimizer.pt", "rng_state.pth", "run_state.json", "scheduler.pt", "trainable.safetensors", "trainer_state.json"]


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NullReporter]:
    """A run of six steps that wrote a checkpoint after every one but the last."""
    folder, reporter = tmp_path_factory.mktemp("finished"), NullReporter()
    train(toy_spec(tiny, folder, checkpoint_seconds=0.0, max_steps=6, validation=[]), reporter)
    return folder, reporter


@pytest.fixture
def run(finished: tuple[Path, NullReporter], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def harmed(file: Path, harm: str) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes({"flip": bytes(data), "truncate": bytes(data[: len(data) // 2]), "empty": b""}[harm])


def test_checkpoints_are_told_and_two_are_kept(finished: tuple[Path, NullReporter]) -> None:
    folder, reporter = finished
    assert [step for _, step, _ in reporter.checkpoints] == [1, 2, 3, 4, 5]
    newest, step, manifest = reporter.checkpoints[-1]
    assert (newest, step, manifest) == (folder / "checkpoint-5", 5, sha256(newest / MANIFEST))
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]
    assert sorted(path.name for path in newest.iterdir()) == FILES
    assert not list(folder.glob(".tmp-*"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["truncate", "empty", "remove", "flip"])
def test_a_damaged_checkpoint_is_passed_over_and_named(run: Path, name: str, harm: str) -> None:
    lines: list[str] = []
    harmed(run / "checkpoint-5" / name, harm)
    assert newest_valid(run, lines.append) == (4, run / "checkpoint-4")
    assert len(lines) == 1
    assert "checkpoint-5" in lines[0]
    harmed(run / "checkpoint-4" / name, harm)
    assert newest_valid(run) is None


def test_a_run_goes_on_from_the_checkpoint_before_the_damaged_one(tiny: Path, run: Path, finished: tuple[Path, NullReporter]) -> None:
    harmed(run / "checkpoint-5" / "optimizer.pt", "truncate")
    (run / ".tmp-checkpoint-6-left").mkdir()
    again = NullReporter()
    shutil.rmtree(run / "artefact")
    train(toy_spec(tiny, run, max_steps=6, validation=[], resume=True), again)
    assert again.points("loss") == {step: loss for step, loss in finished[1].points("loss").items() if step > 4}
    assert any("checkpoint-5" in line for line in again.lines)
