"""A program gets every problem of a refused file, and not only the first ones."""

import csv
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.domain.access import Who
from app.readers.options import Options
from app.services import appending, imports, upload_files, uploads
from tests.api.test_imports import upload
from tests.services.uploading import sent, table

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

BROKEN = [3, *range(40, 75)]
"""Lines of the file that have a cell too many."""


def broken() -> bytes:
    lines = table(100).splitlines()
    return "\n".join(f"{line},=1+1" if number in BROKEN else line for number, line in enumerate(lines, 1)).encode() + b"\n"


def listed(client: TestClient, key: int) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/uploads/{key}/problems")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


def gone(client: TestClient, key: int) -> bool:
    return client.delete(f"/api/v1/uploads/{key}").status_code == 204 and not list(upload_files.folder().iterdir())


def test_a_file_that_is_refused_in_the_background_tells_all_its_problems_until_it_is_given_up(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "AT_ONCE_BYTES", 100)
    key = upload(client, "a.csv", broken()).json()["upload"]
    imports.run(key)
    imports.sweep()
    told = client.get(f"/api/v1/uploads/{key}").json()
    assert told["state"] == "failed" and told["error"]["count"] == len(BROKEN) and len(told["problems"]) == 20
    found = listed(client, key)
    assert [one["line"] for one in found] == BROKEN and found[:20] == told["problems"]
    as_table = client.get(f"/api/v1/uploads/{key}/problems?format=csv")
    assert [int(row["line"]) for row in csv.DictReader(as_table.text.splitlines())] == BROKEN
    assert as_table.text == client.get(f"/datasets/uploads/{key}/problems.csv").text
    assert gone(client, key) and client.get(f"/api/v1/uploads/{key}/problems").status_code == 404


def test_a_file_that_is_refused_at_once_says_where_its_other_problems_are(client: TestClient) -> None:
    answer = upload(client, "a.csv", broken())
    error = answer.json()["error"]
    assert answer.status_code == 422 and error["count"] == len(BROKEN) and len(answer.json()["problems"]) == 20
    assert [one["line"] for one in listed(client, error["upload"])] == BROKEN
    assert gone(client, error["upload"])
    few = upload(client, "a.csv", b"text,label\na,b\nc,d,e\nf,g\n")
    assert few.status_code == 422 and "upload" not in few.json()["error"] and client.get("/api/v1/uploads").json()["items"] == []


def test_the_file_goes_a_day_after_it_was_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    key = upload(client, "a.csv", broken()).json()["error"]["upload"]
    monkeypatch.setattr("app.domain.upload.KEPT_MS", -1)
    imports.sweep()
    assert client.get(f"/api/v1/uploads/{key}/problems").status_code == 404 and not list(upload_files.folder().iterdir())


def test_problems_of_an_append_are_those_it_was_refused_for(client: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read as the dataset's first file was: here with another delimiter, and with names for its columns."""
    uploads.import_now(
        person, sent(table(60).replace(",", ";").replace("text;label", "satz;urteil"), options=Options(mapping={"input": "satz", "output": "urteil"}))
    )
    monkeypatch.setattr(appending, "AT_ONCE_ROWS", 0)
    more = broken().replace(b",", b";").replace(b"text;label", b"satz;urteil")
    key = client.post("/api/v1/datasets/1/append", files={"file": ("more.csv", more)}).json()["upload"]
    imports.run(key)
    told = client.get(f"/api/v1/uploads/{key}").json()
    assert told["error"]["count"] == len(BROKEN) and [one["line"] for one in listed(client, key)] == BROKEN
    taken = client.post(
        "/api/v1/datasets/1/append", files={"file": ("more.csv", table(50, seed=4).replace(",", ";").replace("text;label", "satz;urteil"))}
    ).json()
    imports.run(taken["upload"])
    assert client.get(f"/api/v1/uploads/{taken['upload']}/problems").json()["error"]["code"] == "file_gone"
