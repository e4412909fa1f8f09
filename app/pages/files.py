"""A file from a form."""

from typing import BinaryIO

from fastapi import UploadFile

from app.errors import Invalid


def named(file: UploadFile | None) -> tuple[BinaryIO, str]:
    """What was sent, and its name. Raises Invalid when nothing was."""
    if file is None or not file.filename:
        raise Invalid("no_file", "No file was sent.", "Choose a table: CSV, JSON, JSON Lines, Parquet or XLSX, also in a ZIP or gzip.")
    return file.file, file.filename
