"""Our side of bench/score.py: `python -m bench.runs.score_ours JOB.json`. Prints one JSON line."""

import json
import time
from pathlib import Path

from app.domain.generation import Parameters
from app.domain.rendering import Part, Rendered
from bench.runs.measure import job, peak_memory
from worker.engine.encode import encode_prompt
from worker.engine.generate import BATCH_TOKENS, complete, prepare
from worker.engine.load import load
from worker.engine.prefix import common
from worker.engine.score import PACK, score_labels

WARM = 4


def main() -> None:
    chosen = job()
    loaded = load(Path(chosen["model"]), device="cpu", answering=True)
    prompts = [Rendered((Part(text, trusted=True),)) for text in chosen["prompts"]]
    ids = [encode_prompt(loaded.tokenizer, prompt) for prompt in prompts]
    held = common(ids) + PACK["cpu"] if not chosen["tokens"] else BATCH_TOKENS["cpu"]
    longest = max(map(len, ids)) + (chosen["tokens"] or max(len(loaded.tokenizer(label)["input_ids"]) for label in chosen["labels"]))
    if chosen["tokens"]:
        parameters = Parameters(max_tokens=chosen["tokens"], min_tokens=chosen["tokens"], stop=[])
        complete(loaded, [prepare(loaded, prompt, parameters) for prompt in prompts[:WARM]])
        began = time.perf_counter()
        texts = [one.text for one in complete(loaded, [prepare(loaded, prompt, parameters) for prompt in prompts])]
        found = {"texts": texts}
    else:
        score_labels(loaded, prompts[:WARM], chosen["labels"], end=False)
        began = time.perf_counter()
        found = {"sums": score_labels(loaded, prompts, chosen["labels"], end=False).sums.tolist()}
    seconds = time.perf_counter() - began
    print(json.dumps(found | {"rows": len(prompts), "seconds": seconds, "held": held, "longest": longest, "peak_memory_bytes": peak_memory()}))


if __name__ == "__main__":
    main()
