"""What it takes to draw diverse and nearest shots: `python -m bench.shots [ROWS ...]`. Processor seconds beside scikit-learn's TF-IDF doing the same.

Rows are made of 20,000 words whose frequencies fall as those of English do, 5 to 30 words each. Both sides read the same texts in one process, in
turn, and count words the same way (`app.domain.words`); ours by BM25 where scikit-learn has the cosine of TF-IDF.
"""

import random
import sys
import time
from collections.abc import Callable
from typing import Any

from app.domain import likeness
from app.domain.shots import Candidate, Nearest, draw
from app.domain.words import tokens

SIZES = (10_000, 100_000)
SHOTS, QUESTIONS = 8, 50
TIMES = 3


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or list(SIZES)
    print("| rows | what | Fettle s | scikit-learn s | ratio |\n|---|---|---|---|---|")
    for size in sizes:
        rows = made(size)
        for line in (diverse(rows), index(rows), questions(rows), whole(rows)):
            print(f"| {size:,} | {line}", flush=True)
    import sklearn

    print(f"\nBest of {TIMES} (the whole draw: once). scikit-learn {sklearn.__version__}, Python {sys.version.split()[0]}")


def made(count: int) -> list[Candidate]:
    chance = random.Random(0)  # the same rows every time
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(20_000)]
    weights = [1 / (rank + 2.7) for rank in range(len(words))]
    texts = (" ".join(chance.choices(words, weights, k=chance.randint(5, 30))) for _ in range(count))
    return [Candidate(number, text, "label") for number, text in enumerate(texts)]


def seconds(action: Callable[[], Any], times: int = TIMES) -> float:
    """Processor seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(times):
        began = time.process_time()
        action()
        best = min(best, time.process_time() - began)
    return best


def diverse(rows: list[Candidate]) -> str:
    """K-centre greedy over TF-IDF, words counted included."""
    texts = [row.input for row in rows]

    def theirs() -> list[int]:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        matrix = TfidfVectorizer(analyzer=tokens, sublinear_tf=True).fit_transform(texts)
        chosen, closest = [0], np.zeros(len(texts))
        while len(chosen) < SHOTS:
            closest = np.maximum(closest, (matrix @ matrix[chosen[-1]].T).toarray().ravel())
            closest[chosen] = 2.0
            chosen.append(int(closest.argmin()))
        return chosen

    return _line(f"{SHOTS} diverse shots", seconds(lambda: likeness.spread(texts, SHOTS)), seconds(theirs))


def index(rows: list[Candidate]) -> str:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [row.input for row in rows]
    return _line("index for the nearest", seconds(lambda: likeness.Nearest(texts)), seconds(lambda: TfidfVectorizer(analyzer=tokens).fit_transform(texts)))


def questions(rows: list[Candidate]) -> str:
    """An input's order of all rows, with the index there."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, asked = [row.input for row in rows], [row.input for row in rows[:QUESTIONS]]
    ours, vectors = likeness.Nearest(texts), TfidfVectorizer(analyzer=tokens)
    matrix = vectors.fit_transform(texts)

    def theirs() -> None:
        for text in asked:
            np.argsort(-(matrix @ vectors.transform([text]).T).toarray().ravel(), kind="stable").tolist()

    return _line(f"{QUESTIONS} inputs' nearest rows", seconds(lambda: [ours.order(text) for text in asked]), seconds(theirs))


def whole(rows: list[Candidate]) -> str:
    """What a person waits for: the draw from rows that are already in memory, the seed's order included."""
    both = seconds(lambda: draw(rows, SHOTS, 0, "diverse"), 1), seconds(lambda: Nearest(rows, 0), 1)
    return f"draw() diverse, Nearest() | {both[0]:.2f}, {both[1]:.2f} | | |"


def _line(what: str, ours: float, theirs: float) -> str:
    return f"{what} | {ours:.3f} | {theirs:.3f} | **{theirs / ours:.2f}** |"


if __name__ == "__main__":
    main()
