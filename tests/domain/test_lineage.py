"""Where new rows go: after their content, after what they resemble, as they were given, and only then by seed."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.domain.cutting import content_key
from app.domain.lineage import HELD_OUT, Drop, Edit, Group, Move, Open, Relabel, Values, place

SHARES = (0.7, 0.1, 0.2)


def row(text: str, output: str | None = "a", split: str | None = None) -> Open:
    return Open(text, output, content_key(text), split)


def value(key: int, output: str | None = "a", split: str = "train", given: str | None = None) -> Values:
    return Values(id=key, position=key, line=None, split=split, input="text", output=output, cells=None, content_key=0, added_in=1, given=given)


def test_known_content_wins_over_what_a_row_was_given() -> None:
    rows = [row("Hello", split="train"), row("other", split="validation"), row("hello "), row("nobody knows", None, "test")]
    assert place(rows, {content_key("hello"): "test"}, SHARES, 0) == ["test", "validation", "test", "unlabelled"]


def test_equal_texts_given_two_splits_go_to_the_protected_one() -> None:
    assert place([row("x", split="train"), row("X", split="test"), row(" x")], {}, SHARES, 0) == ["test", "test", "test"]


def test_near_duplicates_go_where_the_rows_are_that_they_resemble() -> None:
    rows = [row("a1"), row("a2"), row("b1"), row("b2", split="validation"), row("c1"), row("c2")]
    groups: list[Group] = [([0, 1], "test"), ([2, 3], "train"), ([4, 5], None)]
    splits = place(rows, {}, SHARES, 0, groups)
    assert splits[:4] == ["test", "test", "validation", "validation"] and splits[4] == splits[5]


def test_the_rest_is_cut_in_the_same_shares_and_stratified() -> None:
    rows = [row(f"text number {number}", "ab"[number % 2]) for number in range(200)]
    counts = Counter(zip(place(rows, {}, SHARES, 0), (one.output for one in rows), strict=True))
    assert counts == {("train", "a"): 70, ("train", "b"): 70, ("validation", "a"): 10, ("validation", "b"): 10, ("test", "a"): 20, ("test", "b"): 20}
    assert set(place(rows, {}, (1.0, 0.0, 0.0), 0)) == {"train"}


def test_changes_give_the_same_object_where_nothing_changes() -> None:
    old = value(1)
    assert Drop({2}).on(old) is old and Drop({1}).on(old) is None
    assert Relabel({"b": "c"}).on(old) is old and Relabel({"a": "c"}).on(old) == {**old, "output": "c"}
    assert Move({1}, "test").on(value(1, None, "unlabelled")) == value(1, None, "unlabelled")
    assert Edit({1: None}).on(old) == value(1, None, "unlabelled")
    assert Edit({1: "b"}).on(value(1, None, "unlabelled")) == value(1, "b", "?")
    assert Edit({1: "b"}, {1}).on(value(1, None, "unlabelled")) == value(1, "b", "?train")
    assert Edit({1: "b"}, {1}).on(value(1, "a", "test")) == value(1, "b", "test")
    waits = value(1, None, "unlabelled", "test")
    assert Edit({1: "b"}).on(waits) == value(1, "b", "?test", "test") and Edit({1: "b"}, {1}).on(waits) == value(1, "b", "?train", "test")


def test_a_text_decides_before_its_group() -> None:
    rows = [row("known"), row("a1"), row("both"), row("b1"), row("Both"), row("c1"), row("known")]
    # Group A stands in train, B in validation; C is new, and one of its rows is known in test.
    together: list[Group] = [([0, 1, 2], "train"), ([3, 4], "validation"), ([5, 6], None)]
    alike: list[Group] = [([0, 6], None), ([2, 4], None)]
    splits = place(rows, {content_key("known"): "test"}, SHARES, 0, alike, None, together)
    assert splits == ["test", "train", "validation", "validation", "validation", "test", "test"]


@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 9)), min_size=1, max_size=60), st.integers(0, 3))
def test_new_texts_and_new_groups_stay_on_one_side(picks: list[tuple[int, int]], seed: int) -> None:
    rows = [row(f"text number {text}") for text, _ in picks]
    texts = [[number for number, pick in enumerate(picks) if pick[0] == text] for text in range(26)]
    groups = [[number for number, pick in enumerate(picks) if pick[1] == group] for group in range(1, 10)]
    known = {content_key(f"text number {text}"): HELD_OUT[text] for text in range(4)}
    alike: list[Group] = [(numbers, None) for numbers in texts if len(numbers) > 1]
    together: list[Group] = [(numbers, "train" if numbers[0] % 4 == 0 else None) for numbers in groups if numbers]
    splits = place(rows, known, SHARES, seed, alike, None, together)
    assert all(len({splits[number] for number in numbers}) <= 1 for numbers in texts)
    assert all(splits[number] == HELD_OUT[text] for number, (text, _) in enumerate(picks) if text < 4)
    shared = {text for text, numbers in enumerate(texts) if len({picks[number][1] for number in numbers}) > 1}
    for numbers, stands in together:
        # A group without a row that is known, or is another group's too, stands where its older rows do, or on one side.
        if not any(picks[number][0] < 4 or picks[number][0] in shared for number in numbers):
            assert {splits[number] for number in numbers} == {stands or splits[numbers[0]]}
