"""Every file of docs/inputs.md sent through the page: the sentence that a person gets stands there, nothing of it is in the log, and nothing is left behind."""

from collections.abc import Generator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.readers import pipeline, preview
from app.readers.frames import Frame
from app.readers.options import Options
from app.readers.pipeline import frames
from app.services import upload_files, uploads
from tests.dom import Dom, get, words
from tests.pages.uploading import key_of, upload
from tests.readers.test_inputs import FILES, File

ENDINGS = {"IJ": ".jsonl", "IP": ".parquet", "IX": ".xlsx", "IZ": ".zip"}
"""What the files of a kind are called; the others are called .csv."""

SHORTER = {"IC18 too many rows": File(b"text,label\n" + b"a,x\n" * 400, "too_many_rows", words="The file has 400 rows; the limit is 300.")}
"""A file under a lower limit, instead of one that takes many seconds to be counted."""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in this process: two children for each of a hundred files take minutes. What a child adds is shown by tests/readers/test_parent.py."""

    def read_file(path: Path, options: Options) -> Generator[Frame, None, None]:
        yield from frames(path, options)

    monkeypatch.setattr(preview, "read_file", read_file)


def answered(page: Dom, wanted: File, notes: dict[str, str]) -> None:
    """The page says what is wrong with the file, and where; or that nothing is, and what to know about how it was read."""
    frozen = page.one(".upload-freeze .primary").get("aria-disabled") is None
    if wanted.pairs is None:
        said = [[words(cell) for cell in row] for row in page.all(".problems tbody tr")]
        there = [line for line, _, _, advice in said if wanted.words in advice and wanted.code in advice]
        assert there and (wanted.line is None or str(wanted.line) in there), said
        assert not frozen
        return
    assert frozen and not page.all(".problems")
    assert page.texts(".upload-what .facts dd")[0].split(",")[0] == str(len(wanted.pairs))
    labels = {label for _, label in wanted.pairs if label is not None}
    assert {str(label.get("title")) for label in page.all(".labels dt")} == labels
    told = page.texts(".upload-how .help")
    assert not wanted.note or notes[wanted.note] in told, told
    assert wanted.words in " ".join(told)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", FILES)
def test_a_file_gets_its_clear_answer_on_the_page(
    browser: TestClient, person: Who, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    wanted = SHORTER.get(name) or FILES[name]()
    if name in SHORTER:
        monkeypatch.setattr(pipeline, "MAX_ROWS", 300)
    place = upload(browser, wanted.data, f"tickets{ENDINGS.get(name[:2], '.csv')}")
    report = uploads.find(person, key_of(place)).report or {}
    answered(get(browser, place), wanted, {note["code"]: note["sentence"] for note in report["notes"]})
    assert [record for record in caplog.records if record.exc_info or record.levelname in ("WARNING", "ERROR", "CRITICAL")] == []
    assert browser.post(f"{place}/cancel").headers["location"] == "/datasets"
    assert list(upload_files.folder().iterdir()) == [] and uploads.unfinished(person) == []
