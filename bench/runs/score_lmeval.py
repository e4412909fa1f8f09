"""Their side of bench/score.py, in an environment of its own: the model `hf` of lm-evaluation-harness on the same requests. Prints one JSON line."""

import json
import time
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from measure import job, peak_memory

WARM = 4


def requests(chosen: dict[str, Any], count: int) -> list[Any]:
    pairs = [(prompt, label) for prompt in chosen["prompts"][:count] for label in chosen["labels"]]
    return [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=at) for at, pair in enumerate(pairs)]


def main() -> None:
    chosen = job()
    model = HFLM(pretrained=chosen["model"], dtype="float32", device="cpu", batch_size=chosen["batch"])
    model.loglikelihood(requests(chosen, WARM), disable_tqdm=True)
    began = time.perf_counter()
    found = [float(value) for value, _ in model.loglikelihood(requests(chosen, len(chosen["prompts"])), disable_tqdm=True)]
    seconds = time.perf_counter() - began
    width = len(chosen["labels"])
    sums = [found[at : at + width] for at in range(0, len(found), width)]
    print(json.dumps({"sums": sums, "rows": len(sums), "seconds": seconds, "peak_memory_bytes": peak_memory()}))


if __name__ == "__main__":
    main()
