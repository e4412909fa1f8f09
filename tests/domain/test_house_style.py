"""House-style checks pass and fail on what they say."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.scoring.check_lines import read_checks, read_fields, write_checks, write_fields
from app.domain.scoring.house_style import KINDS, Check, names, passes, reading_grade, sentences, syllables, titles
from app.errors import Invalid

SOURCE = "Order 1,204 of Ada Lovelace was sent on 3 May for 12.50 EUR."


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ({"kind": "length", "most": 3}, "one two three", "one two three four"),
        ({"kind": "length", "least": 2, "most": 2, "unit": "sentences"}, "It cost 3.50 euros. Fine!", "Fine."),
        ({"kind": "length", "most": 5, "unit": "characters"}, " abcde ", "abcdef"),
        ({"kind": "length", "least": 2, "unit": "lines"}, "a\n\nb", "a\n\n"),
        ({"kind": "headings", "texts": ["Summary", "Next steps"]}, "## Summary\nx\n**Next steps:**\ny", "Summary of all\nNext steps\n"),
        ({"kind": "contains", "texts": ["kind regards"]}, "Kind  Regards, A", "Bye"),
        ({"kind": "lacks", "texts": ["unfortunately", "sorry"]}, "Your parcel is late.", "Sorry, it is late."),
        ({"kind": "regex", "pattern": r"^- "}, "Points:\n- one", "Points: - one"),
        ({"kind": "not_regex", "pattern": r"https?://"}, "no link", "see http://x"),
        (
            {"kind": "reading_grade", "most": 6},
            "The cat sat on the mat. It was glad.",
            "Notwithstanding contractual obligations, organisational considerations predominate.",
        ),
        ({"kind": "no_invented_numbers"}, "Order 1204 costs 12.5 EUR.", "Order 1205 costs 12.5 EUR."),
        ({"kind": "no_invented_names"}, "We wrote to Ada Lovelace in May.", "We wrote to Charles Babbage."),
    ],
)
def test_checks(check: dict[str, Any], good: str, bad: str) -> None:
    one = Check.model_validate(check)
    assert passes(one, good, SOURCE) and not passes(one, bad, SOURCE)


def test_a_check_has_a_title_and_two_of_one_title_are_told_apart() -> None:
    long = Check(kind="length", most=120)
    assert long.title == "length at most 120 words"
    assert titles([long, long, Check(kind="lacks", texts=["sorry"]), Check(kind="regex", pattern="^-", name="bullets")]) == [
        "length at most 120 words", "length at most 120 words (2)", "does not contain \u201csorry\u201d", "bullets"
    ]  # fmt: skip


def test_the_reading_grade_is_flesch_kincaids() -> None:
    text = "The cat sat on the mat."  # 6 words, 6 syllables, 1 sentence
    assert reading_grade(text) == pytest.approx(0.39 * 6 + 11.8 * 1 - 15.59) and reading_grade("42!") == 0.0
    words = {"table": 2, "making": 2, "played": 1, "wanted": 2, "houses": 2, "the": 1, "simple": 2, "area": 2}
    assert {word: syllables(word) for word in words} == words


def test_sentences_and_names() -> None:
    assert len(sentences('He paid 3.50. "Fine!" she said.\n\nEnd')) == 4
    assert names("Yesterday we met Angela Merkel in Berlin, and I fed Bob\u2019s dog. Then home.") == ["Angela Merkel", "Berlin", "Bob"]


@pytest.mark.parametrize(
    "text",
    [
        "We asked Jean-Luc about it.",
        "We met O'Brien and O\u2019Brien there.",
        "Then New York's Mayor came.",
        "Then the Mayor's office of New York\u2019s centre called.",
    ],
)
def test_a_name_that_stands_in_the_row_is_not_invented(text: str) -> None:
    check = Check(kind="no_invented_names")
    assert passes(check, text, "Jean-Luc O'Brien, the Mayor of New York, wrote.")
    for name in ("Jean-Marc", "O'Hara", "O\u2019Hara", "York's Governor"):
        assert not passes(check, f"Then {name} came.", "Jean-Luc O'Brien, the Mayor of New York, wrote.")


@pytest.mark.parametrize(
    "text", ["1. Refund\n2. Reply\n3. Close", "Steps:\n  1) Refund 12.50\n  2) Reply", "**1.** Refund\n**2.** Reply", "(1) a\n(2) b\n\n1. c"]
)
def test_markers_of_a_list_are_no_invented_numbers(text: str) -> None:
    assert passes(Check(kind="no_invented_numbers"), text, "Refund 12.50.")


@pytest.mark.parametrize("text", ["1. Refund 13.50", "It costs\n450. Pay.", "1. Refund\n3. Reply", "2. Refund", "1.5 is due"])
def test_a_number_that_goes_on_from_no_list_is_invented(text: str) -> None:
    assert not passes(Check(kind="no_invented_numbers"), text, "Refund 12.50.")


@given(st.sampled_from(list(KINDS)), st.text(max_size=80), st.text(max_size=40))
def test_no_text_breaks_a_check(kind: str, text: str, source: str) -> None:
    known: dict[str, dict[str, Any]] = {"length": {"least": 1}, "reading_grade": {"most": 8}, "regex": {"pattern": "a+"}, "not_regex": {"pattern": "a+"}}
    check = Check.model_validate({"kind": kind, **known.get(kind, {"texts": ["a"]})})
    passes(check, text, source)
    if kind == "no_invented_numbers":
        assert passes(check, text, text)


LINES = """length: 20 to 120 words
length: at most 3 sentences
headings: Summary, Next steps
lacks: sorry, "well, actually"
tone = lacks: unfortunately
regex: ^- \\d+: x
not regex: https?://
reading grade: 8
no invented numbers
no invented names"""


def test_checks_are_typed_as_lines() -> None:
    found = read_checks(LINES)
    assert [check.kind for check in found] == [
        "length", "length", "headings", "lacks", "lacks", "regex", "not_regex", "reading_grade", "no_invented_numbers", "no_invented_names"
    ]  # fmt: skip
    assert found[3].texts == ["sorry", "well, actually"] and found[4].name == "tone" and found[5].pattern == r"^- \d+: x"
    assert [(check.least, check.most, check.unit) for check in found[:2]] == [(20, 120, "words"), (None, 3, "sentences")] and found[7].most == 8
    assert read_checks("\n\n") == []


@pytest.mark.parametrize("line", ["beauty: much", "length: long", "regex: (", "contains:", "reading grade: low", "length: at most 3 hours"])
def test_a_line_that_is_no_check_is_named(line: str) -> None:
    with pytest.raises(Invalid, match="Line 2"):
        read_checks(f"no invented names\n{line}")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        assert all(check.kind in KINDS for check in read_checks(text))


def test_comparators_are_typed_as_lines() -> None:
    found = read_fields("total: number 0.01\nwho.city: text\n\nid: ignore")
    assert (found["total"].by, found["total"].tolerance, found["who.city"].by, found["id"].by) == ("number", 0.01, "text", "ignore")
    for bad in ("total", "total: nearly", "total: number x"):
        with pytest.raises(Invalid, match="Line 1"):
            read_fields(bad)


def test_what_was_read_is_written_as_lines_that_say_the_same() -> None:
    lines = (
        "length: 20 to 120 words\nlength: at most 3.5 sentences\nshort = length: at least 2 lines\nheadings: Summary, Next steps\ncontains: kind regards\n"
        'tone = lacks: sorry, "well, actually", "he said ""no"""\nregex: ^- \\d+\nnot regex: https?://\nreading grade: 8\nno invented numbers\nno invented names'
    )
    assert write_checks(read_checks(lines)) == lines
    fields = "total: number 0.01\npaid_on: date\nlines.name: text"
    assert write_fields(read_fields(fields)) == fields and write_checks([]) == ""
