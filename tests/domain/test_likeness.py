"""Nearest and diverse shots: the same as slow and plain reckoning gives, whatever the order of the rows."""

import math
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.likeness import K1, B, Nearest, spread
from app.domain.words import tokens

WORDS = st.lists(st.sampled_from(["parcel", "Parcel", "bill", "late", "card", "box", "東京", "😀", "!"]), max_size=6).map(" ".join)
TEXTS = st.lists(WORDS, max_size=12)


def bm25(texts: list[str], asked: str) -> list[float]:
    """By the book, a word at a time."""
    split = [tokens(text) for text in texts]
    mean = sum(map(len, split)) / max(1, len(split)) or 1.0
    scores = []
    for words in split:
        total = 0.0
        for word in set(tokens(asked)):
            having, here = sum(word in one for one in split), words.count(word)
            idf = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
            total += idf * here * (K1 + 1) / (here + K1 * (1 - B + B * len(words) / max(1.0, mean)))
        scores.append(total)
    return scores


@settings(deadline=None)
@given(TEXTS, WORDS)
def test_nearest_is_bm25(texts: list[str], asked: str) -> None:
    index = Nearest(texts)
    wanted = bm25(texts, asked)
    found = index.scores(asked).tolist()
    assert all(math.isclose(one, other, abs_tol=1e-5) for one, other in zip(found, wanted, strict=True))
    assert index.order(asked) == sorted(range(len(texts)), key=lambda at: (-round(found[at], 6), at))


def cosine(one: str, other: str, texts: list[str]) -> float:
    """The likeness of two texts under TF-IDF."""

    def weigh(text: str) -> dict[str, float]:
        having = {word: sum(word in tokens(each) for each in texts) for word in tokens(text)}
        return {word: (1 + math.log(n)) * (math.log((1 + len(texts)) / (1 + having[word])) + 1) for word, n in Counter(tokens(text)).items()}

    a, b = weigh(one), weigh(other)
    norms = math.sqrt(sum(value**2 for value in a.values())) * math.sqrt(sum(value**2 for value in b.values()))
    return sum(a[word] * b.get(word, 0.0) for word in a) / norms if norms else 0.0


@settings(deadline=None)
@given(TEXTS, st.integers(0, 14))
def test_each_next_text_is_the_farthest_from_all_before(texts: list[str], n: int) -> None:
    chosen = spread(texts, n)
    assert len(set(chosen)) == len(chosen) == min(n, len(texts))
    worded = [at for at in range(len(texts)) if tokens(texts[at])]
    assert set(chosen) <= set(worded) or set(worded) <= set(chosen), "those without words come last"
    for turn, at in enumerate(chosen[1:], 1):
        if at not in worded:
            break
        near = {other: max(cosine(texts[other], texts[one], texts) for one in chosen[:turn]) for other in worded if other not in chosen[:turn]}
        assert math.isclose(near[at], min(near.values()), abs_tol=1e-5)


def test_a_draw_of_more_begins_with_the_draw_of_fewer() -> None:
    chance = random.Random(4)
    texts = [" ".join(chance.choices(["a", "b", "c", "d", "e", "f", "g"], k=4)) for _ in range(60)]
    assert spread(texts, 20)[:5] == spread(texts, 5)


def test_nothing_to_compare_is_no_error() -> None:
    assert spread([], 3) == [] and spread(["😀", "!"], 3) == [0, 1]
    assert Nearest([]).order("parcel") == [] and Nearest(["a", "b"]).order("😀") == [0, 1]
