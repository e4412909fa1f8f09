"""Files that other tools damage in silence, each with the clear answer that it gets here. The marks are those of the table of bad input."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook
from starlette.testclient import TestClient

from app.domain.access import Who
from app.services import imports, uploads
from app.settings import settings
from tests.api.test_imports import upload
from tests.readers.test_health import sentence
from tests.services.uploading import sent

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def lines(*rows: tuple[str, ...], header: str = "text,label") -> bytes:
    return "\n".join([header, *(",".join(row) for row in rows)]).encode() + b"\n"


def many(count: int, *labels: str, start: int = 0, more: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    return [(sentence(start + number), labels[number % len(labels)], *more) for number in range(count)]


def said(client: TestClient, data: bytes, name: str = "a.csv", **fields: Any) -> dict[str, str]:
    """The findings about a file, by their codes."""
    answer = upload(client, name, data, **fields)
    assert answer.status_code == 201, answer.json()
    found = client.get(f"/api/v1/datasets/{answer.json()['id']}/health").json()["items"]
    return {one["code"]: one["sentence"] for one in found}


def refused(client: TestClient, data: bytes, name: str = "a.csv", **fields: Any) -> dict[str, Any]:
    """The answer to a file that is not taken; nothing of it is left."""
    answer = upload(client, name, data, **fields)
    assert answer.status_code == 422, answer.text[:300]
    assert client.get("/api/v1/datasets").json()["items"] == [] and list((settings().folder / "uploads").iterdir()) == []
    body = answer.json()
    problems = body.get("problems") or body.get("error", {}).get("problems") or []
    return {"code": problems[0]["code"] if problems else body["error"]["code"], "words": json.dumps(body, ensure_ascii=False)}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_iu2_unicode_text_of_excel_is_taken_and_the_report_says_what_it_is(client: TestClient, person: Who, encoding: str) -> None:
    bom = b"\xff\xfe" if encoding == "utf-16-le" else b"\xfe\xff"
    text = "text\tlabel\r\n" + "".join(f"{one}\t{label}\r\n" for one, label in many(20, "caf\u00e9", "th\u00e9"))
    answer = upload(client, "excel.txt", bom + text.encode(encoding))
    body = answer.json()
    assert answer.status_code == 201 and body["rows"] == 20 and {one["key"] for one in body["labels"]} == {"caf\u00e9", "th\u00e9"}
    looked = uploads.accept(person, sent(bom + text.encode(encoding), "excel.txt"), "report").id
    imports.run(looked)
    report = uploads.find(person, looked).report or {}
    assert report["detected"]["encoding"] == "utf-16" and report["detected"]["delimiter"] == "\t" and report["rows"] == 20


def test_ic18_more_rows_or_columns_than_there_may_be_are_counted_while_they_stream(client: TestClient, person: Who) -> None:
    upload_id = uploads.accept(person, sent(b"text,label\n" + b"a,b\n" * 1_000_001), "report").id
    imports.run(upload_id)
    report = uploads.find(person, upload_id).report or {}
    assert [(one["code"], one["advice"]) for one in report["problems"]] == [
        ("too_many_rows", "The file has 1,000,001 rows; the limit is 1,000,000. Cut it, or draw a sample.")
    ]
    uploads.cancel(person, upload_id)
    wide = ",".join(f"c{number}" for number in range(50_000))
    found = refused(client, f"{wide}\n{wide}\n".encode())
    assert found["code"] == "too_many_columns" and "50,000" in found["words"] and "200" in found["words"]


def damaged(path: Path) -> dict[str, bytes]:
    """A Parquet file with the damages of apache/parquet-testing's bad_data, made anew: what is changed, and where."""
    table = pa.table({"text": [sentence(number) for number in range(200)], "label": ["x", "y"] * 100})
    pq.write_table(table, path, compression="none", use_dictionary=["label"], data_page_version="1.0")
    whole = path.read_bytes()
    size = int.from_bytes(whole[-8:-4], "little")
    footer, first = len(whole) - 8 - size, 4

    def changed(at: int, new: bytes) -> bytes:
        return whole[:at] + new + whole[at + len(new) :]

    row = pq.read_metadata(path).row_group(0)
    dictionary, data = row.column(1).dictionary_page_offset, row.column(1).data_page_offset
    return {
        "a page header that says a negative number of values": changed(first, whole[first : first + 8].replace(b"\x15", b"\x15\xff\xff\xff\xff\x0f", 1)),
        "a dictionary with a negative count": changed(dictionary + 7, b"\xff\xff\xff\xff\x0f"),
        "a dictionary index beyond the dictionary": changed(data + 30, b"\xff" * 12),
        "columns of different length": whole[:data] + whole[data + 16 :],
        "a corrupted schema": changed(footer + 4, b"\xff" * 24),
        "a schema that ends too early": changed(footer, b"\x00" * 8),
        "a footer longer than the file": whole[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
        "levels where none should be": changed(first + 20, b"\x00\x00\x00\xff\xff\xff\xff"),
    }


def test_ip3_damaged_parquet_files_are_a_clean_answer_each_and_the_web_process_lives(client: TestClient, tmp_path: Path) -> None:
    cases = damaged(tmp_path / "good.parquet")
    assert len(cases) == 8 and len(set(cases.values())) == 8
    for name, data in cases.items():
        answer = upload(client, "bad.parquet", data)
        assert answer.status_code == 422, f"{name}: {answer.status_code} {answer.text[:200]}"
        problems = answer.json().get("problems") or [answer.json()["error"]]
        assert all(one["code"] and one["advice"] for one in problems), name
        assert "Traceback" not in answer.text and "Thrift" not in answer.text, name
    assert client.get("/healthz").status_code == 200 and client.get("/api/v1/datasets").json()["items"] == []
    assert upload(client, "good.parquet", (tmp_path / "good.parquet").read_bytes()).json()["rows"] == 200


def test_ix7_a_sheet_of_one_cell_in_the_far_corner_is_said_to_be_too_large(client: TestClient, tmp_path: Path) -> None:
    book = Workbook()
    book.active["XFD1048576"] = 1
    book.save(tmp_path / "far.xlsx")
    data = (tmp_path / "far.xlsx").read_bytes()
    assert len(data) < 10_000
    found = refused(client, data, "far.xlsx")
    assert found["code"] == "sheet_too_large" and "This sheet spans 17 billion cells" in found["words"] and "1,000,000 rows x 200 columns" in found["words"]


def test_il6_a_class_of_one_row_and_one_that_a_split_lacks(client: TestClient) -> None:
    assert said(client, lines(*many(40, "a", "b"), (sentence(99), "sarcasm")))["tiny_classes"] == (
        "'sarcasm' has 1 row; each class needs at least 3 (one per split)."
    )
    given = [*many(40, "a", "b", more=("train",)), *many(12, "a", "c", start=50, more=("test",))]
    found = said(client, lines(*given, header="text,label,split"))
    assert found["unseen_labels"] == "Test has labels that train never shows: 'c'."


def test_il9_swapped_columns_and_one_column_chosen_twice(client: TestClient) -> None:
    swapped = lines(*((label, f"{text} {number}") for number, (text, label) in enumerate(many(40, "good", "bad"))))
    found = said(client, swapped)
    assert found["swapped_columns"].startswith("The outputs are longer than the inputs, and the inputs repeat like labels. Were the two columns swapped?")
    client.delete("/api/v1/datasets/1")
    twice = refused(client, lines(*many(40, "a", "b")), mapping=json.dumps({"input": "text", "output": "text"}))
    assert twice["code"] == "same_column_twice" and "Input, output and split need a column each." in twice["words"]


def test_il9_a_label_that_is_its_text_is_warned_of(client: TestClient) -> None:
    rows = [("good", "good"), ("bad", "bad")] * 20
    found = said(client, lines(*rows))
    assert found["label_in_text"].startswith("In 100% of the rows the text contains its label")


def test_il13_rows_of_the_test_split_that_train_shows_are_counted_however_they_are_spaced(client: TestClient) -> None:
    train, test = many(40, "a", "b", more=("train",)), many(12, "a", "b", start=50, more=("test",))
    leaked = [(f"  {train[3][0].upper()} ", train[3][1], "test"), (train[4][0], train[4][1], "test")]
    found = said(client, lines(*train, *test, *leaked, header="text,label,split"))
    assert found["leakage"].startswith("2 validation or test rows have the same text as a row of another split: scores on them are too good.")


def test_il13_rows_of_one_author_stay_on_one_side(client: TestClient) -> None:
    rows = [(sentence(number), "ab"[number % 2], f"author {number % 12}") for number in range(120)]
    answer = upload(
        client, "a.csv", lines(*rows, header="text,label,author"), splits=json.dumps({"train": 0.6, "validation": 0.2, "test": 0.2}), group="author"
    )
    assert answer.status_code == 201, answer.text[:300]
    client.post("/api/v1/datasets/1/reveal", json={"reason": "to see them"})
    sides: dict[str, set[str]] = {}
    for split in ("train", "validation", "test"):
        for row in client.get(f"/api/v1/datasets/1/examples?split={split}&limit=200").json()["items"]:
            sides.setdefault(row["author"], set()).add(split)
    assert len(sides) == 12 and all(len(one) == 1 for one in sides.values())


def test_il14_another_file_is_matched_by_the_names_of_its_columns_whatever_their_order(client: TestClient) -> None:
    assert upload(client, "a.csv", lines(*many(40, "a", "b"))).status_code == 201
    other = lines(*((label, text) for text, label in many(10, "a", "b", start=100)), header="label,text")
    answer = client.post("/api/v1/datasets/1/append", files={"file": ("b.csv", other)})
    assert answer.status_code == 201 and answer.json()["rows"] == 50
    assert {one["key"] for one in answer.json()["labels"]} == {"a", "b"}
    strange = lines(*many(4, "a", "b", start=200), header="words,class")
    answer = client.post("/api/v1/datasets/1/append", files={"file": ("c.csv", strange)})
    assert answer.status_code == 422 and "text" in answer.text


def test_it8_personal_data_is_an_optional_warning_and_in_no_log(
    client: TestClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secret, address = "sk-" + "Zq7" * 8, "jo.doe@example.org"
    rows = [*many(40, "a", "b"), (f"my key is {secret}", "a"), (f"write to {address}", "b"), ("4111 1111 1111 1111 is my card", "a")]
    with caplog.at_level(logging.DEBUG):
        found = said(client, lines(*rows))
        broken = upload(client, "b.csv", lines(*rows) + f'"{secret} is never closed,a\n'.encode())
    assert (
        found["personal_data"].startswith("3 rows seem to contain an e-mail address, a phone, card or account number, or a key.") and broken.status_code == 422
    )
    logged = caplog.text + "".join(capfd.readouterr())
    assert secret not in logged and address not in logged and "4111" not in logged
    assert client.put("/api/v1/datasets/1/health/personal_data/warn", json={"on": False}).json() == {"code": "personal_data", "on": False}
    assert "personal_data" not in [one["code"] for one in client.get("/api/v1/datasets/1/health").json()["items"]]
    assert client.put("/api/v1/datasets/1/health/leakage/warn", json={"on": False}).status_code == 422


def test_iz8_two_files_in_one_field_are_said(client: TestClient) -> None:
    two = [("file", ("a.csv", lines(*many(20, "a", "b")))), ("file", ("b.csv", lines(*many(20, "a", "b", start=50))))]
    answer = client.post("/api/v1/datasets", files=two)
    assert answer.status_code == 422 and "2 files were sent" in answer.text
    assert client.get("/api/v1/datasets").json()["items"] == []
