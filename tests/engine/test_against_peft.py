"""The whole training run against a plain script of peft and torch: every method, both families of models, the same loss at every step."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    set_seed,
)

from tests.engine.conftest import toy_rows, toy_spec
from worker.engine.batches import BUCKET
from worker.engine.batches import schedule as ordered
from worker.engine.load import load
from worker.engine.methods import METHODS as HALVES
from worker.engine.reporting import NullReporter
from worker.engine.spec import TrainSpec
from worker.engine.train import opening_ids, train

STEPS, BATCH, WARMUP, SEED, TOKENS, WIDTH = 100, 4, 10, 3, 6, 32
RATES = {"prompt_tuning": 3e-2, "p_tuning": 1e-3, "prefix": 1e-2, "lora": 5e-3, "full": 1e-3}
OWN: dict[str, dict[str, object]] = {
    "prompt_tuning": {"virtual_tokens": TOKENS},
    "p_tuning": {"virtual_tokens": TOKENS},
    "prefix": {"virtual_tokens": TOKENS},
    "lora": {"rank": 4, "alpha": 8.0, "dropout": 0.0},
    "full": {},
}
SOFT: dict[str, object] = {"num_virtual_tokens": TOKENS, "num_transformer_submodules": 1}
CONFIGS: dict[str, tuple[Any, dict[str, object]]] = {
    "prompt_tuning": (PromptTuningConfig, SOFT),
    "p_tuning": (PromptEncoderConfig, SOFT | {"encoder_hidden_size": WIDTH}),
    "prefix": (PrefixTuningConfig, {"num_virtual_tokens": TOKENS}),
    "lora": (LoraConfig, {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear"}),
}


@pytest.fixture(params=["decoder", "translator"])
def base(request: pytest.FixtureRequest, tiny: Path, translator: Path) -> Path:
    return tiny if request.param == "decoder" else translator


@pytest.mark.parametrize(("method", "schedule"), [*((method, "cosine") for method in HALVES), ("lora", "constant")])
def test_the_loss_of_every_step_is_that_of_a_plain_script(base: Path, tmp_path: Path, method: str, schedule: str) -> None:
    recipe: dict[str, object] = {"max_steps": STEPS, "batch_size": BATCH, "accumulation": 1, "learning_rate": RATES[method]}
    recipe |= {"schedule": schedule, "warmup": WARMUP / STEPS}
    spec = toy_spec(base, tmp_path, method, seed=SEED, validation=[], **recipe, **OWN[method])
    reporter = NullReporter()
    train(spec, reporter)
    ours, (theirs, untrained) = reporter.points("loss"), plain_script(base, method, schedule, beginning(spec))
    assert list(ours) == list(range(1, STEPS + 1))
    assert [ours[step] for step in ours] == pytest.approx(theirs, abs=1e-4)
    print(f"{base.name}, {method}, {schedule}: largest difference {max(abs(ours[step] - theirs[step - 1]) for step in ours):.1e}")  # noqa: T201  # docs/benchmarks.md quotes it
    assert abs(theirs[-1] - untrained) > 0.05, "a run that learns nothing proves nothing"


def beginning(spec: TrainSpec) -> dict[str, torch.Tensor]:
    """The trainable parameters before the first step: what the spec's seed draws, or the text it starts from."""
    set_seed(spec.seed)
    loaded = load(spec.base, device="cpu")
    model = HALVES[spec.method](loaded.model, spec.parameters, opening_ids(loaded.tokenizer, spec))
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if tensor.requires_grad}


# From here on: what anybody would write who has torch, transformers and peft.


def plain_script(base: Path, method: str, schedule: str, start: dict[str, torch.Tensor]) -> tuple[list[float], float]:
    """The loss of every step, and what it would be at the last one without training."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    translates = base.name == "translator"
    model: Any = (AutoModelForSeq2SeqLM if translates else AutoModelForCausalLM).from_pretrained(base)
    if method != "full":
        kind, values = CONFIGS[method]
        model = get_peft_model(model, kind(task_type="SEQ_2_SEQ_LM" if translates else "CAUSAL_LM", **values))
    trainable = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    assert set(trainable) == set(start)
    with torch.no_grad():
        for name, tensor in trainable.items():
            tensor.copy_(start[name])
    # Fused as in ours: torch's other AdamW rounds otherwise, and a large rate makes much of the last bit within 100 steps.
    optimiser = torch.optim.AdamW(trainable.values(), lr=RATES[method], weight_decay=0.0, fused=True)
    cosine = schedule == "cosine"
    rate = get_cosine_schedule_with_warmup(optimiser, WARMUP, STEPS) if cosine else get_constant_schedule_with_warmup(optimiser, WARMUP)
    losses = []
    model.train()
    order = list(batches(tokenizer, translates=translates))
    with torch.no_grad():
        untrained = float(model(**order[-1]).loss)
    for batch in order:
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable.values(), 1.0)
        optimiser.step()
        rate.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    return losses, untrained


def batches(tokenizer: Any, *, translates: bool) -> Iterator[dict[str, torch.Tensor]]:
    """The toy task's examples as tensors, in the order in which a run of Fettle with this seed takes them."""
    rows = []
    for values, output in toy_rows(30):
        prompt = tokenizer(f"Input: {values['input']}\nOutput:").input_ids
        answer = [*tokenizer(f" {output}", add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        rows.append((prompt, answer))
    for indices in ordered([len(prompt) + len(answer) for prompt, answer in rows], BATCH, STEPS, SEED, BUCKET if translates else 1):
        chosen = [rows[index] for index in indices]
        inputs = [prompt if translates else prompt + answer for prompt, answer in chosen]
        labels = [answer if translates else [-100] * len(prompt) + answer for prompt, answer in chosen]
        yield {
            "input_ids": padded(inputs, tokenizer.pad_token_id),
            "attention_mask": padded([[1] * len(row) for row in inputs], 0),
            "labels": padded(labels, -100),
        }


def padded(rows: list[list[int]], value: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])
