"""JSON answers are compared field by field."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.scoring.json_fields import WHOLE, Comparator, as_date, comparator_of, compare, compared_by, credit, flat, placed

values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="abc", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("by", "gold", "given", "earned"),
    [
        ("exact", "a  b", "a b", 1.0),
        ("exact", "A", "a", 0.0),
        ("exact", 1, 1.0, 1.0),
        ("exact", 1, True, 0.0),
        ("number", 10, "10.05 EUR", 1.0),
        ("number", 10, 10.2, 0.0),
        ("number", 10, None, 0.0),
        ("date", "2026-11-25", "25.11.2026", 1.0),
        ("date", "2026-11-25T10:00:00", "25 November 2026", 1.0),
        ("date", "2026-11-25", "2026-11-26", 0.0),
        ("date", "soon", "Soon", 1.0),
        ("text", "Straße", "STRASSE", 1.0),
        ("set", ["a", "b"], ["b", "a"], 1.0),
        ("set", ["a", "b"], ["b"], 2 / 3),
        ("set", ["a", "a"], ["a"], 2 / 3),
        ("list", ["a", "b", "c"], ["a", "c"], 4 / 5),
        ("list", ["a", "b"], ["b", "a"], 1 / 2),
        ("list", [{"n": 1, "t": 2}], [{"n": 1, "t": 3}], 1 / 2),
        ("list", [], [], 1.0),
    ],
)
def test_comparators(by: str, gold: Any, given: Any, earned: float) -> None:
    assert credit(gold, given, Comparator(by=by, tolerance=0.1)) == pytest.approx(earned)


def test_missing_wrong_and_invented_are_counted_apart() -> None:
    gold = '{"name": "Ada", "total": 12.5, "due": "2026-01-31", "note": null, "who": {"city": "Bonn"}}'
    found = compare(gold, 'Sure: {"name": "Ada", "total": 12, "who": {"city": null}, "extra": 1, "note": "none"}', {"total": Comparator(by="number")})
    assert found.statuses == {"name": "right", "total": "wrong", "due": "missing", "who.city": "missing", "extra": "invented", "note": "invented"}
    assert found.valid and not found.right and found.f1 == pytest.approx(2 * 1 / (4 + 4))


def test_a_field_takes_the_comparator_of_the_object_above_and_may_be_ignored() -> None:
    chosen = {"who": Comparator(by="text"), "id": Comparator(by="ignore")}
    assert comparator_of("who.city", chosen).by == "text" and comparator_of("whom", chosen).by == "exact"
    assert compare('{"id": 1, "who": {"city": "BONN"}}', '{"id": 2, "who": {"city": "bonn"}}', chosen).right


ORDER = '{"items": [{"name": "Pen", "total": 1.5, "id": 1}, {"name": "Ink", "total": 20}]}'
SAME = '{"items": [{"name": "pen", "total": 1.504, "id": 9}, {"name": "ink", "total": "20 EUR", "id": 8}]}'
CHOSEN = {"items.total": Comparator(by="number", tolerance=0.01), "items.name": Comparator(by="text"), "items.id": Comparator(by="ignore")}


def test_fields_of_list_items_have_comparators() -> None:
    assert not compare(ORDER, SAME, {}).right and not compare(ORDER, SAME, {"items": Comparator(by="list")}).right
    assert compare(ORDER, SAME, CHOSEN).right and compare(ORDER, SAME, {"items": Comparator(by="list"), **CHOSEN}).right
    assert compare(ORDER, SAME.replace("1.504", "1.6"), CHOSEN).earned["items"] == pytest.approx(3 / 4), "one field of four is wrong"
    turned = json.dumps({"items": json.loads(SAME)["items"][::-1]})
    assert not compare(ORDER, turned, CHOSEN).right and compare(ORDER, turned, {"items": Comparator(by="set"), **CHOSEN}).right
    inner = {"orders.items.total": Comparator(by="number", tolerance=0.01)}
    wanted, given = '{"orders": [{"items": [{"total": 1.5}]}]}', '{"orders": [{"items": [{"total": 1.504}]}]}'
    assert compare(wanted, given, inner).right and not compare(wanted, given, {}).right


def test_a_number_in_a_path_is_a_place_only_where_there_is_a_list() -> None:
    gold = {"lines": [{"total": 1, "parts": [{"no": 7}]}], "ratings": {"1": 5}, "revenue": {"2023": {"net": 1}}}
    found = {path: placed(gold, path) for path in ("lines.0.total", "lines.104", "lines.parts.0.no", "ratings.1", "revenue.2023.net", "lines.total", "none.0")}
    assert [path for path, is_place in found.items() if is_place] == ["lines.0.total", "lines.104", "lines.parts.0.no"]


def test_how_a_field_is_compared_is_said_in_words() -> None:
    chosen = {"customer": Comparator(by="text"), "total": Comparator(by="number", tolerance=0.01), "items.total": Comparator(by="number", tolerance=0.01)}
    said = {path: compared_by(path, chosen) for path in ("customer.name", "total", "items", "other")}
    assert said == {"customer.name": "text", "total": "number \u00b10.01", "items": "list (total: number \u00b10.01)", "other": "exact"}


def test_what_is_no_json_misses_every_field() -> None:
    found = compare('{"a": 1, "b": 2}', "I cannot say", {})
    assert not found.valid and found.f1 == 0.0 and set(found.statuses.values()) == {"missing"}
    assert compare("[1, 2]", "[1, 2]", {}).right and flat([1]) == {WHOLE: [1]}


@given(values)
def test_an_answer_that_is_the_gold_one_is_right(value: Any) -> None:
    text = json.dumps(value)
    found = compare(text, text, {})
    assert found.f1 == (1.0 if value is not None else 0.0) and (found.right or value is None)


@given(values, values)
def test_f1_lies_between_0_and_1_and_is_1_only_when_right(gold: Any, given: Any) -> None:
    found = compare(json.dumps(gold), json.dumps(given), {})
    assert 0.0 <= found.f1 <= 1.0 and (found.f1 < 1.0 or found.right)


def test_days() -> None:
    assert as_date("2026-11-25") == as_date("25.11.2026") == as_date("November 25, 2026") and as_date("someday") is None
