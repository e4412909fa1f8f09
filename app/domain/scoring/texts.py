"""How near a text is to the gold one: token F1, ROUGE, BLEU, chrF. Each between 0 and 1, for one row; the mean over rows is the figure."""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def token_f1(gold: str, answer: str) -> float:
    """Words in common, as SQuAD counts them (Rajpurkar et al. 2016, arXiv 1606.05250): case, punctuation and English articles do not count."""
    wanted, given = _answer_words(gold), _answer_words(answer)
    if not wanted or not given:
        return float(wanted == given)
    common = (Counter(wanted) & Counter(given)).total()
    return 2 * common / (len(wanted) + len(given))


def _answer_words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def rouge_n(gold: str, answer: str, n: int) -> float:
    """ROUGE-N (Lin 2004, aclanthology.org/W04-1013): the F-measure of the runs of n words in common; 0 without one. Words as in `rouge_words`."""
    wanted, given = (Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1)) for words in (rouge_words(gold), rouge_words(answer)))
    common = (wanted & given).total()
    return 2 * common / (wanted.total() + given.total()) if common else 0.0


def rouge_l(gold: str, answer: str) -> float:
    """ROUGE-L (Lin 2004, aclanthology.org/W04-1013): the F-measure of the longest common subsequence of words; 0 without one.

    Words and weights are those of the package rouge-score without stemming: lower case, everything but a-z and 0-9 separates, so
    that a text in another script has no words at all (`rouge_words`); precision and recall count the same.
    """
    wanted, given = rouge_words(gold), rouge_words(answer)
    common = _common_subsequence(wanted, given)
    return 2 * common / (len(wanted) + len(given)) if common else 0.0


def rouge_words(text: str) -> list[str]:
    """The words of a text as rouge-score sees them."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).split()


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest sequence of words that both have in this order."""
    lengths = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, given in enumerate(other, 1):
            before, lengths[at] = lengths[at], before + 1 if word == given else max(lengths[at], lengths[at - 1])
    return lengths[-1]


def bleu(gold: str, answer: str) -> float:
    """Sentence BLEU by sacrebleu: 13a tokens, exponential smoothing, as many orders as the answer has."""
    return float(_sacrebleu("BLEU").sentence_score(answer, [gold]).score) / 100


def chrf(gold: str, answer: str) -> float:
    """chrF (Popovic 2015, aclanthology.org/W15-3049) by sacrebleu: runs of 1 to 6 characters, recall counted twice. Fits every script."""
    return float(_sacrebleu("CHRF").sentence_score(answer, [gold]).score) / 100


def corpus(golds: Sequence[str], answers: Sequence[str]) -> dict[str, Any]:
    """BLEU and chrF over all rows at once, as papers print them, with sacrebleu's signatures."""
    found: dict[str, Any] = {}
    for name, make in (("bleu", _sacrebleu("BLEU", whole=True)), ("chrf", _sacrebleu("CHRF"))):
        found[name] = float(make.corpus_score(list(answers), [list(golds)]).score) / 100
        found[f"{name}_signature"] = str(make.get_signature())
    return found


@lru_cache
def _sacrebleu(name: str, whole: bool = False) -> Any:
    from sacrebleu import metrics  # imported late: only jobs score

    return metrics.BLEU(effective_order=not whole) if name == "BLEU" else metrics.CHRF()


PER_ROW: Mapping[str, Callable[[str, str], float]] = {
    "token_f1": token_f1,
    "rouge_1": lambda gold, answer: rouge_n(gold, answer, 1),
    "rouge_2": lambda gold, answer: rouge_n(gold, answer, 2),
    "rouge_l": rouge_l,
    "bleu": bleu,
    "chrf": chrf,
}
"""Every measure of free text, by name."""
