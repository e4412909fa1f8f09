"""How much room there is on the disk of a folder. Apart from `room.py`, because the parent of a job asks too before it takes one, and loads no torch."""

import errno
import shutil
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk, or somebody's share of it, is full."""


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, which need not be there yet."""
    return int(_usage(folder).free)


def total_bytes(folder: Path) -> int:
    """All that the disk of a folder holds when it is empty."""
    return int(_usage(folder).total)


def _usage(folder: Path) -> Any:
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
