"""Rows as the checks of health look at them: walked over, not kept, and compared as anybody would by hand."""

import random
from collections import Counter
from collections.abc import Iterator
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st

from app.domain.scoring import normalise
from app.readers import Example, health
from app.readers.examined import Table
from app.readers.near_duplicates import near_duplicate_groups
from tests.readers.test_health import sentence


class Walked:
    """Rows that are made anew at every walk, as a database gives them; it counts the walks and how many rows are alive at once."""

    def __init__(self, examples: list[Example]) -> None:
        self._examples, self.walks, self.most = examples, 0, 0

    def __iter__(self) -> Iterator[Example]:
        self.walks += 1
        seen: list[ref[Kept]] = []
        for given_ in self._examples:
            row = Kept(given_.line, given_.input, given_.output, given_.split)
            seen = [one for one in (*seen, ref(row)) if one() is not None]
            self.most = max(self.most, len(seen))
            yield row


class Kept(Example, frozen=True, weakref=True):
    """An example that somebody can watch."""


def test_rows_that_come_from_elsewhere_are_walked_twice_and_not_kept() -> None:
    draw = random.Random(1)
    rows = [Example(n + 2, sentence(draw.randrange(150)), draw.choice(["yes", "Yes", "no", None]), draw.choice(["train", "test"])) for n in range(400)]
    near, walked = near_duplicate_groups([row.input for row in rows]), Walked(rows)
    found = health.examine(walked, near)
    assert found == health.examine(rows, near) and len(found.findings) >= 4
    assert walked.walks == 2 and walked.most <= 3


@given(st.lists(st.tuples(st.sampled_from(["a", "b ", " B", "a a", "ab", ""]), st.sampled_from([None, "", "x", "X", "y"])), max_size=30))
def test_what_says_the_same_is_found_as_by_looking_at_every_pair(pairs: list[tuple[str, str | None]]) -> None:
    table = Table([Example(n, text, output) for n, (text, output) in enumerate(pairs)], (), {})
    groups = [[other for other in range(len(pairs)) if normalise(pairs[other][0]) == normalise(pairs[one][0])] for one in range(len(pairs))]
    assert table.same_input == [group for one, group in enumerate(groups) if len(group) > 1 and group[0] == one]
    for one in range(len(pairs)):
        for other in range(len(pairs)):
            assert (table.answer(one) == table.answer(other)) == ((pairs[one][1] or "") == (pairs[other][1] or ""))
    labelled = [output for _, output in pairs if output is not None]
    repeats = 2 * len(set(labelled)) <= len(labelled) or len(set(labelled)) <= 2
    assert list(table.classes.items()) == (list(Counter(labelled).items()) if repeats else [])
