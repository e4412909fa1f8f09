"""A difference loses no character of either side, and shows a change where a person sees it."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.wording import MOST_WORDS, By, Piece, difference, sections

TEXTS = st.one_of(st.text(), st.text(alphabet="ab \n"), st.lists(st.sampled_from(["word", "other", " ", "\n", "\r\n", "\u2028", "😀"])).map("".join))


@given(TEXTS, TEXTS, st.sampled_from(["word", "line"]))
def test_both_sides_can_be_read_back(before: str, after: str, by: By) -> None:
    pieces = difference(before, after, by)
    assert "".join(piece.text for piece in pieces if piece.kind != "added") == before
    assert "".join(piece.text for piece in pieces if piece.kind != "removed") == after
    assert all(piece.text for piece in pieces) and all(one.kind != other.kind for one, other in itertools.pairwise(pieces))
    assert (before == after) == all(piece.kind == "same" for piece in pieces)


def test_words_are_told_apart_inside_a_line_that_changed() -> None:
    pieces = difference("Sort it.\nBe brief, please.\n", "Sort it.\nBe kind, please.\n")
    assert pieces == (Piece("same", "Sort it.\nBe "), Piece("removed", "brief"), Piece("added", "kind"), Piece("same", ", please.\n"))


def test_by_lines_a_changed_line_is_told_whole() -> None:
    pieces = difference("one\ntwo\nthree", "one\n2\nthree", "line")
    assert pieces == (Piece("same", "one\n"), Piece("removed", "two\n"), Piece("added", "2\n"), Piece("same", "three"))


def test_a_very_long_line_is_told_whole_too() -> None:
    before = "word " * MOST_WORDS
    assert difference(before, before + "more") == (Piece("removed", before), Piece("added", before + "more"))


OLD: dict[str, Any] = {"mode": "structured", "instruction": "Sort.", "input_prefix": "In:", "output_prefix": "Out:", "shots": [{"input": "a", "output": "b"}]}


def test_versions_are_compared_part_by_part_in_reading_order() -> None:
    new = {**OLD, "instruction": "Sort well.", "shots": [*OLD["shots"], {"input": "c", "output": "d"}], "parameters": {"temperature": 0.5, "stop": ["\n"]}}
    found = sections(OLD, new)
    assert [section.name for section in found] == ["mode", "instruction", "input prefix", "output prefix", "shot 1", "shot 2", "parameters"]
    assert [section.name for section in found if section.changed] == ["instruction", "shot 2", "parameters"]
    assert found[-1].pieces == (Piece("added", 'stop ["\\n"]\ntemperature 0.5'),)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"mode": "freeform", "text": "Say {input}", "instruction": "unused"}, ["mode", "text"]),
        ({"mode": "chat", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "{input}"}]}, ["mode", "turn 1", "turn 2"]),
    ],
)
def test_only_what_the_mode_reads_is_compared(fields: dict[str, Any], names: list[str]) -> None:
    assert [section.name for section in sections(fields, fields)] == names
    told = [section.name for section in sections(OLD, fields) if section.changed]
    assert set(names) <= set(told) and "instruction" in told
