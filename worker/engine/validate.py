"""How good the model is right now on the validation rows: the number by which the best moment of a run is chosen."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.engine.batches import Example, within_tokens
from worker.engine.reporting import Stopped
from worker.engine.score import Progress, answer_likelihoods, pack_tokens, score_ids

LEAST_ROWS = 64
"""With fewer rows the best moment would be chosen by luck."""


@dataclass(frozen=True)
class Validation:
    """The validation rows as token ids. With `labels` the measure is label-likelihood accuracy, without them the loss alone."""

    examples: Sequence[Example]
    labels: Sequence[Sequence[int]] = ()

    def within(self, tokens: int, seed: int) -> "Validation":
        """The same on fewer rows, drawn by the seed, so that one validation reads about so many tokens; never fewer than LEAST_ROWS."""
        rows = max(LEAST_ROWS, len(self.examples) * tokens // self.tokens)
        if rows >= len(self.examples):
            return self
        drawn = random.Random(seed).sample(range(len(self.examples)), rows)  # noqa: S311  # a sample that must come out the same again
        return replace(self, examples=[self.examples[index] for index in sorted(drawn)])

    @property
    def tokens(self) -> int:
        """Tokens read by one validation, roughly: for an estimate of its time."""
        return sum(map(len, self.examples)) + len(self.examples) * sum(map(len, self.labels))

    def run(self, model: Any, progress: Progress, should_stop: Callable[[], bool]) -> dict[str, float]:
        """validation_loss (nats per answer token) and, with labels, validation_accuracy. Raises Stopped. Draws no random number."""
        model.eval()
        return self._labels(model, progress, should_stop) if self.labels else self._loss(model, progress, should_stop)

    def _labels(self, model: Any, progress: Progress, should_stop: Callable[[], bool]) -> dict[str, float]:
        scores = score_ids(model, [example.prompt for example in self.examples], self.labels, progress=progress, should_stop=should_stop)
        label_of = {tuple(label): index for index, label in enumerate(self.labels)}
        gold = [label_of.get(example.answer) for example in self.examples]
        known = [(row, label) for row, label in enumerate(gold) if label is not None]
        right = sum(int(scores.sums[row].argmax()) == label for row, label in known)
        values = {"validation_accuracy": right / len(self.examples)}
        if known:
            tokens = sum(len(self.labels[label]) for _, label in known)
            values["validation_loss"] = -sum(float(scores.sums[row, label]) for row, label in known) / tokens
        return values

    def _loss(self, model: Any, progress: Progress, should_stop: Callable[[], bool]) -> dict[str, float]:
        total, done = 0.0, 0
        for batch in within_tokens([len(example) for example in self.examples], pack_tokens(model.device)):
            total -= float(answer_likelihoods(model, [self.examples[index] for index in batch]).sum())
            done += len(batch)
            progress(done, len(self.examples))
            if should_stop():
                raise Stopped
        return {"validation_loss": total / sum(len(example.answer) for example in self.examples)}


def rank(values: dict[str, float]) -> tuple[float, float]:
    """A key that is larger for a better validation: accuracy first, then a smaller loss."""
    return values.get("validation_accuracy", 0.0), -values.get("validation_loss", float("inf"))
