"""The JSON contract, noun by noun, over real databases."""

import gzip
import io
import json
import zipfile
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import transaction
from app.domain import metric as metrics
from app.domain.access import Who
from tests.rows import add_dataset, add_model, claim

CSV = "input,output\n" + "".join(
    f"message {number} about {word},{label}\n" for number, (word, label) in enumerate([("a bill", "billing"), ("a parcel", "delivery")] * 40)
)


def upload(client: TestClient, text: str | bytes, **fields: Any) -> Any:
    return client.post("/api/v1/datasets", files={"file": ("tickets.csv", text)}, data=fields)


def test_a_file_becomes_a_split_sealed_dataset(client: TestClient) -> None:
    answer = upload(client, CSV, name="tickets", seed=7)
    body = answer.json()
    assert answer.status_code == 201, body
    assert (
        body["rows"] == 80 and set(body["splits"]) == {"train", "validation", "test"} and [label["key"] for label in body["labels"]] == ["billing", "delivery"]
    )
    assert client.get(f"/api/v1/datasets/{body['id']}@1").json()["content_hash"] == body["content_hash"]
    again = upload(client, CSV, name="the same", seed=7).json()
    assert again["content_hash"] == body["content_hash"], "the same file and seed give the same version"


def test_a_broken_file_is_refused_with_lines_and_leaves_nothing(client: TestClient) -> None:
    answer = upload(client, 'input,output\nfine,yes\nthree,cells,here\n"unclosed,no\n')
    body = answer.json()
    assert answer.status_code == 422 and body["error"]["code"] == "broken_file"
    assert 3 in [problem["line"] for problem in body["problems"]] and all(problem["advice"] for problem in body["problems"])
    assert client.get("/api/v1/datasets").json() == {"items": [], "next": None}


def packed(format_: str) -> bytes:
    """The table of CSV in another format."""
    import openpyxl
    import pyarrow as pa
    from pyarrow import parquet

    rows = [line.split(",") for line in CSV.splitlines()]
    box = io.BytesIO()
    if format_ == "xlsx":
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(box)
    elif format_ == "parquet":
        parquet.write_table(pa.table({"input": [row[0] for row in rows[1:]], "output": [row[1] for row in rows[1:]]}), box)
    elif format_ == "zip":
        with zipfile.ZipFile(box, "w") as archive:
            archive.writestr("tickets.csv", CSV)
    elif format_ == "gzip":
        box.write(gzip.compress(CSV.encode()))
    else:
        box.write(CSV.replace(",", "\t").encode())
    return box.getvalue()


@pytest.mark.parametrize("format_", ["xlsx", "parquet", "zip", "gzip", "tsv"])
def test_every_format_becomes_the_same_rows(client: TestClient, format_: str) -> None:
    body = upload(client, packed(format_), seed=7).json()
    assert body.get("rows") == 80, body
    rows = client.get(f"/api/v1/datasets/{body['id']}/examples?split=train").json()["items"]
    assert rows[0]["input"].startswith("message ") and rows[0]["output"] in ("billing", "delivery")


def test_a_person_says_how_a_file_is_read(client: TestClient) -> None:
    two = json.dumps({"train": [{"input": f"a {n}", "output": "xy"[n % 2]} for n in range(40)], "test": [{"input": "b", "output": "x"}]})
    refused = upload(client, two)
    assert refused.status_code == 422 and refused.json()["problems"][0]["code"] == "choose_list"
    assert upload(client, two, options='{"under": "train"}').json()["rows"] == 40
    for options, code in [
        ('{"sheets": 1}', "unknown_field"),
        ('{"first_line": "a"}', "bad_option"),
        ('{"encoding": "rot13"}', "unknown_encoding"),
        ("[]", "bad_request"),
    ]:
        refused = upload(client, two, options=options)
        assert refused.status_code == 422 and refused.json()["error"]["code"] == code


@pytest.mark.parametrize("data", [b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08", b"%PDF-1.7", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_what_is_no_table_is_refused_with_its_reason(client: TestClient, data: bytes) -> None:
    answer = upload(client, data)
    assert answer.status_code == 422 and answer.json()["problems"][0]["advice"]
    assert client.get("/api/v1/datasets").json()["items"] == []


def test_the_test_split_is_sealed_until_it_is_revealed_with_a_reason(client: TestClient) -> None:
    key = upload(client, CSV).json()["id"]
    assert client.get(f"/api/v1/datasets/{key}/examples?split=train").status_code == 200
    for query in ("?split=test", ""):
        answer = client.get(f"/api/v1/datasets/{key}/examples{query}")
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "sealed"
    assert client.post(f"/api/v1/datasets/{key}/reveal", json={"reason": " "}).status_code == 422
    assert client.post(f"/api/v1/datasets/{key}/reveal", json={"reason": "label errors"}).json()["revealed"] is True
    assert len(client.get(f"/api/v1/datasets/{key}/examples?split=test").json()["items"]) > 0
    assert client.get(f"/api/v1/datasets/{key}").json()["viewed"] == 1


def test_lists_go_on_where_they_ended(client: TestClient, person: Who) -> None:
    keys = [add_dataset(person, f"tickets {number}").dataset_id for number in range(3)]
    first = client.get("/api/v1/datasets?limit=2").json()
    rest = client.get(f"/api/v1/datasets?limit=2&after={first['next']}").json()
    assert [item["id"] for item in first["items"] + rest["items"]] == keys[::-1] and rest["next"] is None


def test_prompts_have_immutable_versions(client: TestClient) -> None:
    made = client.post("/api/v1/prompts", json={"name": "route", "instruction": "Route it.", "shots": [{"input": "a", "output": "b"}]})
    assert made.status_code == 201 and made.json()["version"] == 1
    key = made.json()["id"]
    assert client.post(f"/api/v1/prompts/{key}/versions", json={"instruction": "Route it well."}).json()["version"] == 2
    assert client.post(f"/api/v1/prompts/{key}/versions", json={"instruction": "Route it well."}).json()["version"] == 2, "the same wording is the same version"
    assert client.get(f"/api/v1/prompts/{key}@1").json()["instruction"] == "Route it."


@pytest.mark.parametrize("extra", ["workspace_id", "author_id", "state", "__proto__"])
def test_unknown_fields_are_refused_by_name(client: TestClient, extra: str) -> None:
    answer = client.post("/api/v1/prompts", json={"name": "x", extra: 1})
    assert answer.status_code == 422 and answer.json()["error"]["field"] == extra


def tune(client: TestClient, person: Who, **changes: Any) -> Any:
    body = {"kind": "tune", "model": add_model(person), "dataset": add_dataset(person).dataset_id, "method": "lora"} | changes
    return client.post("/api/v1/jobs", json=body)


def test_a_job_is_a_row_first_and_can_be_cancelled(client: TestClient, person: Who) -> None:
    answer = tune(client, person, parameters={"rank": 4})
    assert answer.status_code == 202 and answer.json()["state"] == "queued" and answer.json()["position"] == 1
    key = answer.json()["id"]
    job = client.get(f"/api/v1/jobs/{key}").json()
    assert job["settings"]["dataset"].endswith("@1") and job["settings"]["parameters"]["rank"] == 4 and job["settings"]["prompt_version"].endswith("@1")
    assert client.post(f"/api/v1/jobs/{key}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/api/v1/jobs/{key}/cancel").status_code == 409
    assert client.post(f"/api/v1/jobs/{key}/retry").json()["state"] == "queued"
    assert client.get(f"/api/v1/jobs/{key}/metrics?after_step=0").json() == {"items": [], "next": None}


def test_an_estimate_is_no_job_and_a_clone_can_change_parameters(client: TestClient, person: Who) -> None:
    body = {"model": add_model(person), "dataset": add_dataset(person).dataset_id, "method": "lora", "parameters": {"max_steps": 7}}
    found = client.post("/api/v1/jobs/estimate", json=body)
    assert found.status_code == 200 and found.json()["steps"] == 7
    assert {found.json()[name] for name in ("trainable_parameters", "memory_bytes", "fits", "device")} == {None}
    assert client.post("/api/v1/jobs/estimate", json=body | {"parameters": {"rank": 0}}).json()["error"]["field"] == "rank"
    searched = client.post("/api/v1/jobs/estimate", json=body | {"search": {"how": "grid", "space": {"rank": [4, 8, 16]}}}).json()
    assert (searched["trials"], searched["steps"], found.json()["trials"]) == (3, 3 * 3 + 4, 1)
    refused = client.post("/api/v1/jobs/estimate", json=body | {"search": {"how": "grid", "space": {"rank": [4, 0]}}}).json()["error"]
    assert refused["field"] == "search.space.rank"
    assert client.get("/api/v1/jobs").json()["items"] == []
    key = client.post("/api/v1/jobs", json=body).json()["id"]
    changed = client.post(f"/api/v1/jobs/{key}/clone", json={"parameters": {"accumulation": 4}}).json()["settings"]["parameters"]
    assert (changed["accumulation"], changed["max_steps"]) == (4, 7)
    assert client.post(f"/api/v1/jobs/{key}/clone").status_code == 202
    refused = client.post(f"/api/v1/jobs/{key}/clone", json={"parameters": {"accumulation": 0}})
    assert refused.status_code == 422 and refused.json()["error"]["field"] == "accumulation"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": "magic"}, "unknown_method"),
        ({"parameters": {"rank": 0}}, "bad_parameter"),
        ({"parameters": {"ranc": 4}}, "bad_parameter"),
        ({"model": 999}, "not_found"),
        ({"dataset": "999@2"}, "not_found"),
    ],
)
def test_a_job_that_cannot_run_is_refused_before_it_is_one(client: TestClient, person: Who, changes: dict[str, Any], code: str) -> None:
    answer = tune(client, person, **changes)
    assert answer.status_code in (404, 422) and answer.json()["error"]["code"] == code and answer.json()["error"]["advice"]
    assert client.get("/api/v1/jobs").json()["items"] == []


def test_samples_come_with_what_is_right(client: TestClient, person: Who) -> None:
    key = tune(client, person).json()["id"]
    assert client.get(f"/api/v1/jobs/{key}/samples").json() == {"items": [], "next": None}
    row = {"step": 0, "row": 3, "input": "message 3", "gold": "delivery"}
    with transaction() as session:
        job = claim(session)
        told = [{**row, "text": " the bill"}, {**row, "step": 4, "text": " Delivery\nInput:"}]
        metrics.record(session, job.id, job.lease_token or "", 1, [], [], told)
    items = client.get(f"/api/v1/jobs/{key}/samples").json()["items"]
    assert items == [{"trial": None, **told[0], "right": False}, {"trial": None, **told[1], "right": True}]
    assert client.get("/api/v1/jobs/999/samples").status_code == 404


@pytest.mark.parametrize("technique", ["job", "experiment"])
def test_a_measure_that_cannot_be_is_refused_at_acceptance(client: TestClient, person: Who, technique: str) -> None:
    free = upload(client, "input,output\n" + "".join(f"question {number},answer number {number}\n" for number in range(60))).json()
    assert free["labels"] == []
    parameters = {"validate_by": "macro_f1"}
    if technique == "job":
        answer = tune(client, person, dataset=free["id"], parameters=parameters)
    else:
        rungs = [{"technique": "lora", "parameters": parameters}]
        answer = client.post("/api/v1/experiments", json={"name": "t", "dataset": free["id"], "model": add_model(person), "rungs": rungs})
    body = answer.json()["error"]
    assert answer.status_code == 422 and body["code"] == "cannot_validate" and "free text" in body["message"] and "rouge_l" in body["advice"]
    assert client.get("/api/v1/jobs").json()["items"] == []


def test_an_experiment_answers_with_its_rows(client: TestClient, person: Who) -> None:
    body = {"name": "t", "dataset": add_dataset(person).dataset_id, "model": add_model(person), "rungs": [{"technique": "lora"}, {"technique": "zero_shot"}]}
    made = client.post("/api/v1/experiments", json=body)
    assert made.status_code == 202, made.json()
    view = client.get(f"/api/v1/experiments/{made.json()['id']}").json()
    assert [row["technique"] for row in view["rows"]] == ["zero_shot", "lora"] and view["recommendation"] is None and view["state"] == "waiting"


def test_generation_without_an_engine_says_what_to_start(client: TestClient, person: Who) -> None:
    answer = client.post("/api/v1/generate", json={"model": add_model(person), "variables": {"input": "hello"}})
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "engine_away" and "fettle engine" in answer.json()["error"]["advice"]


def test_a_misspelt_variable_is_an_error_with_the_names_that_exist(client: TestClient, person: Who) -> None:
    body = {"model": add_model(person), "prompt": {"mode": "freeform", "text": "Say {nmae}"}, "variables": {"name": "Ada"}}
    answer = client.post("/api/v1/generate", json=body)
    assert answer.status_code == 422 and "{nmae}" in answer.json()["error"]["message"] and "{name}" in answer.json()["error"]["advice"]


def test_defaults_of_variables_are_kept_with_the_version(client: TestClient, person: Who) -> None:
    body = {"name": "x", "mode": "freeform", "text": "{tone}", "defaults": {"tone": "warm"}}
    made = client.post("/api/v1/prompts", json=body).json()
    assert client.get(f"/api/v1/prompts/{made['id']}").json()["defaults"] == {"tone": "warm"}
    again = client.post(f"/api/v1/prompts/{made['id']}/versions", json={**body, "name": None} | {"defaults": {"tone": "cool"}})
    assert again.status_code == 422, "unknown fields are refused"
    changed = client.post(f"/api/v1/prompts/{made['id']}/versions", json={"mode": "freeform", "text": "{tone}", "defaults": {"tone": "cool"}})
    assert changed.json()["version"] == 2, "another default is another version"
    assert client.post("/api/v1/prompts", json={"name": "x", "defaults": {"no name": "x"}}).status_code == 422
    answer = client.post("/api/v1/generate", json={"model": add_model(person), "prompt_version": f"{made['id']}@1", "variables": {}})
    assert answer.json()["error"]["code"] == "engine_away", "nothing is missing but the engine"


def test_v1_lists_models_and_speaks_the_openai_error_shape(client: TestClient, person: Who) -> None:
    add_model(person)
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["starter"]
    answer = client.post("/v1/chat/completions", json={"model": "nobody", "messages": [{"role": "user", "content": "hi"}]})
    assert answer.status_code == 404 and set(answer.json()["error"]) == {"message", "type", "param", "code"}
    answer = client.post("/v1/chat/completions", json={"model": "starter", "messages": [{"role": "user", "content": "hi"}], "chat_template": "{{ 1 }}"})
    assert answer.status_code in (400, 422) and "chat_template" in answer.json()["error"]["message"]


def test_hostile_json_is_a_4xx(client: TestClient) -> None:
    for raw in (b'{"name": NaN}', b'{"name": "\\ud800"}', b"[" * 5000, b"\xff\xfe", json.dumps({"name": "x" * 300}).encode()):
        answer = client.post("/api/v1/prompts", content=raw, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, (raw[:20], answer.status_code)


def test_an_evaluation_is_cloned_with_one_field_changed(client: TestClient, person: Who) -> None:
    body = {"model": add_model(person), "dataset": add_dataset(person).dataset_id, "split": "validation", "answer": "generate", "limit": 5}
    prompt = client.post("/api/v1/prompts", json={"name": "asked", "mode": "freeform", "text": "{input}"}).json()
    first = client.post(
        "/api/v1/evaluations", json={**body, "prompt_version": f"{prompt['id']}@1", "scheme": {"metric": "macro_f1", "extractor": "exact"}}
    ).json()
    same = client.post(f"/api/v1/jobs/{first['job']}/clone").json()
    other = client.post(f"/api/v1/jobs/{first['job']}/clone", json={"limit": 3, "scheme": {"extractor": "first_line"}, "priority": 4}).json()
    old = client.get(f"/api/v1/jobs/{first['job']}").json()
    assert same["settings"] == old["settings"] and same["cloned_from"] == first["job"] and same["kind"] == "evaluate"
    assert other["settings"] == {**old["settings"], "limit": 3} and other["priority"] == 4
    schemes = [client.get(f"/api/v1/evaluations/{key}").json()["scheme"] for key in (1, 2, 3)]
    assert schemes[0] == schemes[1] and schemes[2] == {**schemes[0], "extractor": "first_line"}
    for changes, field in (({"method": "lora"}, "method"), ({"parameters": {"rank": 4}}, "parameters"), ({"seed": 1}, "seed")):
        refused = client.post(f"/api/v1/jobs/{first['job']}/clone", json=changes)
        assert refused.status_code == 422 and refused.json()["error"]["message"] == f"An evaluation has no {field}."
    assert client.post(f"/api/v1/jobs/{first['job']}/clone", json={"split": "train", "scheme": {"extractor": "regex"}}).status_code == 422
    tune = client.post("/api/v1/jobs", json={"model": body["model"], "dataset": body["dataset"], "method": "lora"}).json()["id"]
    refused = client.post(f"/api/v1/jobs/{tune}/clone", json={"limit": 3})
    assert refused.status_code == 422 and refused.json()["error"]["message"] == "A tuning job has no limit."


def test_a_search_is_checked_stored_cloned_and_its_trials_are_listed(client: TestClient, person: Who) -> None:
    task = {"model": add_model(person), "dataset": add_dataset(person).reference, "method": "lora", "seed": 5}
    asked = {"how": "random", "trials": 4, "space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "rank": [4, 8]}}
    answer = client.post("/api/v1/jobs", json={**task, "search": asked})
    assert answer.status_code == 202, answer.json()
    key = answer.json()["id"]
    stored = client.get(f"/api/v1/jobs/{key}").json()["settings"]["search"]
    assert stored == {**asked, "factor": 3, "seed": 5}
    clone = client.post(f"/api/v1/jobs/{key}/clone").json()
    assert clone["settings"]["search"] == stored
    changed = client.post(f"/api/v1/jobs/{key}/clone", json={"parameters": {"accumulation": 4}}).json()
    assert changed["settings"]["search"] == stored and changed["settings"]["parameters"]["accumulation"] == 4
    refused = client.post(f"/api/v1/jobs/{key}/clone", json={"parameters": {"keep_text": True}})
    assert refused.status_code == 422
    assert client.get(f"/api/v1/jobs/{key}/trials").json() == {"items": [], "next": None}
    plain = client.post("/api/v1/jobs", json={**task, "search": {"how": "none"}}).json()["id"]
    assert "search" not in client.get(f"/api/v1/jobs/{plain}").json()["settings"]
    for search, field in (({"how": "grid", "colour": 1}, "search.colour"), ({"how": "grid", "space": {"ranks": [1, 2]}}, "search.space.ranks")):
        refused = client.post("/api/v1/jobs", json={**task, "search": search})
        assert refused.status_code == 422 and refused.json()["error"]["field"] == field and refused.json()["error"]["advice"]
