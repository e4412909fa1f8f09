"""How good the model is right now on the validation rows: the number by which the best moment of a run is chosen."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from app.domain.label_book import FREE_TEXT, LabelBook
from app.domain.scoring import exact_match, rouge_l, score
from app.domain.validation import LOSS, Measure
from worker.engine.answers import Asked
from worker.engine.batches import Example, within_tokens
from worker.engine.reporting import Stopped
from worker.engine.score import Progress, answer_likelihoods, pack_tokens, score_ids

LEAST_ROWS = 64
"""With fewer rows the best moment would be chosen by luck."""


@dataclass(frozen=True)
class Validation:
    """The validation rows as token ids, and the measure that decides. Nothing here draws a random number or leaves a trace in the model.

    `labels` are token ids for a measure by labels; `asked` are the rows answered in words for a written one, `book` says
    which label an answer spells (an empty one: free text); `samples` are the rows that a person watches.
    """

    examples: Sequence[Example]
    measure: Measure
    labels: Sequence[Sequence[int]] = ()
    asked: Asked | None = None
    book: LabelBook = FREE_TEXT
    samples: Asked | None = None

    def within(self, tokens: int, seed: int) -> "Validation":
        """The same on fewer rows, drawn by the seed, so that one validation reads about so many tokens; never fewer than LEAST_ROWS.

        Answers in words get half of it, and have a least number of rows of their own.
        """
        asked = self.asked.within(tokens // 2) if self.asked else None
        left = max(0, tokens - (asked.tokens if asked else 0))
        rows = max(LEAST_ROWS, len(self.examples) * left // self.reads)
        if rows >= len(self.examples):
            return replace(self, asked=asked)
        drawn = random.Random(seed).sample(range(len(self.examples)), rows)  # noqa: S311  # a sample that must come out the same again
        return replace(self, examples=[self.examples[index] for index in sorted(drawn)], asked=asked)

    @property
    def reads(self) -> int:
        """Tokens read to score the rows, roughly."""
        return sum(map(len, self.examples)) + len(self.examples) * sum(map(len, self.labels))

    @property
    def tokens(self) -> int:
        """What one validation costs, samples included, as tokens to read: for an estimate of its time."""
        return self.reads + sum(asked.tokens for asked in (self.asked, self.samples) if asked)

    @property
    def rows(self) -> int:
        """How many rows the measure is taken on."""
        return len(self.asked.rows) if self.asked else len(self.examples)

    @property
    def units(self) -> int:
        """How many rows `run` tells as progress."""
        return len(self.examples) + (len(self.asked.rows) if self.asked else 0)

    def run(self, model: Any, progress: Progress, should_stop: Callable[[], bool]) -> dict[str, float]:
        """The measure's metric point and validation_loss (nats per answer token); a measure by labels tells its sister too. Raises Stopped."""
        with evaluating(model):
            if self.labels:
                return self._labels(model, progress, should_stop)
            values = self._loss(model, progress, should_stop)
            if self.asked:
                values[self.measure.point] = self._written(self.asked, progress, should_stop)
            return values

    def watched(self, model: Any, should_stop: Callable[[], bool]) -> list[str]:
        """What the model writes for the rows that a person watches. Raises Stopped."""
        with evaluating(model):
            return self.samples.texts(should_stop) if self.samples else []

    def _labels(self, model: Any, progress: Progress, should_stop: Callable[[], bool]) -> dict[str, float]:
        scores = score_ids(model, [example.prompt for example in self.examples], self.labels, progress=progress, should_stop=should_stop)
        label_of = {tuple(label): index for index, label in enumerate(self.labels)}
        gold = [label_of.get(example.answer) for example in self.examples]
        known = [(row, label) for row, label in enumerate(gold) if label is not None]
        figures = score([str(label) for label in gold], [str(row.argmax()) for row in scores.sums], [str(index) for index in range(len(self.labels))])
        values = {"validation_accuracy": figures.accuracy, "validation_macro_f1": figures.macro_f1}
        if known:
            tokens = sum(len(self.labels[label]) for _, label in known)
            values[LOSS] = -sum(float(scores.sums[row, label]) for row, label in known) / tokens
        return values

    def _loss(self, model: Any, progress: Progress, should_stop: Callable[[], bool]) -> dict[str, float]:
        total, done = 0.0, 0
        for batch in within_tokens([len(example) for example in self.examples], pack_tokens(model.device)):
            total -= float(answer_likelihoods(model, [self.examples[index] for index in batch]).sum())
            done += len(batch)
            progress(done, self.units)
            if should_stop():
                raise Stopped
        return {LOSS: total / sum(len(example.answer) for example in self.examples)}

    def _written(self, asked: Asked, progress: Progress, should_stop: Callable[[], bool]) -> float:
        texts = asked.texts(should_stop, lambda done, _: progress(len(self.examples) + done, self.units))
        answers = [self.book.answer_in(text) for text in texts]
        if self.measure.name == "exact_match":
            return exact_match(asked.golds, answers)
        return sum(rouge_l(gold, answer) for gold, answer in zip(asked.golds, answers, strict=True)) / len(answers)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model in evaluation mode; afterwards each of its modules is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
