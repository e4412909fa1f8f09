"""What may be called an artefact, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.domain.rendering import DEFAULT, render
from app.errors import Invalid
from tests.engine.conftest import toy_rows, toy_spec
from worker.engine import artefact
from worker.engine.folders import MANIFEST, damage, fingerprint, hashes, whole
from worker.engine.load import load
from worker.engine.reporting import NullReporter
from worker.engine.score import score_labels
from worker.engine.train import train

pytestmark = pytest.mark.faults


@pytest.fixture(scope="session")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(toy_spec(tiny, tmp_path_factory.mktemp("run"), validation=[]), NullReporter()).artefact


@pytest.fixture
def copy(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "adapter"))


def reseal(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write other tensors and make the manifest agree, as somebody who knows the format would."""
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / MANIFEST).write_text(json.dumps(hashes(folder)))


def test_any_changed_file_is_found(copy: Path) -> None:
    assert artefact.check(copy).kind == "adapter"
    (copy / "adapter_config.json").write_text((copy / "adapter_config.json").read_text() + " ")
    with pytest.raises(Invalid, match=r"adapter_config\.json"):
        artefact.check(copy)


def test_an_added_file_is_found(copy: Path) -> None:
    (copy / "more.bin").write_bytes(b"x")
    with pytest.raises(Invalid, match=r"more\.bin"):
        artefact.check(copy)


def test_not_a_number_is_refused(copy: Path) -> None:
    tensors = load_file(copy / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] = torch.nan
    reseal(copy, tensors)
    with pytest.raises(Invalid) as refused:
        artefact.check(copy)
    assert refused.value.code == "weights_not_finite"


def test_other_tensor_names_are_refused_by_the_check_and_by_loading(copy: Path, tiny: Path) -> None:
    tensors = load_file(copy / "adapter_model.safetensors")
    reseal(copy, {name.replace("q_proj", "x_proj"): tensor for name, tensor in tensors.items()})
    with pytest.raises(Invalid) as refused:
        artefact.check(copy)
    assert refused.value.code == "tensors_changed"
    with pytest.raises(Invalid) as mismatch:
        load(tiny, adapter=copy, device="cpu")
    assert mismatch.value.code == "adapter_mismatch"


def test_a_truncated_adapter_is_an_error_for_a_person(copy: Path, tiny: Path) -> None:
    file = copy / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(Invalid, match="adapter cannot be loaded"):
        load(tiny, adapter=copy, device="cpu")


def test_merging_gives_a_plain_model_that_says_the_same(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    artefact.merge(tiny, adapter, tmp_path / "merged")
    prompts = [render(DEFAULT, values) for values, _ in toy_rows(6)]
    labels = [" positive", " negative"]
    merged = score_labels(load(tmp_path / "merged", device="cpu"), prompts, labels)
    tuned = score_labels(load(tiny, adapter=adapter, device="cpu"), prompts, labels)
    assert abs(merged.sums - tuned.sums).max() < 1e-3
    assert damage(tmp_path / "merged") is None


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "target"

    def fail() -> None:
        with whole(target) as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "two"):
        with whole(target) as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / "file").write_text(text)
    assert (target / "inner" / "file").read_text() == "two"
    assert damage(target) is None
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_fingerprint_knows_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = fingerprint(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, fingerprint(tmp_path)}) == 3
