"""An archive holds what an installation cannot make again, and goes back only where nothing is."""

import stat
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import text

from app.backup import backup, restore
from app.db import engine, transaction
from app.domain.user import the_workspace
from app.errors import Conflict, Invalid
from app.settings import settings
from tests.conftest import forget


@pytest.fixture
def installation(sqlite_url: str, tmp_path: Path) -> Path:
    """A small installation on SQLite; gives the place for an archive of it."""
    with transaction() as session:
        the_workspace(session).name = "Kept"
    here = settings()
    (here.storage_folder / "jobs" / "1").mkdir(parents=True)
    (here.storage_folder / "jobs" / "1" / "adapter.safetensors").write_bytes(b"weights")
    (here.models_folder / "big").mkdir(parents=True)
    (here.models_folder / "big" / "model.safetensors").write_bytes(b"more weights")
    return tmp_path / "fettle.tar.gz"


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("FETTLE_DATA", str(folder))
    forget()


def test_there_and_back(installation: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = settings().key
    said: list[str] = []
    backup(installation, say=said.append)
    assert "Keep it safe" in said[-1]
    elsewhere(monkeypatch, tmp_path / "new")
    restore(installation, say=said.append)
    assert [line for line in said if line.endswith("restored")] == ["fettle.db: restored", "storage: restored", "secret: restored"]
    with engine().connect() as connection:
        assert connection.execute(text("SELECT name FROM workspace")).scalar_one() == "Kept"
    assert settings().key == key
    assert (settings().storage_folder / "jobs" / "1" / "adapter.safetensors").read_bytes() == b"weights"
    assert not settings().models_folder.exists()


def test_models_come_along_when_asked(installation: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backup(installation, models=True)
    elsewhere(monkeypatch, tmp_path / "new")
    restore(installation)
    assert (settings().models_folder / "big" / "model.safetensors").read_bytes() == b"more weights"


@pytest.mark.security
def test_only_the_owner_may_read_an_archive(installation: Path) -> None:
    backup(installation)
    assert stat.S_IMODE(installation.stat().st_mode) == 0o600


def test_nothing_is_overwritten(installation: Path) -> None:
    backup(installation)
    with pytest.raises(Conflict, match="already there"):
        backup(installation)
    with pytest.raises(Conflict, match="already something"):
        restore(installation)


def test_postgresql_is_named_not_forgotten(postgresql_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FETTLE_DATABASE_URL", postgresql_url)
    forget()
    said: list[str] = []
    backup(tmp_path / "a.tar.gz", say=said.append)
    elsewhere(monkeypatch, tmp_path / "new")
    restore(tmp_path / "a.tar.gz", say=said.append)
    assert any("pg_dump" in line for line in said)
    assert "pg_restore" in said[-1]


def test_another_kind_of_database_is_refused(installation: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backup(installation)
    monkeypatch.setenv("FETTLE_DATABASE_URL", postgresql_url)
    elsewhere(monkeypatch, tmp_path / "new")
    with pytest.raises(Conflict, match="made with sqlite"):
        restore(installation)


@pytest.mark.security
def test_a_foreign_archive_is_refused(tmp_path: Path) -> None:
    stranger = tmp_path / "x.tar.gz"
    with tarfile.open(stranger, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("storage/../../escaped"))
    with pytest.raises(Invalid, match="no backup"):
        restore(stranger)
    stranger.write_text("not even an archive")
    with pytest.raises(Invalid, match="cannot be read"):
        restore(stranger)


@pytest.mark.security
def test_an_archive_cannot_write_outside(installation: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backup(installation)
    bent = tmp_path / "bent.tar.gz"
    with tarfile.open(installation) as tar, tarfile.open(bent, "w:gz") as out:
        for member in tar.getmembers():
            out.addfile(member, tar.extractfile(member) if member.isfile() else None)
        out.addfile(tarfile.TarInfo("storage/../../../escaped"))
    elsewhere(monkeypatch, tmp_path / "new" / "data")
    with pytest.raises(Invalid, match="outside"):
        restore(bent)
    assert not list(tmp_path.rglob("escaped"))


def test_an_object_store_is_named_not_forgotten(installation: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FETTLE_STORAGE", "s3://bucket/fettle")
    forget()
    said: list[str] = []
    backup(installation, say=said.append)
    assert "storage: saved" in said, "what this machine alone may have is not left out"
    assert any(line.startswith("artefacts: NOT all in this archive; they are in s3://bucket/fettle") and "aws s3 sync" in line for line in said)
    elsewhere(monkeypatch, tmp_path / "new")
    monkeypatch.delenv("FETTLE_STORAGE")
    forget()
    with pytest.raises(Conflict, match="artefacts of this archive are in s3://bucket/fettle") as refused:
        restore(installation)
    assert "FETTLE_STORAGE=s3://bucket/fettle" in refused.value.advice and not settings().folder.exists()
    monkeypatch.setenv("FETTLE_STORAGE", "s3://copy/fettle")
    forget()
    restore(installation, say=said.append)
    assert "are expected in s3://copy/fettle" in said[-1]


def test_a_folder_needs_no_word_about_a_store(installation: Path) -> None:
    said: list[str] = []
    backup(installation, say=said.append)
    assert not any("artefacts" in line for line in said)
