"""Label books, labels given row by row and suggestions, over the JSON API."""

from typing import Any

from starlette.testclient import TestClient

from app.domain.access import Who
from tests.rows import add_dataset, add_model
from tests.services.test_annotating import add_waiting
from tests.services.test_label_books import add_coded


def told(answer: Any, status: int) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_book_is_read_searched_proposed_for_and_rewritten(client: TestClient, person: Who) -> None:
    add_coded(person)
    book = told(client.get("/api/v1/datasets/1/labels?limit=2"), 200)
    assert [one["key"] for one in book["items"]] == ["T-1", "T-2"] and (book["next"], book["total"], book["rendered"]) == (2, 3, "T-1, T-2, T-3")
    assert [one["key"] for one in told(client.get("/api/v1/datasets/1/labels?q=t-3"), 200)["items"]] == ["T-3"]
    proposals = told(client.get("/api/v1/datasets/1/labels/proposals"), 200)["items"]
    assert proposals[0] == {"key": "T-1", "display": "billing", "source": "column kind"}
    changes = [{"key": one["key"], "display": one["display"]} for one in proposals]
    version = told(client.post("/api/v1/datasets/1/labels", json={"labels": changes, "reason": "named"}), 201)
    assert version["version"] == 2 and version["change"]["kind"] == "label_book" and version["labels"][0]["display"] == "billing"
    only = [{"key": "T-1", "aliases": ["invoice"]}, {"key": "T-2", "parent": "T-1"}]
    version = told(client.post("/api/v1/datasets/1@2/labels", json={"labels": only}), 201)
    assert version["labels"][0] == {
        "key": "T-1", "display": "billing", "description": "", "aliases": ["invoice"], "parent": None,
        "retired": False, "none": False, "added": False, "count": 10,
    }  # fmt: skip
    assert told(client.post("/api/v1/datasets/1/labels", json={"labels": [{"key": "T-2", "parent": None}]}), 201)["labels"][1]["parent"] is None


def test_a_book_that_cannot_be_names_label_and_field(client: TestClient, person: Who) -> None:
    add_coded(person)
    error = told(client.post("/api/v1/datasets/1/labels", json={"labels": [{"key": "T-1", "display": "T-2"}]}), 422)["error"]
    assert (error["code"], error["label"], error["field"]) == ("bad_label", "T-2", "display") and error["advice"]
    assert told(client.post("/api/v1/datasets/1/labels", json={"labels": [{"key": "T-1", "colour": "red"}]}), 422)["error"]["code"] == "bad_request"
    add_dataset(person)
    assert told(client.post("/api/v1/datasets/1@9/labels", json={}), 404)["error"]["code"] == "not_found"


def test_the_queue_is_worked_off_and_saved(client: TestClient, person: Who) -> None:
    add_waiting(person, 3)
    first, second, third = told(client.get("/api/v1/datasets/1/queue"), 200)["items"]
    assert (first["output"], first["saved"], first["split"]) == (None, None, "unlabelled")
    place = "/api/v1/datasets/1/annotations"
    assert told(client.post(place, json={"example": first["id"], "output": "billing", "assisted": True}), 200)["labelled"] == 1
    assert told(client.post(place, json={"example": second["id"], "skipped": True}), 200)["skipped"] == 1
    told(client.post(place, json={"example": third["id"], "output": "delivery"}), 200)
    undone = told(client.post(f"{place}/undo"), 200)
    assert undone["undone"] and undone["row"]["id"] == third["id"] and undone["progress"]["left"] == 1
    saved = told(client.post(f"{place}/save", json={"reason": "an hour's work"}), 201)
    assert (saved["version"], saved["saved"], saved["clashing"], saved["splits"]["unlabelled"]) == (2, 1, 0, 2)
    assert told(client.post(f"{place}/save", json={}), 422)["error"]["code"] == "nothing_to_save"
    assert client.delete(place).status_code == 204
    assert told(client.get("/api/v1/datasets/1/queue"), 200)["progress"]["skipped"] == 0


def test_a_sealed_row_an_old_row_and_a_missing_engine_are_told_apart(client: TestClient, person: Who) -> None:
    version, model = add_waiting(person), add_model(person)
    train = told(client.get("/api/v1/datasets/1/examples?split=train"), 200)["items"][0]["id"]
    sealed = train + 30
    assert told(client.post("/api/v1/datasets/1/annotations", json={"example": sealed, "output": "billing"}), 403)["error"]["code"] == "sealed"
    assert told(client.post("/api/v1/datasets/1/annotations", json={"example": train + 999, "output": "billing"}), 409)["error"]["code"] == "newer_version"
    wanted = {"rows": [train], "model": model}
    assert told(client.post(f"/api/v1/datasets/{version.reference}/suggestions", json=wanted), 503)["error"]["code"] == "engine_away"
    assert told(client.post("/api/v1/datasets/1/suggestions", json={"rows": [sealed], "model": model}), 403)["error"]["code"] == "sealed"


def test_nothing_of_it_without_a_token(anonymous: TestClient, person: Who) -> None:
    add_coded(person)
    for path in ("labels", "labels/proposals", "queue"):
        assert anonymous.get(f"/api/v1/datasets/1/{path}").status_code == 401
    for path in ("labels", "annotations", "annotations/undo", "annotations/save", "suggestions"):
        assert anonymous.post(f"/api/v1/datasets/1/{path}", json={}).status_code in (401, 422)
