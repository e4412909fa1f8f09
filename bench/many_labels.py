"""How long one zero-shot row with 900 labels takes on this processor, one at a time: `python -m bench.many_labels [--rows N]`. Target: at most 0.5 s.

The labels are the 77 intents of banking77 for several products each, with every train row as an example of one of them; the row is offered the
candidates that an evaluation offers it (BM25), in its prompt and as the labels that are scored. Starter model, float32.
"""

import argparse
import os
import time
from statistics import median

from app.domain.candidates import Candidates
from app.domain.label_book import LabelBook
from app.domain.rendering import LABELS, Template, answer_text, label_list, render
from app.domain.scheme import DEFAULT
from bench.data import MODEL, prepare_model, records

PRODUCTS = ("gold card", "business card", "travel card", "savings", "current account", "joint account", "youth account", "credit line", "mortgage", "brokerage",
            "insurance", "gift card")  # fmt: skip
LABEL_COUNT = 900
TARGET_SECONDS = 0.5


def labels_and_rows() -> tuple[list[str], list[tuple[str, str]]]:
    """900 labels, and train rows spread over the products."""
    train = list(records("banking77", "train"))
    intents = sorted({answer for _, answer in train})
    labels = [f"{intent}, {product}" for product in PRODUCTS for intent in intents][:LABEL_COUNT]
    known = set(labels)
    rows = [(f"{values['input']} ({PRODUCTS[at % len(PRODUCTS)]})", f"{answer}, {PRODUCTS[at % len(PRODUCTS)]}") for at, (values, answer) in enumerate(train)]
    return labels, [(text, label) for text, label in rows if label in known]


def verdict(seconds: float) -> str:
    return f"{seconds:.3f} s, {'met' if seconds <= TARGET_SECONDS else 'MISSED'},"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.many_labels", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=40)
    chosen = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    prepare_model()
    from worker.engine.encode import encode_labels, encode_prompt
    from worker.engine.load import load
    from worker.engine.score import score_labels

    labels, rows = labels_and_rows()
    began = time.perf_counter()
    candidates = Candidates(LabelBook.of_texts(labels), rows, DEFAULT.candidates)
    indexed = time.perf_counter() - began
    loaded = load(MODEL, device="cpu", answering=True)
    template = Template(instruction="What does this customer of a bank ask about? One of: {labels}.")
    texts, places = [answer_text(template, label) for label in labels], {label: at for at, label in enumerate(labels)}
    asked = [
        (f"{values['input']} ({PRODUCTS[at % len(PRODUCTS)]})", f"{answer}, {PRODUCTS[at % len(PRODUCTS)]}")
        for at, (values, answer) in enumerate(list(records("banking77", "test"))[:: max(1, 3080 // chosen.rows)])
    ]
    took, read, offered_gold, right, answerable = [], [], 0, 0, 0
    for text, gold in asked[: chosen.rows]:
        began = time.perf_counter()
        offered = candidates.of(text)
        prompt = render(template, {"input": text, LABELS: label_list((label, "") for label in offered)})
        sums = score_labels(loaded, [prompt], texts, offered=[[places[label] for label in offered]]).sums[0]
        took.append(time.perf_counter() - began)
        starts = {
            ids[:depth]
            for ids in map(tuple, encode_labels(loaded.tokenizer, prompt, [answer_text(template, label) for label in offered]))
            for depth in range(1, len(ids))
        }
        read.append((len(encode_prompt(loaded.tokenizer, prompt)), len(starts)))
        answerable += gold in places
        offered_gold += gold in offered
        right += labels[int(sums.argmax())] == gold
    took.sort()
    worst = took[-1 - len(took) // 20]
    print(f"{len(labels)} labels, {len(rows):,} train rows indexed in {indexed:.2f} s; {DEFAULT.candidates} labels offered a row")
    print(f"a zero-shot row: {verdict(median(took))} at the median, {verdict(worst)} at the 95th percentile of {len(took)} (target {TARGET_SECONDS} s)")
    prompts, starts_read = (median(one) for one in zip(*read, strict=True))
    print(
        f"a row reads {prompts:.0f} tokens of the prompt and {starts_read:.0f} of the labels' tree: {1000 * median(took) / (prompts + starts_read):.2f} ms a token"
    )
    print(f"recall@{DEFAULT.candidates}: {offered_gold} of {answerable}; right {right}")


if __name__ == "__main__":
    main()
