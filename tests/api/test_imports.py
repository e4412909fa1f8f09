"""Files as people have them, through the API: the published ones where they are, and small ones of the same make everywhere."""

import gzip
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.services import uploads
from app.settings import settings
from tests.services.uploading import packed, table

FOLDER = Path(os.environ.get("FETTLE_BENCH_RAW") or Path(__file__).parents[2] / ".." / "shared" / "data" / "raw")


def upload(client: TestClient, name: str, data: bytes, **fields: Any) -> Any:
    return client.post("/api/v1/datasets", files={"file": (name, data)}, data=fields)


def rows(client: TestClient, key: int, split: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    following: int | None = 0
    while following is not None:
        body = client.get(f"/api/v1/datasets/{key}/examples?split={split}&offset={following}&limit=100").json()
        found, following = found + body["items"], body["next"]
    return found


# Of each published file: rows, different labels (0: free text), the most frequent label with its count, and a row as it stands in the file.
PUBLISHED: dict[str, tuple[int, int, str, int, int, str, str]] = {
    "banking77/train.csv": (10_003, 77, "card_payment_fee_charged", 187, 2, "I am still waiting on my card?", "card_arrival"),
    "banking77/test.csv": (3_080, 77, "Refund_not_showing_up", 40, 3, "I still have not received my new card, I ordered over a week ago.", "card_arrival"),
    "sms_spam/SMSSpamCollection": (5_574, 2, "ham", 4_827, 3, "Ok lar... Joking wif u oni...", "ham"),
    "trec/TREC.train.all": (5_452, 6, "1", 1_250, 1, "How did serfdom develop in and then leave Russia ?", "0"),
    "trec/TREC.test.all": (500, 6, "0", 138, 4, "What is an atom ?", "0"),
    "gsm8k/test.jsonl": (1_319, 0, "", 0, 2, "A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in total does it take?", ""),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_becomes_a_dataset_without_a_choice(client: TestClient, name: str) -> None:
    if not (FOLDER / name).exists():
        pytest.skip(f"{name} is not in the folder that FETTLE_BENCH_RAW names")
    count, labels, most, times, line, text, label = PUBLISHED[name]
    answer = upload(client, Path(name).name, (FOLDER / name).read_bytes())
    body = answer.json()
    assert answer.status_code == 201, body
    assert body["rows"] == count == sum(body["splits"].values()) and len(body["labels"]) == labels
    counts = {one["key"]: one["count"] for one in body["labels"]}
    assert counts.get(most, 0) == times == max(counts.values(), default=0)
    client.post(f"/api/v1/datasets/{body['id']}/reveal", json={"reason": "to see every row"})
    found = {row["line"]: row for split in ("train", "validation", "test") for row in rows(client, body["id"], split)}
    assert len(found) == count and found[line]["input"] == text and (not label or found[line]["output"] == label)


def doubled(text: str) -> str:
    return text.replace('"', '""')


INTENTS = [
    ("card_arrival", "Where is my card?"),
    ("card_linking", 'I "found" my card, how do I link it?'),
    ("pending_top_up", "My top-up,\nthe last one, is pending"),
]
MADE: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "quoted csv with CRLF": (
        b"text,category\r\n" + "".join(f'"{doubled(text)} {n}",{label}\r\n' for n in range(12) for label, text in INTENTS).encode(),
        [(f"{text} {n}", label) for n in range(12) for label, text in INTENTS],
    ),
    "tab-separated with stray quotes": (
        b"output\tmessage\n" + b"".join(b'%s\tsay "hi" to number %d "\n' % (label, n) for n in range(20) for label in (b"ham", b"spam")),
        [(f'say "hi" to number {n} "', label) for n in range(20) for label in ("ham", "spam")],
    ),
    "sentence, tab, label": (
        b"".join(b"a sentence about %d\t%d\n" % (n, n % 3) for n in range(40)),
        [(f"a sentence about {n}", str(n % 3)) for n in range(40)],
    ),
    "label and text, one byte that is no UTF-8": (
        b"".join(b"%d What is a sister%scity of number %d ?\n" % (n % 4, b"\xf0" if n == 7 else b" ", n) for n in range(40)),
        [(f"What is a sister{'ð' if n == 7 else ' '}city of number {n} ?", str(n % 4)) for n in range(40)],
    ),
    "records of question and answer": (
        "".join(json.dumps({"question": f"What is {n} + 1? It’s easy.", "answer": f"{n} + 1 = <<{n}+1={n + 1}>>\n#### {n + 1}"}) + "\n" for n in range(40)).encode(),
        [(f"What is {n} + 1? It’s easy.", f"{n} + 1 = <<{n}+1={n + 1}>>\n#### {n + 1}") for n in range(40)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_a_file_of_the_same_make_becomes_exactly_its_rows(client: TestClient, name: str) -> None:
    data, expected = MADE[name]
    body = upload(client, "upload", data).json()
    assert body.get("rows") == len(expected), body
    client.post(f"/api/v1/datasets/{body['id']}/reveal", json={"reason": "to see every row"})
    found = sorted((row for split in ("train", "validation", "test") for row in rows(client, body["id"], split)), key=lambda row: row["position"])
    assert [(row["input"], row["output"]) for row in found] == expected


# Of the kinds of the Big List of Naughty Strings: what harms programs that repair, format, render or run what they are given.
NAUGHTY = [
    "undefined", "nil", "NULL", "(null)", "hasOwnProperty", "constructor", "\\", "\\\\", "0", "1/0", "-1E+02", "0x0", "0xffffffff", "1_000.00", "1'000,00", "01000", "٠١٢", "NaN",
    ",./;'[]\\-=", "<>?:\"{}|_+", "!@#$%^&*()`~", "Ω≈ç√∫˜µ≤≥÷", "ЁЂЃЄ", "⁰⁴⁵", "田中さんにあげて下さい", "ヽ༼ຈل͜ຈ༽ﾉ ", "👩🏽‍🚀", "🇺🇸🇷🇺", "１２３", "الكل في المجمو عة", "\u202etest\u202e", "\u2066test\u2067",
    "Ṱ̺̺̕o͞ ̷i̲̬n̝̗v̟̜o̘̩", "˙ɐnbᴉlɐ", "𝕿𝖍𝖊", "<script>alert(0)</script>", '"><img src=x onerror=alert(2) />', "javascript:alert(1)", "1;DROP TABLE users", "' OR 1=1 -- 1", "--version",
    "$(touch /tmp/blns.fail)", "`ls -al /`", "@{[system \"touch /tmp/blns.fail\"]}", "<?xml version=\"1.0\"?><!DOCTYPE foo [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>", "$HOME", "%d%s%n%p",
    "{0.__class__.__init__.__globals__}", "{{ 7*7 }}", "{% raw %}", "{input}", "../../../../etc/passwd", "() { 0; }; touch /tmp/blns", "CON", "=1+1", "+1", "-1", "@SUM(1)", "\x1b[31mred",
    "<|im_end|>", "</s>", "[MASK]", "a\u2028b", "\ufeffmark", "\ufffe", "\x7f\x85\xa0", " padded ", "\ttab", "e\u0301", "\u200b", "ﬁ", "İ", "ß",
]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "csv"])
def test_naughty_strings_come_back_as_they_went_in(client: TestClient, form: str) -> None:
    if form == "json":
        data = json.dumps([{"input": text, "output": text} for text in NAUGHTY]).encode()
    else:
        data = b"input,output\r\n" + "".join(f'"{doubled(text)}","{doubled(text)}"\r\n' for text in NAUGHTY).encode()
    body = upload(client, "../../x.csv", data).json()
    assert body.get("rows") == len(NAUGHTY), body
    client.post(f"/api/v1/datasets/{body['id']}/reveal", json={"reason": "to see every row"})
    found = {row["position"]: row for split in ("train", "validation", "test") for row in rows(client, body["id"], split)}
    assert [(found[at]["input"], found[at]["output"]) for at in range(len(NAUGHTY))] == [(text, text if text.strip() else None) for text in NAUGHTY]
    assert body["name"] == "x" and list(settings().folder.joinpath("uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("file", ("", b""))], "file"),
        ([("other", ("a.csv", b"input,output\na,x\n"))], "file"),
        ([], "file"),
        ([("file", ("a.csv", b""))], "The file is empty."),
    ],
)
def test_an_upload_without_a_file_is_a_sentence(client: TestClient, files: Any, words: str) -> None:
    answer = client.post("/api/v1/datasets", files=files, data={"name": "a"})
    error = answer.json()["error"]
    assert answer.status_code == 422 and words in f"{error['message']} {error['advice']}" and error["code"]


def test_rows_are_left_out_only_when_somebody_says_so(client: TestClient) -> None:
    data = b"input,output\n" + b"".join(b"text %d,%s\n" % (n, b"ab"[n % 2 : n % 2 + 1]) for n in range(40)) + b" ,a\n\t,b\n"
    refused = upload(client, "a.csv", data)
    assert refused.status_code == 422 and [one["code"] for one in refused.json()["problems"]] == ["empty_input"] * 2
    assert upload(client, "a.csv", data, options='{"leave_out": ["empty_input"]}').json()["rows"] == 40
    assert upload(client, "a.csv", data, options='{"leave_out": ["unclosed_quote"]}').json()["error"]["code"] == "bad_leave_out"


def test_the_answer_says_how_a_file_was_read_and_what_to_know_about_that(client: TestClient) -> None:
    data = "".join(f"Grüße Nummer {n};{'ab'[n % 2]}\n" for n in range(40))
    made = upload(client, "a.csv", ("text;label\n" + data).encode("cp1252")).json()
    assert {name: made["detected"][name] for name in ("format", "encoding", "delimiter", "header")} == {
        "format": "csv",
        "encoding": "cp1252",
        "delimiter": ";",
        "header": True,
    }
    assert [note["code"] for note in made["notes"]] == ["read_as_windows_1252", "delimiter"] and "Windows-1252" in made["notes"][0]["sentence"]
    assert made["problems"] == [] and client.get(f"/api/v1/datasets/{made['id']}").json()["notes"] == made["notes"]
    later = ("text,label\n" + data.replace("Nummer", "Nr.").replace(";", ",")).encode("cp1252")
    grown = client.post(f"/api/v1/datasets/{made['id']}/append", files={"file": ("b.csv", later)}).json()
    assert (grown["detected"]["delimiter"], [note["code"] for note in grown["notes"]]) == (",", ["read_as_windows_1252"]), grown
    plain = upload(client, "plain.csv", ("text,label\n" + data.replace("ü", "ue").replace("ß", "ss").replace(";", ",")).encode()).json()
    assert plain["notes"] == [] and plain["detected"]["encoding"] == "utf-8"


def test_a_file_named_something_else_than_it_is_is_told_with_its_version(client: TestClient) -> None:
    first, later = (table(60, seed=seed).replace(",", "\t").encode() for seed in range(2))
    told = {"code": "misnamed", "sentence": "Named .csv, read as tab-separated text."}
    made = upload(client, "a.csv", first).json()
    assert told in made["notes"] and client.get(f"/api/v1/datasets/{made['id']}").json()["notes"] == made["notes"]
    assert told not in upload(client, "a.tsv", first).json()["notes"]
    assert told in client.post(f"/api/v1/datasets/{made['id']}/append", files={"file": ("b.csv", later)}).json()["notes"]


def test_a_version_remembers_the_sha256_of_the_bytes_that_were_sent(client: TestClient) -> None:
    first, later = (table(60, seed=seed).encode() for seed in range(2))
    made = upload(client, "a.csv", first).json()
    assert made["sha256"] == sha256(first).hexdigest() == client.get(f"/api/v1/datasets/{made['id']}").json()["sha256"]
    grown = client.post(f"/api/v1/datasets/{made['id']}/append", files={"file": ("b.csv", later)}).json()
    assert grown["sha256"] == grown["change"]["sha256"] == sha256(later).hexdigest()


def test_files_of_an_archive_become_given_splits_when_somebody_says_which(client: TestClient) -> None:
    data = packed(train=table(60), dev=table(20, seed=1), test=table(30, seed=2))
    asked = upload(client, "splits.zip", data)
    assert asked.status_code == 422 and asked.json()["problems"][0]["advice"].endswith("train.csv as train, dev.csv as validation, test.csv as test.")
    said = {"members": {"train.csv": "train", "dev.csv": "validation", "test.csv": "test"}}
    body = upload(client, "splits.zip", data, options=json.dumps(said)).json()
    assert body["splits"] == {"train": 60, "validation": 20, "test": 30}
    assert upload(client, "splits.zip", data, options='{"members": {"train.csv": "dev"}}').json()["error"]["code"] == "unknown_split"
    differ = upload(client, "splits.zip", packed(train=table(60), test="id,text\n1,a\n"), options='{"members": {"train.csv": "train", "test.csv": "test"}}')
    assert (differ.status_code, differ.json()["problems"][0]["code"], differ.json()["problems"][0]["member"]) == (422, "columns_differ", "test.csv")


@pytest.mark.parametrize("form", ["gzip", "zip"])
def test_a_packed_file_that_may_hold_much_is_read_in_the_background(client: TestClient, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(uploads, "PACKED_AT_ONCE_BYTES", 500)
    text = table(300)
    data = gzip.compress(text.encode()) if form == "gzip" else packed(tickets=text)
    answer = upload(client, "tickets.csv", data)
    assert answer.status_code == 202 and answer.json()["upload"] > 0
    assert upload(client, "tickets.csv", text.encode()).status_code == 201


def test_a_train_file_and_a_test_file_make_one_dataset(client: TestClient) -> None:
    train, test = table(300), table(50, seed=5)
    made = client.post("/api/v1/datasets", files={"file": ("train.csv", train)}, data={"options": json.dumps({"split": "train"})}).json()
    assert made["splits"] == {"train": 250, "validation": 50}
    grown = client.post(f"/api/v1/datasets/{made['id']}/append", files={"file": ("test.csv", test)}, data={"options": json.dumps({"split": "test"})}).json()
    assert grown["splits"] == {**made["splits"], "test": 50}
    refused = client.post(f"/api/v1/datasets/{made['id']}/append", files={"file": ("test.csv", test)}, data={"options": json.dumps({"split": "exam"})})
    assert refused.status_code == 422 and "exam" in refused.json()["error"]["message"]
