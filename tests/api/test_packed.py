"""Small files that hold much: whoever sends one gets an answer within seconds, and the web process pays nothing for it."""

import gzip
import io
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from app.db import reading
from app.domain.access import Who
from app.domain.dataset import Dataset, DatasetVersion, Example
from app.domain.upload import Upload
from app.services import imports, patience, uploads
from app.services.datasets import find
from app.settings import settings
from tests.services.uploading import packed, table, wait_for

SECONDS = 20.0
"""Of a loaded machine; a request alone on one takes two."""


def gzip_of(block: bytes, size: int) -> bytes:
    """A gzip of 2 MB or less, in parts, that unpacks to so many bytes or as many as there is room for."""
    part = gzip.compress(block * (20_000_000 // len(block)))
    return part * min(size // 20_000_000, uploads.PACKED_AT_ONCE_BYTES // len(part))


def zip_of(block: bytes, size: int) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("table.csv", "w") as member:
        for _ in range(size // 20_000_000):
            member.write(block * (20_000_000 // len(block)))
    return held.getvalue()


def resident() -> int:
    """Most bytes that this process has held since `forget_peak`."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def forget_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


BOMBS = {
    "one line of 2 GB": lambda: gzip_of(b"a", 1_980_000_000),
    "rows of 1 GB": lambda: gzip_of(b"some text,x\n", 1_980_000_000),
    "JSON lines of 800 MB": lambda: gzip_of(b'{"text":"a","label":"b"}\n', 1_960_000_000),
    "a zip of 400 MB": lambda: zip_of(b"some text,x\n", 400_000_000),
}


@pytest.mark.security
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_stopped_by_the_cap_within_seconds_and_costs_web_nothing(client: TestClient, bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """reliability IZ3"""
    monkeypatch.setattr(patience, "SECONDS", SECONDS)
    data = BOMBS[bomb]()
    assert len(data) <= uploads.PACKED_AT_ONCE_BYTES
    known = forget_peak()
    before, began = resident() if known else 0, time.monotonic()
    answer = client.post("/api/v1/datasets", files={"file": ("table.csv.gz", data)})
    assert time.monotonic() - began < SECONDS
    assert answer.status_code == 422, answer.text
    told = answer.json()["problems"][0]
    assert told["code"] == "unpacks_too_large" and "unpacks to more than allowed (stopped at" in told["advice"]
    assert not known or resident() - before < 60_000_000
    assert not list(settings().folder.joinpath("uploads").iterdir())


def rows() -> tuple[int, int, int]:
    with reading() as session:
        counts = [session.scalar(select(func.count()).select_from(noun)) or 0 for noun in (Dataset, DatasetVersion, Example)]
    return counts[0], counts[1], counts[2]


def done(person: Who, key: int) -> Any:
    imports.run(key)
    return wait_for(person, key, "done")


@pytest.mark.parametrize("form", ["gzip", "zip"])
def test_a_small_packed_file_with_many_rows_is_handed_over_to_the_background(
    client: TestClient, person: Who, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ROWS", 1_000)
    text = table(1_501)
    data = gzip.compress(text.encode()) if form == "gzip" else packed(tickets=text)
    assert client.post("/api/v1/datasets", files={"file": ("small.csv", gzip.compress(table(300).encode()))}).status_code == 201
    before = rows()
    answer = client.post("/api/v1/datasets", files={"file": ("tickets.csv", data)})
    assert answer.status_code == 202 and rows() == before, "nothing of it is stored yet"
    upload = done(person, answer.json()["upload"])
    assert find(person, upload.dataset_id).version.rows == 1_501
    assert client.post("/api/v1/datasets", files={"file": ("plain.csv", text)}).status_code == 201, "the size of a plain file says how much it holds"


def test_one_that_is_slow_to_read_is_handed_over_too(client: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.01)
    answer = client.post("/api/v1/datasets", files={"file": ("slow.csv", gzip.compress(table(300).encode()))})
    assert answer.status_code == 202 and rows() == (0, 0, 0)
    assert done(person, answer.json()["upload"]).rows == 300


def test_one_that_was_cancelled_while_it_was_put_off_says_so(client: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(upload: Upload, *_: Any) -> None:
        uploads.cancel(person, upload.id)
        raise patience.Long

    monkeypatch.setattr(imports, "_import", slow)
    answer = client.post("/api/v1/datasets", files={"file": ("slow.csv", gzip.compress(table(300).encode()))})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "import_cancelled") and rows() == (0, 0, 0)


def test_rows_that_are_appended_are_no_more_than_somebody_waits_for(client: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "ROWS", 1_000)
    made = client.post("/api/v1/datasets", files={"file": ("first.csv", table(300))}).json()
    before = rows()
    answer = client.post(f"/api/v1/datasets/{made['id']}/append", files={"file": ("more.csv", gzip.compress(table(1_200, seed=9).encode()))})
    assert answer.status_code == 202 and rows() == before
    assert done(person, answer.json()["upload"]).cut["made"] == 2
    assert find(person, made["id"]).version.rows == 1_500
