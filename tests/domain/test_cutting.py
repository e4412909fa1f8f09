"""Splits cut while rows come in: the shares, every label in its share, equal texts on one side, whatever the portions."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from app.domain.cutting import BLOCK, Cutter, Stratum, content_key
from app.domain.label_book import MOST_LABELS

SHARES = (0.7, 0.1, 0.2)


@dataclass(frozen=True)
class Row:
    input: str
    output: str | None
    split: str | None = None
    cells: dict[str, str] = field(default_factory=dict)


def cut(cutter: Cutter, found: list[Row], cut_validation: bool = False) -> list[str]:
    return cutter.cut(found, [content_key(row.input) for row in found], cut_validation)


def rows(count: int, labels: int = 3) -> list[Row]:
    return [Row(f"text {number}", f"label {number * 7 % labels}") for number in range(count)]


shares = st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100)).map(lambda parts: tuple(part / sum(parts) for part in parts))


@given(shares, st.integers(1, 400))
def test_a_stratum_never_strays_from_its_shares_by_more_than_a_block(parts: tuple[float, ...], count: int) -> None:
    named = {name: share for name, share in zip(("train", "validation", "test"), parts, strict=True) if share > 0}
    stratum = Stratum(named, "seed")
    taken = Counter(stratum.take() for _ in range(count))
    assert taken.total() == count and set(taken) <= set(named)
    assert all(abs(taken[name] - share * count) <= BLOCK for name, share in named.items())


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", None])), max_size=120), st.integers(1, 50))
def test_portions_change_nothing_and_equal_texts_stay_together(picks: list[tuple[int, str | None]], portion: int) -> None:
    found = [Row(f"Text  {number}" if number % 2 else f"text {number} ", output) for number, output in picks]
    whole, parts = Cutter(1, SHARES, True), Cutter(1, SHARES, True)
    splits = cut(whole, found)
    assert splits == [split for start in range(0, len(found), portion) for split in cut(parts, found[start : start + portion])]
    assert whole.repeats() == parts.repeats()
    places: dict[int, set[str]] = {}
    for (number, output), split in zip(picks, splits, strict=True):
        assert (split == "unlabelled") == (output is None)
        if output is not None:
            places.setdefault(number, set()).add(split)
    assert all(len(found) == 1 for found in places.values())


def test_a_text_that_waits_at_first_has_its_place_from_its_first_label_on() -> None:
    found = [Row(f"text {number}", output) for number in range(200) for output in (None, "a", "a", None, "a")]
    cutter = Cutter(0, SHARES, True)
    splits = cut(cutter, found)
    assert all(len(set(splits[start : start + 5])) == 2 for start in range(0, 1_000, 5))
    assert cutter.repeats() == {"rows": 800, "conflicting": 400, "leaking": 0}


def test_outputs_of_which_there_are_too_many_are_one_stratum() -> None:
    cutter = Cutter(0, SHARES, True)
    counts = Counter(cut(cutter, [Row(f"text {number}", f"answer {number}") for number in range(4_000)]))
    assert len(cutter._strata) <= MOST_LABELS + 1 and len(cutter._outputs) <= MOST_LABELS
    assert 700 < counts["test"] < 900 and cutter.repeats() == {"rows": 0, "conflicting": 0, "leaking": 0}
    cut(cutter, [Row("text 3999", "answer 3999"), Row("text 3999", "another"), Row("text 0", "answer 0")])
    assert cutter.repeats() == {"rows": 3, "conflicting": 1, "leaking": 0}


def test_the_seed_decides() -> None:
    assert cut(Cutter(1, SHARES, True), rows(200)) == cut(Cutter(1, SHARES, True), rows(200)) != cut(Cutter(2, SHARES, True), rows(200))


def test_given_splits_are_kept_and_validation_is_cut_where_it_is_missing() -> None:
    given_ = [Row(f"t{number}", "a", "test" if number % 5 == 0 else "train") for number in range(2_000)]
    assert cut(Cutter(0, SHARES, True), given_) == [row.split for row in given_]
    counts = Counter(cut(Cutter(0, SHARES, True), given_, cut_validation=True))
    assert counts["test"] == 400 and 160 <= counts["validation"] <= 240
    few = Counter(cut(Cutter(0, SHARES, True), given_[:150], cut_validation=True))
    assert few["test"] == 30 and 50 <= few["validation"] <= 65


def test_groups_stay_together() -> None:
    grouped = [Row(f"t{number}", "a", None, {"author": f"{number % 30}"}) for number in range(900)]
    splits = cut(Cutter(0, SHARES, True, "author"), grouped)
    assert all(len({split for row, split in zip(grouped, splits, strict=True) if row.cells["author"] == str(author)}) == 1 for author in range(30))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6), st.sampled_from(["a", "b", None])), max_size=80))
def test_a_text_decides_before_its_group_and_takes_an_unseen_group_along(picks: list[tuple[int, int, str | None]]) -> None:
    found = [Row(f"text {text}", output, None, {"author": f"{author or ''}"}) for text, author, output in picks]
    texts: dict[str, str] = {}
    groups: dict[str, str] = {}
    for row, split in zip(found, cut(Cutter(0, SHARES, True, "author"), found), strict=True):
        if row.output is not None:
            author = row.cells["author"]
            assert split == texts.get(row.input, groups.get(author, split) if author else split)
            texts.setdefault(row.input, split)
            groups.setdefault(author, split)


def test_rows_given_to_train_do_not_follow_a_text_or_a_group_out_of_it() -> None:
    given_ = [Row("t0", "a", "test", {"author": "1"}), *(Row(f"t{number}", "a", "train", {"author": "1"}) for number in range(100))]
    splits = cut(Cutter(0, SHARES, True, "author"), given_, cut_validation=True)
    assert splits[0] == "test" and len(set(splits[1:])) == 1 and splits[1] in ("train", "validation")


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["", "a", "b", "c", None]), st.sampled_from([None, None, "train", "test"])), max_size=150),
    st.booleans(),
    st.booleans(),
)
def test_the_short_way_of_most_rows_comes_to_the_same(picks: list[tuple[int, str | None, str | None]], stratify: bool, cut_validation: bool) -> None:
    """No row has a value in the column of groups, so that each takes the long way there."""
    found = [Row(f"text {number}", output, split) for number, output, split in picks]
    short, long = Cutter(1, SHARES, stratify), Cutter(1, SHARES, stratify, group="nobody")
    assert cut(short, found, cut_validation) == cut(long, found, cut_validation)
    assert short.repeats() == long.repeats() and short._texts == long._texts
