"""Ids of many rows, packed and back."""

import json
import random

import pytest

from app.domain.packed import FEW, how_many, packed, unpacked

SORTS = {
    "none": [],
    "few": [3, 1, 2],
    "all": list(range(5_000_000, 5_100_000)),
    "some": sorted(random.Random(1).sample(range(10**7), 100_000)),
    "in groups": random.Random(1).sample(range(2**40, 2**40 + 10**6), 100_000),
}


@pytest.mark.parametrize("sort", SORTS)
def test_numbers_come_back_in_their_order(sort: str) -> None:
    numbers = SORTS[sort]
    kept = json.loads(json.dumps(packed(iter(numbers))))
    assert unpacked(kept) == numbers and how_many(kept) == len(numbers)
    assert isinstance(kept, list) == (len(numbers) <= FEW)


def test_those_of_all_rows_take_next_to_nothing() -> None:
    assert len(json.dumps(packed(range(1_000_000)))) < 60_000
    assert len(json.dumps(packed(range(0, 2_000_000, 2)))) < 60_000
