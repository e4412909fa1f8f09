"""Texts that no database keeps (a NUL, half a character) at every door that takes text: a sentence and 422, never a crash."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient

from app.domain.access import Who
from app.doors import unkept
from tests.house.rules import ROOT
from tests.rows import add_dataset, add_model

NUL, PLAIN = "a\0b", "text"
DEPTH = 6

Schema = Mapping[str, Any]


class Doors:
    """Every route with what it takes, out of the application's own description."""

    def __init__(self, application: FastAPI) -> None:
        self._all = application.openapi()
        self.routes = [(method, path, route) for path, by in self._all["paths"].items() for method, route in by.items() if method != "head"]

    def requests(self, method: str, path: str, route: Schema) -> Iterator[tuple[str, dict[str, Any]]]:
        """(address, arguments) with a NUL in one text each; whatever else has to be there is plain."""
        there = [one for one in route.get("parameters", []) if one["in"] in ("path", "query")]
        texts = [one["name"] for one in there if "string" in _types(self._resolved(one["schema"]))]
        for name in texts:
            inside = {one["name"] for one in there if one["in"] == "path"}
            address = re.sub(r"{(\w+)(:\w+)?}", lambda found: quote(NUL) if found[1] == name else "1", path)  # noqa: B023 used at once
            yield address, {} if name in inside else {"params": {name: NUL}}
        if method == "delete":
            return
        address = re.sub(r"{\w+(:\w+)?}", "1", path)
        contents = route.get("requestBody", {}).get("content", {})
        for kind, told in contents.items():
            schema = self._resolved(told["schema"])
            fields = schema.get("properties", {})
            needed = {name: self._sample(fields[name]) for name in schema.get("required", ()) if name in fields}
            for name, part in fields.items():
                whole = {**needed, name: self._sample(part)}
                for value in _with_nul(whole[name]):
                    yield address, _sent(kind, {**whole, name: value})
        if not contents and method == "post":
            yield address, {"data": dict.fromkeys(FIELDS, NUL)}
            yield address, {"data": dict.fromkeys(FIELDS, "1") | {"name": NUL}}

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._all["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def _sample(self, schema: Schema, depth: int = 0) -> Any:
        schema = self._resolved(schema)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self._sample(next(one for one in schema[choice] if one.get("type") != "null"), depth + 1)
        if "enum" in schema or "const" in schema:
            return schema.get("const", (schema.get("enum") or [None])[0])
        kind = schema.get("type", "string")
        if kind == "object" and depth < DEPTH:
            fields = {name: self._sample(one, depth + 1) for name, one in schema.get("properties", {}).items()}
            return fields if fields or schema.get("additionalProperties") is False else {"1": PLAIN}
        if kind == "array" and depth < DEPTH:
            return [self._sample(schema.get("items", {}), depth + 1)]
        numbers = {"integer": max(1, schema.get("minimum", 1)), "number": 1.0, "boolean": False, "array": [], "object": {}}
        return PLAIN if kind == "string" else numbers.get(kind)


FIELDS = sorted({name for page in (ROOT / "templates").rglob("*.html") for name in re.findall(r'name="(\w+)"', page.read_text())} - {"file"})
"""What forms whose fields depend on what was chosen may send."""


def _types(schema: Schema) -> set[str]:
    return {str(one.get("type", "string")) for one in schema.get("anyOf", [schema]) if "enum" not in one and one.get("type") != "null"}


def _with_nul(value: Any) -> Iterator[Any]:
    """The value with a NUL in one of its texts, each in turn."""
    if isinstance(value, str):
        yield NUL
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: one} for one in _with_nul(inner))
        if set(value) == {"1"}:
            yield {NUL: PLAIN}
    elif isinstance(value, list) and value:
        yield from ([one] for one in _with_nul(value[0]))


def _sent(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    if kind == "application/json":
        return {"json": body}
    if kind == "application/x-www-form-urlencoded":
        return {"data": body}
    return {"data": {name: value for name, value in body.items() if name != "file"}, "files": {"file": ("a.csv", b"input,output\na,b\n")}}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_nul_crashes_no_door(client: TestClient, person: Who, application: FastAPI) -> None:
    doors = Doors(application)
    add_model(person)
    add_dataset(person)
    asked, told, wrong = 0, 0, []
    quiet = TestClient(application, base_url="http://localhost", follow_redirects=False, raise_server_exceptions=False, headers=dict(client.headers))
    for method, path, route in doors.routes:
        if path.endswith(("/revoke", "/sign-out")):
            continue  # they would end what this test asks with
        for address, sent in doors.requests(method, path, route):
            answer = quiet.request(method.upper(), address, **sent)
            asked, told = asked + 1, told + ("which cannot be kept" in answer.text)
            if (answer.status_code == 401 and path not in ("/sign-in", "/api/v1/machines/join")) or answer.status_code in (500, 502, 504):
                wrong.append((method, address, sent, answer.status_code, answer.text[-200:]))
    assert asked > 300 and told > 30 and not wrong, (asked, told, wrong)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_draft_and_a_name_with_a_nul_are_refused_with_a_sentence(client: TestClient, person: Who) -> None:
    del person
    draft = {"key": "one", "revision": 0, "state": {"text": NUL}}
    for answer in (
        client.put("/lab/draft", json=draft),
        client.put("/lab/draft", json=draft | {"key": NUL, "state": {}}),
        client.post("/api/v1/prompts", json={"name": NUL, "mode": "freeform", "text": "hello"}),
        client.post("/api/v1/prompts", json={"name": "plain", "mode": "freeform", "text": NUL}),
    ):
        assert answer.status_code == 422 and "holds a NUL character (U+0000), which cannot be kept." in answer.text, answer.text
    assert client.get("/lab/draft").status_code == 204 and client.get("/api/v1/prompts").json()["items"] == []


def test_an_error_that_only_speaks_of_such_a_text_is_no_fault_of_the_sender() -> None:
    duplicate = IntegrityError("INSERT", {}, Exception("Key (name)=(surrogate model) already exists."))
    assert [unkept(one) for one in (duplicate, ValueError("no label is called 'surrogate'"), ValueError("nothing embedded null-like"))] == [None, None, None]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_half_a_character_is_refused_with_a_sentence(client: TestClient, person: Who) -> None:
    del person
    body = b'{"key": "one", "revision": 0, "state": {"text": "half \\ud83d"}}'
    answer = client.put("/lab/draft", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and "holds half a character (a lone surrogate), which cannot be kept." in answer.text, answer.text
