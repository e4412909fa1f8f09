"""How good a tuned model is on rows it was not trained on: by the engine's own scorer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.domain.rendering import Template, answer_text, render
from bench.data import Row
from worker.engine.batches import within_tokens
from worker.engine.fit import fit_examples
from worker.engine.load import load, window
from worker.engine.score import answer_likelihoods, pack_tokens, score_labels


def score(base: Path, artefact: Path, method: str, template: Template, rows: Sequence[Row], labels: Sequence[str], device: str) -> dict[str, float]:
    """`accuracy` by label likelihood with `loss`, nats per row of the right label among the labels; without labels `loss` is nats per answer token."""
    loaded = load(artefact, device=device) if method == "full" else load(base, adapter=artefact, device=device)
    if not labels:
        examples, _ = fit_examples(loaded.tokenizer, template, rows, window(loaded.model), "cut_tail")
        total = 0.0
        for batch in within_tokens([len(example) for example in examples], pack_tokens(loaded.device)):
            total -= float(answer_likelihoods(loaded.model, [examples[at] for at in batch]).sum())
        return {"loss": round(total / sum(len(example.answer) for example in examples), 5)}
    sums = score_labels(loaded, [render(template, values) for values, _ in rows], [answer_text(template, label) for label in labels]).sums
    gold = [labels.index(answer) for _, answer in rows]
    right = sum(int(row.argmax()) == index for row, index in zip(sums, gold, strict=True))
    losses = np.logaddexp.reduce(sums, axis=1) - sums[np.arange(len(gold)), gold]
    return {"accuracy": right / len(rows), "loss": round(float(losses.mean()), 5)}
