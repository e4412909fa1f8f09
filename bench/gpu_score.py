"""Scoring and answering rows on one GPU, against plain transformers and, where it is installed, vLLM: `python -m bench.gpu_score [--rows N]`.

Says so and ends well where there is no GPU. Every side reads the same prompts with the same model in bfloat16; ours and theirs take turns.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.domain.generation import Parameters
from app.domain.rendering import Rendered, Shot, Template, answer_text, render
from bench.data import MODEL, WORDS, prepare_model

LABELS = ("delivery", "refund", "card payment", "exchange rate")
SHOTS, TOKENS, BATCH = 16, 16, 32


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_score", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--model", type=Path, default=MODEL, help="a folder with a model; the starter model unless said")
    chosen = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("There is no GPU here: bench.gpu_score measures nothing. `make bench-score` compares on the processor.")
        return
    if chosen.model == MODEL:
        prepare_model()
    print(f"{torch.cuda.get_device_name()}, bfloat16, {chosen.rows} rows of {SHOTS} shots, torch {torch.__version__}\n")
    print("| what | side | rows/s | ratio | agreement |\n|---|---|---|---|---|")
    for line in lines(chosen.model, chosen.rows, "cuda"):
        print(line, flush=True)
    print(f"\nvLLM: {'measured' if find_spec('vllm') else 'not installed here, so not measured'}")


def prompts(count: int) -> list[Rendered]:
    """Prompts that share their instruction and shots; what they ask is made up, the same every time."""

    def text(number: int) -> str:
        return " ".join(random.Random(number).choices(WORDS, k=24))

    template = Template(instruction="What is this message about?", shots=tuple(Shot(text(10_000 + at), LABELS[at % len(LABELS)]) for at in range(SHOTS)))
    return [render(template, {"input": text(at)}) for at in range(count)]


def lines(model: Path, count: int, device: str) -> list[str]:
    """The table's rows: likelihoods, then answers in words."""
    from worker.engine.generate import complete, prepare
    from worker.engine.load import load
    from worker.engine.score import score_labels

    loaded, asked = load(model, device=device), prompts(count)
    labels = [answer_text(Template(), label) for label in LABELS]
    parameters = Parameters(max_tokens=TOKENS, min_tokens=TOKENS, stop=[])

    def ours_weighs(some: Sequence[Rendered]) -> list[int]:
        return [int(row.argmax()) for row in score_labels(loaded, some, labels, end=False).sums]

    def ours_writes(some: Sequence[Rendered]) -> list[str]:
        return [one.text for one in complete(loaded, [prepare(loaded, prompt, parameters) for prompt in some])]

    found = []
    for title, ours, theirs in (
        (f"label likelihood, {len(LABELS)} labels", ours_weighs, lambda some: weigh_padded(loaded, some, labels)),
        (f"{TOKENS} tokens, greedy", ours_writes, lambda some: write_padded(loaded, some)),
    ):
        fast, mine = timed(ours, asked)
        slow, other = timed(theirs, asked)
        same = sum(a == b for a, b in zip(mine, other, strict=True)) / count
        found += [
            f"| {title} | ours | {count / fast:.0f} | **{slow / fast:.1f}** | |",
            f"| | transformers, batches of {BATCH} | {count / slow:.0f} | 1.0 | {100 * same:.1f} % |",
        ]
    if find_spec("vllm"):
        found += vllm_lines(model, asked)
    return found


def timed(work: Callable[[Sequence[Rendered]], list[Any]], asked: Sequence[Rendered]) -> tuple[float, list[Any]]:
    """Seconds and results. Every side gives plain values, so that it has waited for the device when it returns."""
    work(asked[:BATCH])
    began = time.perf_counter()
    found = work(asked)
    return time.perf_counter() - began, found


def weigh_padded(loaded: Any, asked: Sequence[Rendered], labels: Sequence[str]) -> list[int]:
    """The definition as most write it: every prompt with every label, padded at the right."""
    import torch

    tokenizer = loaded.tokenizer
    ends = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in labels]
    pairs = [(tokenizer(prompt.text, add_special_tokens=False)["input_ids"], end) for prompt in asked for end in ends]
    sums: list[float] = []
    for start in range(0, len(pairs), BATCH):
        rows = pairs[start : start + BATCH]
        width = max(len(prompt) + len(end) for prompt, end in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for at, (prompt, end) in enumerate(rows):
            ids[at, : len(prompt) + len(end)] = torch.tensor([*prompt, *end])
            mask[at, : len(prompt) + len(end)] = 1
        with torch.no_grad():
            logits = loaded.model(input_ids=ids.to(loaded.device), attention_mask=mask.to(loaded.device)).logits.float().log_softmax(-1)
        for at, (prompt, end) in enumerate(rows):
            places = torch.arange(len(prompt) - 1, len(prompt) + len(end) - 1)
            sums.append(float(logits[at, places, torch.tensor(end)].sum()))
    width = len(labels)
    return [max(range(width), key=lambda one, at=at: sums[at * width + one]) for at in range(len(asked))]  # type: ignore[misc]


def write_padded(loaded: Any, asked: Sequence[Rendered]) -> list[str]:
    """`generate` on prompts padded at the left."""
    import torch

    tokenizer = loaded.tokenizer
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.pad_token or tokenizer.eos_token
    texts: list[str] = []
    for start in range(0, len(asked), BATCH):
        batch = tokenizer([prompt.text for prompt in asked[start : start + BATCH]], return_tensors="pt", padding=True).to(loaded.device)
        with torch.no_grad():
            ids = loaded.model.generate(**batch, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        texts += tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.rstrip("\ufffd") for text in texts]  # ours leaves out a character that the last token does not finish


def vllm_lines(model: Path, asked: Sequence[Rendered]) -> list[str]:
    """vLLM on the same prompts, with its prefix cache on."""
    from vllm import LLM, SamplingParams

    engine = LLM(str(model), dtype="bfloat16", enable_prefix_caching=True, gpu_memory_utilization=0.5)
    texts = [prompt.text for prompt in asked]
    wanted = SamplingParams(temperature=0, max_tokens=TOKENS, min_tokens=TOKENS)
    engine.generate(texts[:BATCH], wanted, use_tqdm=False)
    began = time.perf_counter()
    engine.generate(texts, wanted, use_tqdm=False)
    return [f"| | vLLM, prefix cache | {len(texts) / (time.perf_counter() - began):.0f} | | |"]


if __name__ == "__main__":
    main()
