"""A file from a form, as a file of the installation while it is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import UploadFile

from app.errors import Invalid
from app.services.upload_files import passing


@contextmanager
def stored(file: UploadFile | None) -> Iterator[tuple[Path, str]]:
    """The upload as a file, whatever its size, and its name; gone when the block ends. Raises Invalid without one."""
    if file is None or not file.filename:
        raise Invalid("no_file", "No file was sent.", "Choose a table: CSV, JSON, JSON Lines, Parquet or XLSX, also in a ZIP or gzip.")
    with passing(file.file) as path:
        yield path, file.filename
