"""An evaluate job of the linear baseline: logistic regression over TF-IDF, learnt from the train rows in seconds. Loads no torch.

What a tuned model has to beat before anybody pays for it. Words and pairs of words, sublinear counts; how strongly the weights are held back is
chosen on the validation rows.
"""

import platform
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from app.db import reading
from app.domain import dataset as datasets
from app.domain import label_budget
from app.domain.dataset import Case
from app.domain.job import Job
from app.domain.rendering import DEFAULT, Template, read_of
from app.domain.scoring import chosen
from app.errors import Invalid
from worker import predictions
from worker.engine.reporting import Stopped
from worker.predictions import Prediction
from worker.reporter import JobReporter

FEATURES = 200_000
WORD = r"(?u)\b\w+\b"
"""A word may be one character long, unlike scikit-learn's."""

STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse strengths of the penalty that are tried; the first that is best on validation rows stays."""


def run(job: Job, token: str, reporter: JobReporter) -> None:
    """Learn, then answer every split of the job."""
    reporter.phase("load")
    works = predictions.load(job, token, reporter)
    with reading() as session:
        version = session.get_one(datasets.DatasetVersion, works[0].evaluation.dataset_version_id)
        train = label_budget.train_rows(session, version, job.settings.get("label_budget"), job.settings.get("seed", 0))
        validation = [*datasets.cases(session, version, "validation")]
    linear = fit(train, validation, reporter, works[0].template)
    for work in works:
        reporter.phase("evaluate", len(work.rows))
        work.keep(linear.answer(work.waiting))
        reporter.phase("save")
        latency = [one["latency_ms"] for row in work.timed for one in linear.answer([row])]
        work.finish(latency, {"device": "cpu", "machine": platform.machine(), "latency": "one request at a time"})


@dataclass(frozen=True)
class Linear:
    """A fitted baseline. Of a row it reads what `template` does."""

    template: Template
    words: TfidfVectorizer
    weights: LogisticRegression

    def answer(self, rows: Sequence[Case]) -> list[Prediction]:
        """A prediction for each row, with the log-likelihood of every label that train has."""
        if not rows:
            return []
        began = time.perf_counter()
        found = self.weights.predict_log_proba(self.words.transform([read_of(self.template, row.values) for row in rows]))
        each = 1000 * (time.perf_counter() - began) / len(rows)
        labels = [str(label) for label in self.weights.classes_]
        return [
            predictions.predicted(
                row,
                {
                    "likelihoods": (sums := dict(zip(labels, map(float, values), strict=True))),
                    **chosen({label: exp(value) for label, value in sums.items()}, row.answer),
                    "latency_ms": each,
                    "input_tokens": 0,
                    "output_tokens": 0,
                },
            )
            for row, values in zip(rows, found, strict=True)
        ]


def fit(train: Sequence[Case], validation: Sequence[Case], reporter: Any, template: Template = DEFAULT) -> Linear:
    """Learn from train rows; the strength is chosen on validation rows, or is the middle one without them. Raises Invalid, Stopped."""
    if len({row.answer for row in train}) < 2:
        raise Invalid("one_label", "The train rows have fewer than two labels, so there is nothing to tell apart.", "Move rows of other labels into train.")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=FEATURES, token_pattern=WORD)
    try:
        table = words.fit_transform([read_of(template, row.values) for row in train])
    except ValueError:
        raise Invalid("no_words", "No train row holds a word.", "The linear baseline reads words; the rungs above it need none.") from None
    fitted = []
    tried = STRENGTHS if validation else STRENGTHS[1:2]
    reporter.phase("train", len(tried))
    for at, strength in enumerate(tried):
        if reporter.should_stop():
            raise Stopped
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline that is nearly there is one
            fitted.append(Linear(template, words, LogisticRegression(C=strength, max_iter=300).fit(table, [row.answer for row in train])))
        reporter.progress(at + 1, len(tried), None)
    return max(fitted, key=lambda one: sum(bool(found["correct"]) for found in one.answer(validation)))
