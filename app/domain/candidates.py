"""Which of many labels a row is offered: those whose descriptions and train rows are like it, by BM25. Pure.

A label is as like a row as the best of its train rows and its own words are. What is not offered cannot be answered, so how often the gold
label is among them (recall@k) is a figure of its own beside every score.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from app.domain.label_book import LabelBook
from app.domain.likeness import Nearest

MOST_ROWS = 50_000
"""Train rows that are indexed at most, drawn by their content: bounds the memory that an index takes."""


class Candidates:
    """An index that offers each input `count` labels of a book."""

    def __init__(self, book: LabelBook, rows: Iterable[tuple[str, str]], count: int) -> None:
        """`rows` are (input, display text of its label) of train rows; labels that are not in the book are left out."""
        self._texts = book.texts()
        self._always = [at for at, label in enumerate(book.offered) if label.none]
        self._count = min(count, len(self._texts))
        at = {text: place for place, text in enumerate(self._texts)}
        found = [(" ".join((label.display, label.description, *label.aliases)), place) for place, label in enumerate(book.offered)]
        found += [(text, at[label]) for text, label in rows if label in at]
        self._index, self._owners = Nearest([text for text, _ in found]), [place for _, place in found]
        self._offered: dict[str, Sequence[str]] = {}

    def likeness(self, text: str) -> Any:
        """How like the text each label is (an array of floats, by its place in the book)."""
        import numpy as np

        best = np.zeros(len(self._texts))
        np.maximum.at(best, self._owners, self._index.scores(text))
        return best

    def of(self, text: str) -> Sequence[str]:
        """The labels offered, in the book's order, so that what prompts have in common stays so. The label for none of these is always one of them."""
        if text not in self._offered:
            import numpy as np

            ranked = [*self._always, *np.argsort(-self.likeness(text), kind="stable").tolist()]
            self._offered[text] = [self._texts[place] for place in sorted(list(dict.fromkeys(ranked))[: self._count])]
        return self._offered[text]
