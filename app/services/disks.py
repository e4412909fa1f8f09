"""The disks of this machine that the installation writes to. One measure, for the pages and for `fettle doctor`; workers ask for theirs (worker/engine/disk.py)."""

import shutil
from dataclasses import dataclass
from pathlib import Path

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


def disks() -> list[Disk]:
    """Each once: database and uploads, what jobs write, base models. A folder that is not there yet counts for where it will be."""
    here, found = settings(), dict[int, Disk]()
    for folder in (here.folder, *(here.storage_folder / name for name in dict.fromkeys(WRITES.values())), here.models_folder):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        usage = shutil.disk_usage(there)
        found.setdefault(there.stat().st_dev, Disk(folder, usage.total, usage.free))
    return list(found.values())


def fullest() -> Disk:
    """The one that will stop work first."""
    return max(disks(), key=lambda disk: disk.share)
