"""What says nearly the same is found wherever it stands, in memory as on disk, and templated texts cost no quadratic time."""

import random
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.readers import near_duplicates
from app.readers.near_duplicates import Sketches, groups_of, near_duplicate_groups, shingles, similar
from tests.unhealthy import WORDS


def sentence(seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(9)) + f" {draw.randrange(10**6)}"


def test_near_duplicate_groups() -> None:
    base = "Can you tell me why I have not received my new card"
    texts = [base + "?", "something else entirely, about money", base + "??", "  " + base.upper() + "?", base + " yet?", "short", "shore"]
    assert near_duplicate_groups(texts) == [[0, 2, 3, 4]]
    assert near_duplicate_groups([]) == []
    assert near_duplicate_groups(["", " ", "a"]) == [[0, 1]]


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    texts = [sentence(number) for number in range(2000)]
    planted = [text + "." for text in texts[::10]]
    groups = near_duplicate_groups([*texts, *planted])
    assert groups == [[number * 10, 2000 + number] for number in range(200)]


def test_texts_of_one_template_are_one_group() -> None:
    texts = [f"The order number {number} has not arrived at my home address, please look into it as soon as you can, thank you" for number in range(5000)]
    assert [len(group) for group in near_duplicate_groups(texts)] == [5000]


def test_texts_that_are_almost_similar_are_not_all_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    similar = near_duplicates.similar

    def counted(a: set[str], b: set[str], threshold: float) -> bool:
        nonlocal compared
        compared += 1
        return similar(a, b, threshold)

    monkeypatch.setattr(near_duplicates, "similar", counted)
    texts = [f"message {number * 7919 % 1000003} about {number} things that happened on day {number % 365}" for number in range(3000)]
    planted = [f"{sentence(number)}." for number in range(50)]
    groups = near_duplicate_groups([*map(sentence, range(50)), *texts, *planted])
    assert compared < 3100 * near_duplicates.TRIES
    assert [group for group in groups if group[0] < 50] == [[number, 3050 + number] for number in range(50)]


def test_in_however_many_portions_digests_are_compared_the_same_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Templates of three lengths of heaps: pairs, some, and more than are compared at once.
    templates = [(sentence(number), number % 3) for number in range(300)]
    texts = [f"{text}{mark}" for text, kind in templates for mark in (".", "!", "?!", " ...", " ;", ",")[: (2, 4, 6)[kind]]] + [
        f"{sentence(7)} {n}" for n in range(80)
    ]
    found = near_duplicate_groups(texts)
    assert sum(map(len, found)) >= 300 * 2
    for pairs in (1, 7, 100):
        monkeypatch.setattr(near_duplicates, "PAIRS", pairs)
        assert near_duplicate_groups(texts) == found


def test_of_two_long_texts_their_beginning_is_compared_unless_they_are_the_same() -> None:
    long = " ".join(map(sentence, range(400)))
    assert len(long) > near_duplicates.LOOKED_AT
    assert near_duplicate_groups([long, long.upper(), long + " and more", "something else " + long[100:]]) == [[0, 1, 2, 3]]
    assert near_duplicate_groups(["a" + long, "b" + long[::-1]]) == []


def test_on_disk_as_in_memory(tmp_path: Path) -> None:
    texts = [*map(sentence, range(500)), *(sentence(number) + "!" for number in range(0, 500, 25)), *[sentence(7)] * 3]
    told: list[float] = []
    with closing(Sketches(tmp_path)) as sketches:
        for start in range(0, len(texts), 100):
            sketches.add(texts[start : start + 100])
        assert groups_of(sketches.roots(texts.__getitem__, tell=told.append)) == near_duplicate_groups(texts)
    assert told == sorted(told) and told[-1] == 1


def test_only_what_links_new_texts_is_looked_for() -> None:
    texts = [sentence(1), sentence(1) + "!", sentence(2), sentence(3), sentence(2) + "?", sentence(3).upper(), sentence(3) + "."]
    sketches = Sketches()
    sketches.add(texts)
    assert groups_of(sketches.roots(texts.__getitem__)) == [[0, 1], [2, 4], [3, 5, 6]]
    assert groups_of(sketches.roots(texts.__getitem__, since=4)) == [[2, 4], [3, 5, 6]]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("ab ", max_size=12), max_size=12))
def test_short_texts_are_grouped_as_comparing_each_with_each_would(texts: list[str]) -> None:
    found = near_duplicate_groups(texts)
    group_of = {number: at for at, group in enumerate(found) for number in group}
    cells = [shingles(" ".join(text.split())) for text in texts]
    for one in range(len(texts)):
        for other in range(one):
            if cells[one] == cells[other]:
                assert group_of.get(one, -1) == group_of.get(other, -2)
    for group in found:
        assert all(any(similar(cells[one], cells[other]) for other in group if other != one) for one in group)
