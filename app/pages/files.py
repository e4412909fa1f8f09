"""A file from a form, as a file of the installation while it is read."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from fastapi import UploadFile

from app.errors import Invalid
from app.settings import settings


@contextmanager
def stored(file: UploadFile | None) -> Iterator[tuple[Path, str]]:
    """The upload as a file, whatever its size, and its name; gone when the block ends. Raises Invalid without one."""
    if file is None or not file.filename:
        raise Invalid("no_file", "No file was sent.", "Choose a CSV, JSON or JSON Lines file.")
    folder = settings().folder / "uploads"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile(dir=folder, suffix=Path(file.filename).suffix[:12]) as target:
        shutil.copyfileobj(file.file, target, 1 << 20)
        target.flush()
        yield Path(target.name), file.filename
