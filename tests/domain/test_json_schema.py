"""A schema of gold answers: every one keeps to it, and what differs from all of them does not."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.scoring.json_schema import schema_of

plain = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), values, max_size=4) | st.lists(values, max_size=3), min_size=1, max_size=6))
def test_every_row_keeps_to_it(rows: list[Any]) -> None:
    schema = schema_of([json.dumps(row) for row in rows])
    assert schema is not None
    jsonschema.Draft202012Validator.check_schema(schema)
    for row in rows:
        jsonschema.validate(json.loads(json.dumps(row)), schema)


def test_a_field_that_no_row_has_and_a_missing_one_are_refused() -> None:
    schema = schema_of(['{"id": 1, "note": "x"}', '{"id": 2.5}'])
    assert schema == {
        "type": "object",
        "properties": {"id": {"type": "number"}, "note": {"type": "string"}},
        "required": ["id"],
        "additionalProperties": False,
    }
    for wrong in ({"note": "x"}, {"id": "1"}, {"id": 1, "more": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_what_is_no_json_object_has_no_schema() -> None:
    assert schema_of([]) is None and schema_of(["3"]) is None and schema_of(["{"]) is None and schema_of(['{"a": 1}', "no"]) is None
