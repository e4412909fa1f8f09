"""What is told of a file's health before anything is made of it: the same as health finds in the version, as far as it goes."""

from collections import Counter

import pytest

from app.domain.cutting import content_key
from app.readers import Example, Split
from app.readers.foreseen import OF_LABELS, Foreseen
from app.readers.frames import Chunk
from app.readers.health import examine

Given = tuple[str, str | None, Split | None]

FINE: list[Given] = [(f"message {number} about {'ab'[number % 2]} thing", "ab"[number % 2], "train") for number in range(40)]


def told(rows: list[Given], texts: bool = False) -> list[tuple[str, int, str]]:
    """What is foreseen of rows that come in two portions."""
    examples = [Example(line, *row) for line, row in enumerate(rows, 2)]
    found = Foreseen()
    for part in (examples[:7], examples[7:]):
        found.take(Chunk(part, 0.5, [content_key(one.input) for one in part]))
    outputs = {} if texts else Counter(row[1] for row in rows if row[1] is not None)
    return [(one["code"], one["count"], one["sentence"]) for one in found.told(outputs)]


def examined(rows: list[Given]) -> dict[str, tuple[int, str]]:
    return {one.code: (one.count, one.sentence) for one in examine([Example(line, *row) for line, row in enumerate(rows, 2)], []).findings}


def test_of_a_file_in_order_there_is_nothing_to_say() -> None:
    assert told(FINE) == [] and told([]) == []


CASES: dict[str, tuple[list[Given], set[str]]] = {
    "duplicates": ([*FINE, FINE[0], FINE[0], FINE[3]], {"duplicates"}),
    "another label": ([*FINE, (FINE[0][0], "b", "train"), (FINE[1][0], None, "train")], {"conflicting_labels", "duplicates"}),
    "another split": ([*FINE, (FINE[0][0], "a", "test"), (FINE[1][0], "b", "validation"), ("new", "a", "test")], {"leakage", "duplicates"}),
    "tiny": ([*FINE, ("one more", "c", "train")], {"tiny_classes"}),
    "look-alikes": ([*FINE, *((f"more {number}", "A", None) for number in range(5))], {"look_alike_labels"}),
    "imbalance": ([(f"text {number}", "spam" if number % 30 else "ham", None) for number in range(100)], {"imbalance"}),
    "one class": ([(f"text {number}", "spam", None) for number in range(40)], {"one_class", "imbalance"}),
    "few": ([(f"text {number}", "ab"[number % 2], None) for number in range(7)], {"few_rows"}),
    "markers": ([*FINE, *((f"more {number}", "N/A", None) for number in range(5))], {"missing_markers"}),
    "the same but for its case": ([*FINE, ("US", "a", "train"), ("us", "b", "train")], set()),
    "of a split, without a label": ([*FINE, (FINE[0][0], None, "test")], {"duplicates"}),
    "no label": ([(f"text {number % 20}", None, None) for number in range(40)], {"duplicates"}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_foreseen_is_what_health_finds(case: str) -> None:
    rows, codes = CASES[case]
    later = examined(rows)
    found = told(rows)
    assert {code for code, _, _ in found} == codes & set(later)
    for code, count, sentence in found:
        assert count == later[code][0], code
        assert code not in OF_LABELS or sentence == later[code][1]
    assert [code for code, _, _ in found] == sorted([code for code, _, _ in found], key=[*later].index)


def test_texts_with_several_right_answers_are_no_duplicates() -> None:
    rows: list[Given] = [(f"question {number // 2}", f"answer {number}", None) for number in range(40)]
    assert told(rows, texts=True) == [] and told([*rows, rows[0]], texts=True)[0][:2] == ("duplicates", 1)
