"""The scores that published results are given in, all in percent. Pure: strings in, numbers out."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

ORDER = 4
MARKS = ("The answer is: ", "The answer is ", "The final answer is: ", "The final answer is ", "#### ")
"""What an answer's number follows in MetaMathQA and GSM8K."""


def bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU of a corpus with several references (Papineni et al. 2002), lower-cased and cut into words as the E2E challenge's own script does.

    An n-gram counts as often as in the one reference that has it most often; the reference closest in length sets the brevity
    penalty, the shorter one of two.
    """
    hits, found, wanted = [0] * ORDER, [0] * ORDER, 0
    for answer, others in zip(answers, references, strict=True):
        mine, theirs = words(answer), [words(text) for text in others]
        wanted += min((abs(len(row) - len(mine)), len(row)) for row in theirs)[1]
        for size in range(1, ORDER + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for row in theirs:
                most |= _grams(row, size)
            hits[size - 1] += (_grams(mine, size) & most).total()
            found[size - 1] += max(0, len(mine) - size + 1)
    if not all(hits):
        return {"BLEU": 0.0}
    shortness = min(0.0, 1 - wanted / found[0])
    return {"BLEU": 100 * math.exp(shortness + sum(math.log(hit / size) for hit, size in zip(hits, found, strict=True)) / ORDER)}


def words(text: str) -> list[str]:
    """The words of a text: punctuation apart, except full stops and commas inside numbers, and a hyphen that no digit precedes."""
    text = re.sub(r"([{-~\[-` -&(-+:-@/])", r" \1 ", f" {text.lower()} ")
    text = re.sub(r"([^0-9])([.,])", r"\1 \2 ", text)
    text = re.sub(r"([.,])([^0-9])", r" \1 \2", text)
    return re.sub(r"([0-9])(-)", r"\1 \2 ", text).split()


def exact(answers: Sequence[str], references: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy, and F1 of the first label."""
    first = labels[0]
    right = sum(answer == wanted for answer, wanted in zip(answers, references, strict=True))
    both = sum(answer == wanted == first for answer, wanted in zip(answers, references, strict=True))
    said, is_so = sum(answer == first for answer in answers), sum(wanted == first for wanted in references)
    return {"accuracy": 100 * right / len(references), "F1": 200 * both / (said + is_so) if said + is_so else 0.0}


def number(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Share of answers whose last number after one of MARKS is the reference's."""
    pairs = [(value(answer), value(wanted)) for answer, wanted in zip(answers, references, strict=True)]
    return {"accuracy": 100 * sum(found is not None and found == wanted for found, wanted in pairs) / len(pairs)}


def value(text: str) -> Decimal | str | None:
    """The answer a solution ends with: as a number where it is one (20/14 too), else as text, None where it names none."""
    text = text.strip().rstrip(".!?")
    mark = next((mark for mark in MARKS if mark in text), None)
    if mark is None:
        return None
    found = text.rpartition(mark)[2].strip().partition("\n")[0].strip(" .!?$%").replace(",", "")
    try:
        above, slash, below = found.partition("/")
        return Decimal(above.strip()) / Decimal(below.strip()) if slash else Decimal(found)
    except (InvalidOperation, ZeroDivisionError):
        return found


def _grams(row: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(row[at : at + size]) for at in range(len(row) - size + 1))
