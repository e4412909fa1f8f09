"""Every problem of a file that was refused, read from it anew: nobody keeps a million of them."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from app.domain.access import Who
from app.domain.upload import Upload
from app.errors import Conflict
from app.readers import Problem
from app.readers.frames import Broken
from app.readers.options import Options
from app.readers.parent import read_file
from app.services import datasets, uploads
from app.services.presets import preset
from app.services.upload_files import options_of, place
from app.writers import FORMULA

ALL = 10**9
COLUMNS = ("code", "line", "column", "excerpt", "advice", "file")
PIECE = 1 << 14


def problems(person: Who, key: int) -> Iterator[Problem]:
    """Every problem of an upload's file, in order. Raises NotFound, and Conflict where the file is gone, or there was none."""
    upload = uploads.find(person, key)
    path = place(upload.file)
    if upload.changes or not path.exists():
        raise Conflict("file_gone", f"{upload.filename} is not here any more.", "Upload it again.")
    return _read(path, replace(_options(person, upload, path), problems=ALL))


def _options(person: Who, upload: Upload, path: Path) -> Options:
    """How it is read: an append that nobody looked at as the dataset's first file was (app/services/imports.py)."""
    options = options_of(upload.options)
    if upload.onto is None or upload.report is not None:
        return options
    return preset(datasets.find(person, upload.onto).version, path, options)


def _read(path: Path, options: Options) -> Iterator[Problem]:
    with closing(read_file(path, options=options)) as frames:
        for frame in frames:
            if isinstance(frame, Broken):
                yield frame.problem


def as_csv(found: Iterator[Problem]) -> Iterator[str]:
    """A table of problems for a spreadsheet, which takes none of their texts for a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for problem in found:
        writer.writerow([problem.code, problem.line or "", *map(_harmless, (problem.column, problem.excerpt, problem.advice, problem.member))])
        if buffer.tell() > PIECE:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def as_lines(found: Iterator[Problem]) -> Iterator[str]:
    """A JSON object a line, each as an answer about the file has it."""
    return (json.dumps(asdict(problem)) + "\n" for problem in found)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
