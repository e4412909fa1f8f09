"""One real optimiser step at the longest batch before the run begins: does it fit, how long does it take, what is a fair ETA.

What does not fit is tried again in less memory, and the first change that fits is offered by name with what it measured. On a CPU the
step runs under a cap at what the machine has to spare (see `memory.capped`), so that too much is an error here too and not a killed process.
"""

import math
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from app.domain.methods.base import MethodParameters
from app.errors import Invalid
from worker.engine import layers
from worker.engine.batches import Example, collate, decoder_start, micro_batches, on_device, padded, passes_per_step
from worker.engine.forward import answer_logits
from worker.engine.memory import capped, forget_peak, is_out_of_memory, peak_memory, release, save_memory
from worker.engine.ranks import ALONE, Ranks
from worker.engine.shards import whole_tensor


@dataclass(frozen=True)
class Measured:
    """The longest step of a run: its seconds, its padded tokens, and the peak memory in bytes (the process's, or the GPU's).

    `update_seconds` of the seconds went into the optimiser, however long the examples are.
    """

    seconds_per_step: float
    tokens: int
    peak_memory_bytes: int
    update_seconds: float = 0.0

    def seconds(self, steps: int, tokens: int) -> float:
        """What so many steps with so many padded tokens in all will take."""
        return steps * self.update_seconds + tokens * (self.seconds_per_step - self.update_seconds) / self.tokens


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


def preflight(
    model: Any,
    examples: Sequence[Example],
    pad: int,
    parameters: MethodParameters,
    tell: Callable[[str], None],
    ask: Callable[[], None],
    *,
    share: bool = False,
    ranks: Ranks = ALONE,
) -> Measured:
    """Measure the longest step of a run, this rank's part of it. `tell` hears what was tried; `ask` is called before each further try and may raise.

    Raises Invalid `out_of_memory` when it does not fit, with the change that does as `suggestion` in its detail, tried and measured.
    The model is then spent: it may recompute its activations. Raises Invalid `loss_not_finite`.
    """
    parts = longest_step(examples, parameters, ranks)
    measured = _tried(model, parts, pad, share)
    if measured is not None:
        return measured
    if ranks.world > 1:
        # What one rank tries, the others would have to try at the same time; a person can say it to all.
        raise _does_not_fit(
            parts, f"the memory of device {ranks.rank + 1} of {ranks.world}", "Raise accumulation, lower batch_size or max_length, or set sharding to fsdp."
        )
    longest, last = len(max(examples, key=len)), [list(map(len, part)) for part in parts]
    tell(f"The longest step does not fit: {_size(parts)}.")
    for less in parameters.cheaper(longest):
        if less.max_length <= max(len(example.answer) for example in examples):
            break
        parts, checkpointing = longest_step(examples, less), less.checkpointing
        if [list(map(len, part)) for part in parts] == last and checkpointing == parameters.checkpointing:
            continue
        last = [list(map(len, part)) for part in parts]
        ask()
        save_memory(less)
        if checkpointing:
            layers.recompute(model)
        changes = parameters.changes(less)
        measured = _tried(model, parts, pad, share and less.shares_start)
        tell(f"Tried {_words(changes)}: {_size(parts)}, {'does not fit' if measured is None else 'fits'}.")
        if measured is not None:
            raise _fits(changes, measured)
    smallest = "the device's memory, and neither does the smallest that was tried"
    raise _does_not_fit(parts, smallest, "Choose a smaller model or another method, or run it on a device with more memory.")


def longest_step(examples: Sequence[Example], parameters: MethodParameters, ranks: Ranks = ALONE) -> list[list[Example]]:
    """A rank's micro-batches of a step with the longest examples there are, cut to the parameters' length: no step of the run is larger."""
    longest = sorted((example.within(parameters.max_length) for example in examples), key=len)[-parameters.batch_size :]
    per_step = passes_per_step(len(examples), parameters.batch_size, parameters.accumulation, ranks.world)
    lengths = [len(example) for example in longest]
    micro = micro_batches(list(range(len(longest))), lengths, per_step * ranks.world)[ranks.rank :: ranks.world]
    return [[longest[index] for index in part] for part in micro]


def measure(model: Any, longest: Sequence[Sequence[Example]], pad: int, *, share: bool = False) -> Measured:
    """Run the micro-batches `longest` as one step and leave model and random state as they were.

    The optimiser is real, with a learning rate of exactly 0: it takes its memory and its time, and moves no weight by any bit. It has its
    moments before the step, as in every step of a run but the first.
    """
    trainable = [tensor for tensor in model.parameters() if tensor.requires_grad]
    on_gpu = model.device.type == "cuda"
    forget_peak(model.device)
    optimiser = torch.optim.AdamW(trainable, lr=0.0, weight_decay=0.0, fused=True)
    try:
        update = _updated(trainable, optimiser)
        with torch.random.fork_rng(devices=[model.device] if on_gpu else []):
            if layers.is_compiled(model):
                _step(model, longest, pad, optimiser, share)
                optimiser.zero_grad(set_to_none=True)
            began = _now(model.device)
            _step(model, longest, pad, optimiser, share)
            took = _now(model.device) - began
    finally:
        optimiser.zero_grad(set_to_none=True)
    return Measured(took, sum(padded(part) for part in longest), peak_memory(model.device), min(update, took / 2))


def mixed_precision(device: torch.device) -> bool:
    """Whether training computes in bfloat16 over float32 parameters: on GPUs that can."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def training_precision(device: torch.device) -> AbstractContextManager[Any]:
    """The precision in which training computes its forward pass."""
    return torch.autocast("cuda", torch.bfloat16) if mixed_precision(device) else nullcontext()


def _tried(model: Any, parts: Sequence[Sequence[Example]], pad: int, share: bool) -> Measured | None:
    """What a step takes; None when it does not fit, with everything given back that it held."""
    try:
        with capped(model.device):
            return measure(model, parts, pad, share=share)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the activations
    release(model.device)
    return None


def _does_not_fit(parts: Sequence[Sequence[Example]], where: str, advice: str) -> Invalid:
    return Invalid("out_of_memory", f"One step of this run does not fit into {where}: {_size(parts)}.", advice, detail={"tried": _size(parts)})


def _fits(changes: dict[str, Any], measured: Measured) -> Invalid:
    words, peak = _words(changes), f"{measured.peak_memory_bytes / 1e9:.2f} GB"
    return Invalid(
        "out_of_memory",
        f"One step of this run does not fit into the device's memory. With {words} it does: measured {peak} at its peak, {measured.seconds_per_step:.2g} s a step.",
        f"Start it with {words}.",
        detail={"suggestion": changes, "peak_memory_bytes": measured.peak_memory_bytes, "seconds_per_step": round(measured.seconds_per_step, 4)},
    )


def _words(changes: dict[str, Any]) -> str:
    words = ["activation checkpointing" if name == "checkpointing" else f"{name.replace('_', ' ')} {value}" for name, value in changes.items()]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _size(parts: Sequence[Sequence[Example]]) -> str:
    largest = max(parts, key=padded)
    return f"{len(largest)} {'example' if len(largest) == 1 else 'examples'} of up to {max(map(len, largest))} tokens at once"


def _updated(trainable: Sequence[torch.Tensor], optimiser: torch.optim.Optimizer) -> float:
    """Give the optimiser its moments; the seconds of an update."""
    for tensor in trainable:
        tensor.grad = torch.zeros_like(tensor)
    optimiser.step()
    began = _now(trainable[0].device)
    optimiser.step()
    took = _now(trainable[0].device) - began
    optimiser.zero_grad(set_to_none=True)
    return took


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _step(model: Any, parts: Sequence[Sequence[Example]], pad: int, optimiser: torch.optim.Optimizer, share: bool) -> None:
    answer_tokens = sum(len(example.answer) for part in parts for example in part)
    model.train()
    for part in parts:
        batch = on_device(collate(part, pad, decoder_start(model), share=share), model.device)
        with training_precision(model.device):
            loss = answer_loss(model, batch, answer_tokens)
        refuse_not_finite(loss, 0)
        loss.backward()  # type: ignore[no-untyped-call]
    trainable = [tensor for group in optimiser.param_groups for tensor in group["params"]]
    refuse_not_finite(torch.nn.utils.clip_grad_norm_(trainable, 1.0), 0)
    optimiser.step()
