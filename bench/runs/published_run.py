"""One row of bench.published: tune with the engine's train(), write the answers, score them. `python -m bench.runs.published_run JOB.json`."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app.domain.generation import Parameters
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.rendering import Template, render
from bench.runs import published_score as score
from bench.runs.published_rows import ROWS, Row
from worker.engine.encode import encode_prompt
from worker.engine.generate import complete, prepare
from worker.engine.load import Loaded, load
from worker.engine.reporting import NullReporter
from worker.engine.spec import TrainSpec
from worker.engine.train import TrainResult, train

BATCH = 16
"""Prompts decoded together by beam search."""


def main() -> None:
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()))), flush=True)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """The row's scores in percent, its trainable parameters, steps, seconds of training and peak memory, and how many rows it had."""
    row, test = ROWS[job["row"]], job["test"]
    result = train(spec(row, job), NullReporter())
    full = row.method == "full"
    tuned = load(result.artefact, device=job["device"]) if full else load(Path(job["model"]), adapter=result.artefact, device=job["device"])
    answers = beams(tuned, row, test) if row.generation else written(tuned, row, test)
    shutil.rmtree(job["folder"])
    return {"scores": scored(row, answers, test), "train_rows": len(job["train"]), "test_rows": len(test), **facts(result)}


def spec(row: Row, job: dict[str, Any]) -> TrainSpec:
    folder = Path(job["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    chosen = row.parameters | ({"max_steps": job["steps"]} if job["steps"] else {})
    return TrainSpec(
        base=Path(job["model"]),
        template=Template("freeform", text=row.prompt),
        opening=Template("freeform", text=f"{row.opening}\n{row.prompt}") if row.opening else None,
        train=[({name: given[name] for name in row.data.columns}, given["output"]) for given in job["train"]],
        validation=[],
        labels=row.labels,
        method=row.method,
        parameters=parse(METHODS, row.method, chosen),
        seed=0,
        folder=folder,
        device=job["device"],
        checkpoint_seconds=1800.0,
    )


def facts(result: TrainResult) -> dict[str, Any]:
    names = ("trainable", "steps", "seconds", "peak_memory_bytes")
    return {**{name: getattr(result, name) for name in names}, "versions": dict(result.versions)}


def written(tuned: Loaded, row: Row, test: Sequence[dict[str, Any]]) -> list[str]:
    """Greedy answers of Fettle's own runner."""
    chosen = Parameters(max_tokens=row.max_tokens, stop=["\n\nQuestion:"] if row.scorer == "number" else None)
    prompts = [prepare(tuned, render(Template("freeform", text=row.prompt), given), chosen) for given in test]
    return [one.text.strip() for one in complete(tuned, prompts)]


def beams(tuned: Loaded, row: Row, test: Sequence[dict[str, Any]]) -> list[str]:
    """Answers by transformers' beam search, prompts padded at the left."""
    tokenizer, pad = tuned.tokenizer, tuned.tokenizer.eos_token_id
    prompts = [encode_prompt(tokenizer, render(Template("freeform", text=row.prompt), given)) for given in test]
    answers = []
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        width = max(map(len, part))
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in part], device=tuned.device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part], device=tuned.device)
        with torch.no_grad():
            out = tuned.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=row.max_tokens, do_sample=False, pad_token_id=pad, eos_token_id=pad, **row.generation
            )
        answers += [text.strip() for text in tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)]
    return answers


def scored(row: Row, answers: Sequence[str], test: Sequence[dict[str, Any]]) -> dict[str, float]:
    if row.scorer == "bleu":
        return score.bleu(answers, [given["references"] for given in test])
    wanted = [given["output"] for given in test]
    return score.exact(answers, wanted, row.labels) if row.scorer == "exact" else score.number(answers, wanted)


if __name__ == "__main__":
    main()
