"""Texts that say the same with a letter changed: found by MinHash, confirmed exactly.

Shingles are 5 characters, the length that Leskovec, Rajaraman and Ullman take for short texts (Mining of Massive Datasets,
3.2); similar means a Jaccard similarity of 0.8, the threshold of Lee et al. 2022 (Deduplicating Training Data Makes Language
Models Better). Word shingles are too coarse here: one word changed in a question of eight leaves a third of its 3-word shingles.
"""

from collections.abc import Sequence

from app.domain.scoring import normalise

THRESHOLD = 0.8
SHINGLE = 5
PERMUTATIONS, BANDS = 128, 32
"""32 bands of 4 rows propose a pair at similarity 0.8 with a probability of 0.9999998: 1 - (1 - 0.8**4)**32."""

REPRESENTED_BY = 100
"""Members of a group that later texts are compared with; keeps templated texts from costing quadratic time."""

CROWD = 300
"""Candidates that turn out not to be similar enough, after which no more are looked at, and the text is not offered to later ones.
Texts of one template are all of them nearly similar; without a bound each would be compared with each."""

BATCH = 1_000


def near_duplicate_groups(texts: Sequence[str], threshold: float = THRESHOLD) -> list[list[int]]:
    """Groups of at least two texts by their numbers, in order: linked by exact equality or similarity, ignoring case and white space."""
    same: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        same.setdefault(normalise(text, casefold=True), []).append(number)
    groups: dict[int, list[int]] = {}
    for root, numbers in zip(_roots(list(same), threshold), same.values(), strict=True):
        groups.setdefault(root, []).extend(numbers)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _roots(texts: Sequence[str], threshold: float) -> list[int]:
    """For each text a number that similar texts share (disjoint sets with path halving)."""
    from rensa import RMinHash, RMinHashLSH

    roots, sizes = list(range(len(texts))), [1] * len(texts)

    def root(number: int) -> int:
        while roots[number] != number:
            roots[number] = number = roots[roots[number]]
        return number

    index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=BANDS)
    for start in range(0, len(texts), BATCH):
        shingled = [shingles(text) for text in texts[start : start + BATCH]]
        sketches = RMinHash.from_token_sets([sorted(own) for own in shingled], PERMUTATIONS, 42)
        for number, (own, sketch) in enumerate(zip(shingled, sketches, strict=True), start):
            missed = 0
            for other in sorted(index.query(sketch)):
                if root(other) == root(number):
                    continue
                if similar(own, shingles(texts[other]), threshold):
                    sizes[root(other)] += sizes[root(number)]
                    roots[root(number)] = root(other)
                else:
                    missed += 1
                    if missed == CROWD:
                        break
            if sizes[root(number)] <= REPRESENTED_BY and missed < CROWD:
                index.insert(number, sketch)
    return [root(number) for number in range(len(texts))]


def shingles(text: str) -> set[str]:
    """Every run of SHINGLE characters."""
    return {text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))}


def similar(a: set[str], b: set[str], threshold: float = THRESHOLD) -> bool:
    """Whether so large a share of all shingles is in both."""
    shared = len(a & b)
    return shared >= threshold * (len(a) + len(b) - shared)
