"""`model.generate` on padded prompts, the other side of bench/score.py where tokens are written. Prints one JSON line."""

import json
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.runs.measure import job, peak_memory

WARM = 2


def main() -> None:
    chosen = job()
    tokenizer = AutoTokenizer.from_pretrained(chosen["model"], padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(chosen["model"], dtype=torch.float32).eval()

    def answer(prompts: list[str]) -> list[str]:
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.no_grad():
            ids = model.generate(
                **batch, max_new_tokens=chosen["tokens"], min_new_tokens=chosen["tokens"], do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
        return list(tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True))

    answer(chosen["prompts"][:WARM])
    ranked = sorted(range(len(chosen["prompts"])), key=lambda at: len(chosen["prompts"][at]))  # of similar length, so that little is padded
    texts, began = [""] * len(ranked), time.perf_counter()
    for start in range(0, len(ranked), chosen["batch"]):
        rows = ranked[start : start + chosen["batch"]]
        for row, text in zip(rows, answer([chosen["prompts"][row] for row in rows]), strict=True):
            texts[row] = text
    seconds = time.perf_counter() - began
    print(json.dumps({"texts": texts, "rows": len(texts), "seconds": seconds, "peak_memory_bytes": peak_memory()}))


if __name__ == "__main__":
    main()
