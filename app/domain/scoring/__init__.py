"""Scores of answers against gold answers, and how an answer is read out of what a model wrote.

Pure: strings in, plain values out, all shares as fractions. An answer that is not one of the labels is wrong, and is
counted apart as off-list: a model that does not follow the format has another problem than one that confuses classes.
"""

from app.domain.scoring.calibration import CONTENT_FREE, adjusted, calibrated, chosen, shares
from app.domain.scoring.labels import OFF_LIST, Baseline, ClassScore, Scores, correct_rows, score
from app.domain.scoring.reading import Extractor, exact_match, extract, is_right, normalise
from app.domain.scoring.texts import rouge_l, rouge_words

__all__ = [
    "CONTENT_FREE",
    "OFF_LIST",
    "Baseline",
    "ClassScore",
    "Extractor",
    "Scores",
    "adjusted",
    "calibrated",
    "chosen",
    "correct_rows",
    "exact_match",
    "extract",
    "is_right",
    "normalise",
    "rouge_l",
    "rouge_words",
    "score",
    "shares",
]
