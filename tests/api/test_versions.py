"""Versions of a dataset over JSON: change, difference, appending, health, export, reserve, deleting, comparing across versions."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import reading, transaction
from app.domain import chore as chores
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.chore import Chore
from app.domain.dataset import Example
from app.services import appending, evaluations, imports
from tests.rows import add_dataset, add_model, answer_evaluation, claim
from tests.unhealthy import sick


def rows(client: TestClient, split: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/api/v1/datasets/1/examples?split={split}&limit=1000").json()["items"]
    return found


def change(client: TestClient, **body: Any) -> Any:
    return client.post("/api/v1/datasets/1/versions", json=body)


def test_a_change_makes_the_next_version_and_the_list_remembers_it(client: TestClient, person: Who) -> None:
    add_dataset(person)
    first = rows(client, "train")
    made = change(client, kind="drop", rows=[first[0]["id"]], reason="wrong")
    assert made.status_code == 201 and made.json()["version"] == 2 and made.json()["splits"]["train"] == 19
    assert change(client, kind="relabel", labels={"delivery": "parcel"}).json()["labels"][1]["key"] == "parcel"
    key = rows(client, "validation")[0]["id"]
    assert change(client, kind="move", rows=[key], split="train").json()["splits"] == {"train": 20, "validation": 9, "test": 30}
    key = rows(client, "train")[0]["id"]
    assert change(client, kind="edit", outputs={key: "billing"}).json()["version"] == 5
    items = client.get("/api/v1/datasets/1/versions").json()["items"]
    assert [(item["version"], item["parent"], item["author"], (item["change"] or {}).get("kind")) for item in items] == [
        (5, 4, "Ada", "edit"), (4, 3, "Ada", "move"), (3, 2, "Ada", "relabel"), (2, 1, "Ada", "drop"), (1, None, "Ada", None),
    ]  # fmt: skip
    found = client.get("/api/v1/datasets/1/diff?since=1&kind=removed").json()
    assert found["counts"]["removed"] == 1 and found["items"][0]["before"]["id"] == first[0]["id"] and found["items"][0]["after"] is None
    assert client.get("/api/v1/datasets/1/diff?since=1").json()["sealed"] == {"added": 0, "removed": 0, "changed": 15, "moved": 0}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "drop", "rows": [10**9]}, 422, "nothing_changes"),
        ({"kind": "explode"}, 422, "bad_request"),
        ({"kind": "drop", "rows": [1], "sealed_at": 5}, 422, "bad_request"),
        ({"kind": "move", "rows": [1], "split": "test"}, 422, "into_test"),
        ({"kind": "move", "rows": [60], "split": "train"}, 403, "sealed"),
        ({"kind": "edit", "outputs": {"60": "billing"}}, 403, "sealed"),
    ],
)
def test_a_change_that_may_not_be_is_refused(client: TestClient, person: Who, body: dict[str, Any], status: int, code: str) -> None:
    add_dataset(person)
    answer = change(client, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code) and answer.json()["error"]["advice"]
    assert len(client.get("/api/v1/datasets/1/versions").json()["items"]) == 1


@pytest.mark.parametrize("output", ["  ", "a\0b", "half \ud83d"])
def test_outputs_that_no_row_may_have_are_refused_at_every_door(client: TestClient, person: Who, output: str) -> None:
    row = add_dataset(person)
    with reading() as session:
        key = session.scalars(select(Example.id).where(Example.version_id == row.id, Example.split == "train")).first()
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("versions", {"kind": "edit", "outputs": {str(key): output}}),
        ("versions", {"kind": "relabel", "labels": {"billing": output}}),
        ("versions", {"kind": "relabel", "labels": {output: "x"}}),
        ("annotations", {"example": key, "output": output}),
        ("labels", {"labels": [{"key": output}]}),
    ]
    for path, sent in bodies:
        answer = client.post(f"/api/v1/datasets/1/{path}", content=json.dumps(sent), headers={"Content-Type": "application/json"})
        assert answer.status_code == 422 and answer.json()["error"]["code"] in ("blank_label", "bad_label", "bad_request"), answer.text
    assert client.get("/api/v1/datasets/1").json()["version"] == 1


def test_a_file_is_appended(client: TestClient, person: Who) -> None:
    add_dataset(person)
    file = "input,output\n" + "".join(f"a late message number {number},billing\n" for number in range(10)) + "train message 0 about my bill,billing\n"
    made = client.post("/api/v1/datasets/1/append", files={"file": ("late.csv", file)}, data={"reason": "late"})
    assert made.status_code == 201 and made.json()["rows"] == 70 and made.json()["change"]["repeated"] == 1
    slices = client.get("/api/v1/datasets/1/versions").json()["items"][0]["test_slices"]
    assert slices[0] == {"version": 1, "at": slices[0]["at"], "rows": 30}
    broken = client.post("/api/v1/datasets/1/append", files={"file": ("late.csv", "input,output\na,b,c\n")})
    assert broken.status_code == 422 and broken.json()["problems"][0]["line"] == 2


def test_two_files_are_not_appended_as_one(client: TestClient, person: Who) -> None:
    add_dataset(person)
    two = [("file", ("a.csv", "input,output\none more,a\n")), ("file", ("b.csv", "input,output\ntwo more,a\n"))]
    refused = client.post("/api/v1/datasets/1/append", files=two)
    assert refused.status_code in (400, 422) and refused.json()["error"]["code"] == "several_files", refused.text


def test_how_an_appended_file_is_read_can_be_said(client: TestClient, person: Who) -> None:
    add_dataset(person)
    file = "téxt|kind\n" + "".join(f"été {number}|billing\n" for number in range(10)) + "one|two|three\n"
    said = {"mapping": '{"input": "téxt", "output": "kind"}', "options": '{"encoding": "utf-16-le", "delimiter": "|", "leave_out": ["wrong_number_of_values"]}'}
    made = client.post("/api/v1/datasets/1/append", files={"file": ("late.csv", file.encode("utf-16-le"))}, data=said).json()
    assert (made["rows"], made["change"]["added"], made["change"]["left_out"], made["change"]["detected"]["encoding"]) == (70, 10, 1, "utf-16-le")
    unknown = client.post("/api/v1/datasets/1/append", files={"file": ("late.csv", file)}, data={"options": '{"colour": 1}'})
    assert unknown.status_code == 422 and unknown.json()["error"]["code"] == "unknown_field"


def test_findings_have_rows_and_remedies(client: TestClient, person: Who) -> None:
    sick(person)
    items = client.get("/api/v1/datasets/1/health").json()["items"]
    assert items[0]["code"] == "leakage" and items[0]["remedy"] == "drop" and items[0]["fixed"] == 1
    found = client.get("/api/v1/datasets/1/health/leakage/examples").json()
    assert found["hidden"] == 1 and [row["split"] for row in found["items"]] == ["train"] and found["next"] is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "AT_ONCE_ROWS", 50)
        answer = client.post("/api/v1/datasets/1/versions", json={"kind": "drop", "rows": [1]})
        assert answer.status_code == 202
        upload = answer.json()["upload"]
        assert (client.get(f"/api/v1/uploads/{upload}").json()["filename"], client.get("/api/v1/datasets/1").json()["version"]) == ("Drop 1 row", 1)
        assert client.delete(f"/api/v1/uploads/{upload}").status_code == 204
    made = client.post("/api/v1/datasets/1/health/leakage/mend")
    assert made.status_code == 201 and made.json()["splits"] == items[0]["after"]["splits"]
    assert client.post("/api/v1/datasets/1/health/leakage/mend").status_code == 404


def test_an_export_is_a_file_without_sealed_rows(client: TestClient, person: Who) -> None:
    add_dataset(person)
    answer = client.get("/api/v1/datasets/1/export?format=jsonl")
    assert len(answer.text.splitlines()) == 30 and answer.headers["x-fettle-left-out"] == "30 test rows (sealed)"
    assert 'filename="tickets-v1-without-test.jsonl"' in answer.headers["content-disposition"]
    assert client.get("/api/v1/datasets/1/export?format=parquet").content[:4] == b"PAR1"
    assert client.get("/api/v1/datasets/1/export?format=xls").status_code == 422


def test_a_reserve_is_neither_read_nor_scored_before_it_is_opened(client: TestClient, person: Who) -> None:
    add_dataset(person)
    made = client.post("/api/v1/datasets/1/reserve", json={"share": 0.5}).json()
    assert made["splits"]["reserve"] + made["splits"]["test"] == 30
    evaluation = {"model": add_model(person), "prompt_version": prompt(person), "dataset": 1, "split": "reserve"}
    for answer in (client.get("/api/v1/datasets/1/examples?split=reserve"), client.post("/api/v1/evaluations", json=evaluation)):
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "sealed"
    assert client.post("/api/v1/datasets/1/reserve/open", json={"reason": "the end"}).status_code == 200
    assert client.post("/api/v1/datasets/1/reserve/open", json={"reason": "again"}).status_code == 409
    assert client.post("/api/v1/evaluations", json=evaluation).status_code == 202
    client.get("/api/v1/datasets/1/examples?split=reserve")
    looks = {"test": {"scored": 0, "viewed": 0, "opened": []}, "reserve": {"scored": 0, "viewed": 1, "opened": [2]}}
    assert client.get("/api/v1/datasets/1").json()["looks"] == looks
    assert client.get("/api/v1/datasets/1@1").json()["looks"] == {"test": {"scored": 0, "viewed": 1, "opened": [2]}}, "they were its test rows"


def prompt(person: Who) -> str:
    with transaction() as session:
        return prompts.default(session, person).reference


def score(person: Who, dataset: str, right: int) -> int:
    """A finished evaluation on the test split with so many right answers from the top."""
    with transaction() as session:
        models = session.connection().exec_driver_sql("SELECT id FROM model").scalars().all()
    view = evaluations.create(person, model=models[0] if models else add_model(person), prompt_version=prompt(person), dataset=dataset)
    with transaction() as session:
        job = claim(session)
    answer_evaluation(job, right)
    return view.evaluation.id


def test_evaluations_across_versions_are_compared_on_the_rows_they_share(client: TestClient, person: Who) -> None:
    add_dataset(person)
    first = score(person, "1", 12)
    client.post("/api/v1/datasets/1/reveal", json={"reason": "labels look wrong"})
    test = rows(client, "test")
    assert change(client, kind="drop", rows=[row["id"] for row in test[:2]]).status_code == 201
    second = score(person, "1", 24)
    same = client.get(f"/api/v1/evaluations/{first}/against/{first}").json()
    assert (same["rows"], same["difference"], same["verdict"]) == (30, 0, "cannot_tell") and same["sentence"].endswith(
        "Compared on the same 30 rows. Both do equally well on every one of them."
    )
    found = client.get(f"/api/v1/evaluations/{second}/against/{first}").json()
    assert (found["rows"], found["of"], found["gained"], found["lost"], found["verdict"]) == (28, [28, 30], 14, 0, "better")
    assert found["sentence"].endswith("Compared on the 28 rows that versions 1 and 2 have in common (of 30 and 28).")
    add_dataset(person, "mail")
    other = score(person, "2", 10)
    assert client.get(f"/api/v1/evaluations/{second}/against/{other}").json()["error"]["code"] == "not_comparable"


def test_a_dataset_is_deleted_unless_something_is_built_on_it(client: TestClient, person: Who) -> None:
    add_dataset(person)
    client.post("/api/v1/experiments", json={"name": "ladder", "dataset": 1, "model": add_model(person), "rungs": [{"technique": "zero_shot"}]})
    refused = client.delete("/api/v1/datasets/1")
    assert (
        refused.status_code == 409
        and refused.json()["error"]["code"] == "in_use"
        and refused.json()["error"]["users"][0] == {"noun": "experiment", "id": 1, "name": "ladder"}
    )
    add_dataset(person, "mail")
    assert client.delete("/api/v1/datasets/2").status_code == 204
    assert client.get("/api/v1/datasets/2").status_code == 404 and client.delete("/api/v1/datasets/2").status_code == 404


def test_the_api_answers_202_and_says_which_version_it_became(client: TestClient, person: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    add_dataset(person)
    monkeypatch.setattr(appending, "AT_ONCE_ROWS", 10)
    files = {"file": ("more.csv", "input,output\n" + "".join(f"a new message number {number},billing\n" for number in range(40)))}
    answer = client.post("/api/v1/datasets/1/append", files=files, data={"reason": "more"})
    assert answer.status_code == 202
    key = answer.json()["upload"]
    imports.run(key)
    told = client.get(f"/api/v1/uploads/{key}").json()
    assert (told["state"], told["dataset"], told["version"], told["rows"]) == ("done", 1, 2, 100)


def test_a_search_whose_index_failed_answers_with_a_code_and_its_address_runs_it_again(client: TestClient, person: Who) -> None:
    version = add_dataset(person)
    with transaction() as session:
        chores.again(session, version.id, "search", version.rows, {})
        wrong = {"code": "disk_full", "message": "The disk is full.", "advice": "Make room, then run it again."}
        session.query(Chore).update({"state": "failed", "error": wrong})
    answer = client.get("/api/v1/datasets/1/examples?split=train&q=parcel")
    error = answer.json()["error"]
    assert answer.status_code == 409 and error["code"] == "index_failed" and "The disk is full." in error["message"] and error["advice"]
    assert client.get("/api/v1/datasets/1/examples?split=train").status_code == 200
    answer = client.post(error["again"])
    assert answer.status_code == 202 and answer.json()["kind"] == "search" and answer.json()["error"] is None
    assert client.get("/api/v1/datasets/1/examples?split=train&q=parcel").status_code == 200
    assert client.post("/api/v1/datasets/1/background/dishes").status_code == 404
