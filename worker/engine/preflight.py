"""One real optimiser step at the longest batch before the run begins: does it fit, how long does it take, what is a fair ETA."""

import math
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from app.errors import Invalid
from worker.engine.batches import Example, collate, decoder_start, on_device
from worker.engine.forward import answer_logits
from worker.engine.shards import whole_tensor


@dataclass(frozen=True)
class Measured:
    """The longest step of a run: its seconds, its tokens, and the process's peak memory in bytes (the GPU's where there is one)."""

    seconds_per_step: float
    tokens: int
    peak_memory_bytes: int


def answer_loss(model: Any, batch: dict[str, torch.Tensor], answer_tokens: Any) -> torch.Tensor:
    """Sum of the cross entropies of a batch's answer tokens, divided by `answer_tokens`, those of the whole optimiser step."""
    logits, targets, _ = answer_logits(model, batch)
    loss: torch.Tensor = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum") / answer_tokens
    return loss


def refuse_not_finite(loss: torch.Tensor, step: int) -> None:
    """Raises Invalid `loss_not_finite` at the step (0 is the preflight), so that a broken run is never shown as a good one."""
    value = float(whole_tensor(loss.detach()))
    if not math.isfinite(value):
        raise Invalid(
            "loss_not_finite",
            f"The loss became {value} at step {step}.",
            "Lower the learning rate or lengthen the warm-up. If it happens at step 0, the base model's weights are damaged.",
            detail={"step": step},
        )


def measure(model: Any, longest: Sequence[Sequence[Example]], pad: int, *, share: bool = False) -> Measured:
    """Run the micro-batches `longest` as one step and leave model and random state as they were.

    The optimiser is real, with a learning rate of exactly 0: it takes its memory and its time, and moves no weight by any bit.
    Raises Invalid `out_of_memory` or `loss_not_finite`.
    """
    trainable = [tensor for tensor in model.parameters() if tensor.requires_grad]
    on_gpu = model.device.type == "cuda"
    optimiser = torch.optim.AdamW(trainable, lr=0.0, weight_decay=0.0, fused=on_gpu)
    began = time.perf_counter()
    try:
        with torch.random.fork_rng(devices=[model.device] if on_gpu else []):
            _step(model, longest, pad, optimiser, share)
        if on_gpu:
            torch.cuda.synchronize(model.device)
    except torch.OutOfMemoryError as error:
        raise Invalid(
            "out_of_memory",
            "One step of this run does not fit into the device's memory.",
            "Raise accumulation, or lower batch_size or max_length.",
            detail={"peak_memory_bytes": peak_memory(model.device)},
        ) from error
    finally:
        optimiser.zero_grad(set_to_none=True)
    return Measured(time.perf_counter() - began, sum(len(example) for part in longest for example in part), peak_memory(model.device))


def mixed_precision(device: torch.device) -> bool:
    """Whether training computes in bfloat16 over float32 parameters: on GPUs that can."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def peak_memory(device: torch.device) -> int:
    """The most memory in bytes so far: allocated on the GPU, or resident in this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kilobytes on Linux


def _step(model: Any, parts: Sequence[Sequence[Example]], pad: int, optimiser: torch.optim.Optimizer, share: bool) -> None:
    answer_tokens = sum(len(example.answer) for part in parts for example in part)
    precision: AbstractContextManager[Any] = torch.autocast("cuda", torch.bfloat16) if mixed_precision(model.device) else nullcontext()
    model.train()
    for part in parts:
        batch = on_device(collate(part, pad, decoder_start(model), share=share), model.device)
        with precision:
            loss = answer_loss(model, batch, answer_tokens)
        refuse_not_finite(loss, 0)
        loss.backward()  # type: ignore[no-untyped-call]
    trainable = [tensor for group in optimiser.param_groups for tensor in group["params"]]
    refuse_not_finite(torch.nn.utils.clip_grad_norm_(trainable, 1.0), 0)
    optimiser.step()
