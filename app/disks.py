"""The disks of this machine that the installation writes to, and what it keeps there. One measure: for the pages, for `fettle doctor`, and for the worker of each
machine, which says it with its heartbeat. What a job may write is asked apart (worker/engine/disk.py)."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import stat_result
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from app.domain.job import WRITES
from app.settings import settings


@dataclass(frozen=True)
class Disk:
    """`folder` is what lies on it here. Sizes in bytes."""

    folder: Path
    total: int
    free: int

    @property
    def used(self) -> int:
        return self.total - self.free

    @property
    def share(self) -> float:
        """In use, of all."""
        return self.used / self.total if self.total else 0.0


@dataclass(frozen=True)
class Kept:
    """Bytes of each use. Files that attempts share are counted once."""

    results: int = 0
    checkpoints: int = 0
    logs: int = 0


def disks() -> list[Disk]:
    """Each once: uploads, SQLite's database, what jobs write, base models. A folder that is not there yet counts for where it will be."""
    here, found, database = settings(), dict[int, Disk](), make_url(settings().database)
    file = [Path(database.database).parent] if database.get_backend_name() == "sqlite" and database.database else []
    for folder in (here.folder, *file, *(here.storage_folder / name for name in dict.fromkeys(WRITES.values())), here.models_folder):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        usage = shutil.disk_usage(there)
        found.setdefault(there.stat().st_dev, Disk(folder, usage.total, usage.free))
    return list(found.values())


def fullest() -> Disk:
    """The one that will stop work first."""
    return max(disks(), key=lambda disk: disk.share)


def kept(folder: Path) -> Kept:
    """What the jobs keep whose folders are below this one."""
    sizes = {"results": 0, "checkpoints": 0, "logs": 0}
    for file, stat in _files(folder):
        parts = file.relative_to(folder).parts
        use = (
            "logs"
            if file.name == "process.log"
            else "results"
            if "artefact" in parts and not any(part.startswith("trial-") for part in parts)
            else "checkpoints"
        )
        sizes[use] += stat.st_size
    return Kept(**sizes)


def _files(folder: Path) -> Iterator[tuple[Path, stat_result]]:
    """Every file below a folder, each once whatever links to it."""
    seen = set()
    for file in folder.rglob("*"):
        try:
            stat = file.stat()
        except FileNotFoundError:  # gone meanwhile
            continue
        if not file.is_dir() and stat.st_ino not in seen:
            seen.add(stat.st_ino)
            yield file, stat


def report() -> dict[str, Any]:
    """What a worker says of the disks here; `told` reads it again."""
    return {"disks": [{"folder": str(disk.folder), "total": disk.total, "free": disk.free} for disk in disks()]}


def told(report: dict[str, Any]) -> list[Disk]:
    return [Disk(Path(disk["folder"]), disk["total"], disk["free"]) for disk in report.get("disks", ())]


def kept_here() -> dict[str, int]:
    """Bytes that this machine keeps, by their use. Every file is looked at: that may take a while."""
    here = settings()
    others = {"merged models": here.storage_folder / WRITES["export"], "base models": here.models_folder}
    return {**asdict(kept(here.storage_folder / WRITES["tune"])), **{use: sum(stat.st_size for _, stat in _files(folder)) for use, folder in others.items()}}
