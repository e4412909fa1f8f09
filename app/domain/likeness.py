"""Which texts are like another (BM25), and which few are unlike each other (k-centre greedy over TF-IDF). Pure.

Counting words takes most of the time (`python -m bench.shots` measures it); what follows is arithmetic on arrays, with numpy, which is imported
late because a process that draws no such shots need not load it.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from app.domain.words import tokens

K1, B = 1.2, 0.75
"""BM25's usual constants: how soon a repeated word stops counting, and how much a long text is held against itself."""

DIGITS = 6
"""Digits of a likeness that count, so that the order of additions on a machine decides nothing."""


class Counted:
    """The words of texts, each with how often it stands in which text."""

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np

        self.vocabulary: dict[str, int] = {}
        words, counts, sizes = array("i"), array("i"), array("i")
        for text in texts:
            found = Counter(tokens(text))
            words.extend(self.vocabulary.setdefault(word, len(self.vocabulary)) for word in found)
            counts.extend(found.values())
            sizes.append(len(found))
        self.words, self.counts = np.frombuffer(words, np.int32) if words else np.zeros(0, np.int32), np.asarray(counts, np.float64)
        self.texts = np.repeat(np.arange(len(texts), dtype=np.int32), np.asarray(sizes, np.int64))
        self.size = len(texts)
        self.spread = np.bincount(self.words, minlength=len(self.vocabulary))
        """In how many texts each word stands."""


class Nearest:
    """An index of texts that answers which are like another one."""

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np

        counted = Counted(texts)
        lengths = np.bincount(counted.texts, weights=counted.counts, minlength=counted.size)
        long = 1 - B + B * lengths / max(1.0, float(lengths.mean()) if counted.size else 1.0)
        rare = np.log1p((counted.size - counted.spread + 0.5) / (counted.spread + 0.5))
        weights = rare[counted.words] * counted.counts * (K1 + 1) / (counted.counts + K1 * long[counted.texts])
        order = np.argsort(counted.words, kind="stable")
        self._texts, self._weights = counted.texts[order], weights[order]
        self._ends = np.cumsum(counted.spread)
        self._vocabulary, self._size = counted.vocabulary, counted.size

    def scores(self, text: str) -> Any:
        """How like the text each of the indexed ones is (an array of floats); 0 without a word in common."""
        import numpy as np

        found = np.zeros(self._size)
        for word in dict.fromkeys(tokens(text)):
            at = self._vocabulary.get(word)
            if at is not None:
                here = slice(self._ends[at - 1] if at else 0, self._ends[at])
                found[self._texts[here]] += self._weights[here]
        return np.round(found, DIGITS)

    def order(self, text: str) -> list[int]:
        """The places of all indexed texts, the most like first; those equally like in the order they were given."""
        import numpy as np

        order: list[int] = np.argsort(-self.scores(text), kind="stable").tolist()
        return order


def spread(texts: Sequence[str], n: int) -> list[int]:
    """Places of n texts that are as unlike each other as can be had greedily: each next one is the farthest from all before.

    It begins with the first text that has a word. Texts without any are like nothing and would all be chosen, so they come last.
    """
    import numpy as np

    counted = Counted(texts)
    idf = np.log((1 + counted.size) / (1 + counted.spread)) + 1
    weights = (1 + np.log(counted.counts)) * idf[counted.words]
    norms = np.sqrt(np.bincount(counted.texts, weights=weights**2, minlength=counted.size))
    weights = weights / norms[counted.texts]
    starts = np.searchsorted(counted.texts, np.arange(counted.size + 1))
    closest = np.where(norms > 0, 0.0, 1.5)
    """How like the nearest of those chosen each text is: at most 1 for one with words, 2 once it is chosen itself."""
    chosen: list[int] = []
    while len(chosen) < min(n, counted.size):
        centre = int(np.argmin(closest))
        chosen.append(centre)
        mine = slice(starts[centre], starts[centre + 1])
        vector = np.zeros(len(counted.vocabulary))
        vector[counted.words[mine]] = weights[mine]
        alike = np.bincount(counted.texts, weights=weights * vector[counted.words], minlength=counted.size)
        closest = np.maximum(closest, np.round(alike, DIGITS))
        closest[centre] = 2.0
    return chosen
