"""Answers are read out of what a model wrote as the evaluation says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.label_book import LabelBook
from app.domain.scheme import Scheme, judge
from app.domain.scoring import extract
from app.domain.scoring.reading import at_path, close, found_json, matched, matches, number_in, pattern_problem


@pytest.mark.parametrize(
    ("extractor", "detail", "written", "answer"),
    [
        ("regex", r"Answer:\s*(\w+)", "I think.\nAnswer: billing, surely", "billing"),
        ("regex", r"(?:a|b)+", "xx abba", "abba"),
        ("regex", "nothing", "xx abba", ""),
        ("json_field", "label", '```json\n{"label": " billing "}\n```', "billing"),
        ("json_field", "lines.1.total", '{"lines": [{"total": 1}, {"total": 2.5}]}', "2.5"),
        ("json_field", "label", "billing", ""),
        ("json_field", "a", '{"a": {"b": [1]}}', '{"b": [1]}'),
    ],
)
def test_an_answer_is_extracted(extractor: str, detail: str, written: str, answer: str) -> None:
    assert extract(written, extractor, detail) == answer  # type: ignore[arg-type]


def test_a_pattern_that_takes_for_ever_finds_nothing() -> None:
    slow, text = r"(x+x+)+y", "x" * 40
    assert matched(slow, text) == "" and not matches(slow, text)
    assert pattern_problem("(a") and not pattern_problem("a|b")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,204.50", 1204.5), ("so it is \u22123 %", -3), ("about 1\u00a0000 or 12.", 12), ("3-4", 4), ("$1,000.", 1000), ("1e-3", 0.001), (".5", 0.5), ("none", None),
        ("1'000'000", 1_000_000), ("7.", 7),
    ],
)  # fmt: skip
def test_the_last_number_in_a_text_is_the_answer(text: str, value: float | None) -> None:
    assert number_in(text) == value


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_number_is_read_as_python_writes_it(value: float) -> None:
    assert number_in(f"it is {value!r}") == pytest.approx(value)


def test_numbers_are_close_within_the_tolerance() -> None:
    assert close(0.3, 0.1 + 0.2) and close(10, 10.5, 0.5) and not close(10, 10.51, 0.5)


@given(st.text())
def test_any_text_is_json_or_is_not(text: str) -> None:
    found_json(text)
    at_path(found_json(text), text or "a")


def test_json_stands_in_other_words() -> None:
    assert found_json('Here: {"a": 1} and {"b": 2}') == {"a": 1}
    assert found_json("{broken [1, 2]") == [1, 2] and found_json("no") is None
    assert found_json("[" * 100_000) is None and found_json("so: " + "[" * 100_000 + ' {"a": 1}') is None


def test_the_scheme_reads_for_the_shape() -> None:
    book = LabelBook.of_texts(["billing", "delivery"], {"billing": ["money"]})
    written = " Money \nbecause"
    assert Scheme().read(written, "labels", book) == "billing"
    assert Scheme().read(written, "text", LabelBook()) == "Money \nbecause"
    assert Scheme(extractor="regex", pattern=r"because|x").read(written, "labels", book) == "because", "off the list as it stands"
    assert Scheme().read("42 apples\n7", "number", LabelBook()) == "42 apples"


@pytest.mark.parametrize(
    ("golds", "labels", "shape"),
    [
        (["a", "b"], True, "labels"),
        (['{"a": 1}', "[1]"], False, "json"),
        (["12", "$1,000", "-3.5 %"], False, "number"),
        (["12", "twelve"], False, "text"),
        (["3 apples"], False, "text"),
        ([], False, "text"),
        (['He said {"a": 1}'], False, "text"),
    ],
)
def test_the_shape_follows_from_the_gold_answers(golds: list[str], labels: bool, shape: str) -> None:
    assert Scheme().shape_of(labels, golds) == shape
    assert Scheme(shape="text").shape_of(labels, golds) == "text"


@pytest.mark.parametrize(
    "given",
    [
        {"extractor": "regex"},
        {"extractor": "regex", "pattern": "("},
        {"extractor": "json_field"},
        {"checks": [{"kind": "length"}]},
        {"checks": [{"kind": "regex", "pattern": "["}]},
        {"metric": "beauty"},
        {"unknown": 1},
    ],
)
def test_a_scheme_that_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Scheme.model_validate(given)


def test_a_number_is_right_within_its_tolerance() -> None:
    assert judge(Scheme(tolerance=0.5), "number", "10", "about 10.4").correct
    assert not judge(Scheme(), "number", "10", "about 10.4").correct and not judge(Scheme(), "number", "10", "ten").correct


def test_only_what_differs_is_kept_of_a_scheme() -> None:
    assert Scheme().as_json() == {}
    wanted = Scheme.model_validate({"scoring": "calibrated", "checks": [{"kind": "length", "most": 20}]})
    assert wanted.as_json() == {"scoring": "calibrated", "checks": [{"kind": "length", "most": 20}]}
    assert Scheme.model_validate(wanted.as_json()) == wanted
