"""One real optimiser step, the hardest of the run, before the run begins: does it fit, how long does it take, what is a fair ETA.

What does not fit is tried again in less memory, and the first change that fits is offered by name with what it measured. On a CPU the
step runs under a cap at what the machine has to spare (see `memory.capped`), so that too much is an error here too and not a killed process.
Several ranks that each hold the whole model try together: what one of them cannot hold does not fit, and the slowest says how long it takes.
"""

import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from app.domain.methods.base import MethodParameters, in_words
from app.domain.shape import PASS_TOKENS, Micro, ModelShape, pass_bytes
from app.errors import Invalid
from worker.engine import layers
from worker.engine.batches import Example, collate, decoder_start, divided, on_device, schedule, size
from worker.engine.forward import NONE, Savings, answer_logits
from worker.engine.memory import capped, forget_peak, is_out_of_memory, peak_memory, release, save_memory
from worker.engine.precision import computing, give_back
from worker.engine.ranks import ALONE, Ranks
from worker.engine.shards import is_cut, whole_tensor

Parts = list[list[Example]]
"""The micro-batches of one step."""

NORM = "gradient norm"


@dataclass(frozen=True)
class Measured:
    """The hardest step of a run: its seconds, its tokens with padding, and the peak memory in bytes (the process's, or the GPU's).

    `update_seconds` of the seconds went into the optimiser, however long the examples are. Of several ranks each figure is that of the one that
    has most of it, and the memory what their fullest device holds.
    """

    seconds_per_step: float
    tokens: int
    peak_memory_bytes: int
    update_seconds: float = 0.0

    def seconds(self, steps: int, tokens: int) -> float:
        """What so many steps with so many tokens, padding included, will take."""
        return steps * self.update_seconds + tokens * (self.seconds_per_step - self.update_seconds) / self.tokens


@dataclass(frozen=True)
class Known:
    """What tells how many bytes a pass holds: the model's shape, and the numbers that a method keeps of each token in it."""

    shape: ModelShape
    kept: float

    @classmethod
    def of(cls, shape: ModelShape | None, parameters: MethodParameters) -> "Known | None":
        """None where a model does not say its sizes, or which of its layers are adapted: then passes are compared by their tokens."""
        with suppress(Invalid):
            return cls(shape, parameters.floats_per_token(shape)) if shape else None
        return None


def answer_loss(model: Any, batch: dict[str, torch.Tensor], answer_tokens: Any) -> torch.Tensor:
    """Sum of the cross entropies of a batch's answer tokens, divided by `answer_tokens`, those of the whole optimiser step."""
    logits, targets, _ = answer_logits(model, batch)
    loss: torch.Tensor = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum") / answer_tokens
    return loss


def refuse_not_finite(value: float, step: int, what: str = "loss") -> None:
    """Raises Invalid `loss_not_finite` (or of another `what`) at the step (0 is the preflight), so that a broken run is never shown as a good one."""
    if not math.isfinite(value):
        raise Invalid(
            f"{what.replace(' ', '_')}_not_finite",
            f"The {what} became {value} at step {step}.",
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
    seed: int = 0,
    savings: Savings = NONE,
    ranks: Ranks = ALONE,
    shape: ModelShape | None = None,
) -> Measured:
    """Measure the hardest step of a run, this rank's part of it. `tell` hears what was tried; `ask` is called before each further try and may raise.

    `shape` tells by bytes which step that is. Raises Invalid `out_of_memory` when it does not fit, with the change that does as `suggestion` in its
    detail, tried and measured. The model is then spent: it may recompute its activations. Raises Invalid `loss_not_finite`, `gradient_norm_not_finite`.
    """
    known = Known.of(shape, parameters)
    parts = hardest_step(examples, parameters, seed, model.device, savings, ranks, known)
    measured = _tried(model, parts, pad, savings, ranks)
    if measured is not None:
        return measured
    # From here on in float32 on a processor: oneDNN makes no more products in bfloat16 once it was short of memory. What fits so fits in bfloat16.
    savings = replace(savings, mixed=savings.mixed and model.device.type != "cpu")
    longest, last = len(max(examples, key=len)), _held(parts, parameters, savings, model.device, known)
    tell(f"The longest step does not fit: {_size(parts, savings)}.")
    for less in parameters.cheaper(longest):
        if less.max_length <= max(len(example.answer) for example in examples):
            break
        spared = savings.under(less)
        parts, checkpointing = hardest_step(examples, less, seed, model.device, spared, ranks, known), less.checkpointing
        if (held := _held(parts, less, spared, model.device, known)) >= last and checkpointing == parameters.checkpointing:
            continue
        last = held
        ask()
        save_memory(less)
        if checkpointing:
            layers.recompute(model)
        changes = parameters.changes(less)
        measured = _tried(model, parts, pad, spared, ranks)
        tell(f"Tried {in_words(changes)}: {_size(parts, spared)}, {'does not fit' if measured is None else 'fits'}.")
        if measured is not None:
            raise _fits(changes, measured)
    smallest = "the device's memory, and neither does the smallest that was tried"
    cut = "set sharding to fsdp, " if ranks.world > 1 else ""
    raise _does_not_fit(parts, smallest, f"Choose a smaller model or another method, {cut}or run it on a device with more memory.")


def planned(
    examples: Sequence[Example], parameters: MethodParameters, seed: int, device: torch.device, savings: Savings = NONE, ranks: Ranks = ALONE
) -> list[list[list[int]]]:
    """Of every optimiser step of a run in order, the indices of each micro-batch; rank r takes every world-th from the r-th on."""
    lengths = [min(len(example), parameters.max_length) for example in examples]
    steps = schedule(lengths, parameters.batch_size, parameters.total_steps(len(examples)), seed, savings.bucket)
    budget = PASS_TOKENS.get(device.type, PASS_TOKENS["cpu"])
    return [divided(step, lengths, parameters.accumulation, budget, ranks.world, pack=savings.pack) for step in steps]


def hardest_step(
    examples: Sequence[Example],
    parameters: MethodParameters,
    seed: int,
    device: torch.device,
    savings: Savings = NONE,
    ranks: Ranks = ALONE,
    known: Known | None = None,
) -> Parts:
    """Of all ranks, the micro-batches of the run's step with the one that holds most, of several such steps the longest: nothing else in the run needs
    more memory."""
    fitting = [example.within(parameters.max_length) for example in examples]
    steps = ([[fitting[index] for index in part] for part in parts] for parts in planned(fitting, parameters, seed, device, savings, ranks))
    return max(steps, key=lambda parts: (_held(parts, parameters, savings, device, known), sum(size(part, pack=savings.pack) for part in parts)))


def measure(model: Any, longest: Sequence[Sequence[Example]], pad: int, savings: Savings = NONE) -> Measured:
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
                step(model, longest, pad, optimiser, savings)
            began = _now(model.device)
            loss, norm = step(model, longest, pad, optimiser, savings)
            took = _now(model.device) - began
        refuse_not_finite(loss, 0)
        refuse_not_finite(norm, 0, NORM)
    finally:
        optimiser.zero_grad(set_to_none=True)
    return Measured(took, sum(size(part, pack=savings.pack) for part in longest), peak_memory(model.device), min(update, took / 2))


def step(model: Any, parts: Sequence[Sequence[Example]], pad: int, optimiser: torch.optim.Optimizer, savings: Savings = NONE) -> tuple[float, float]:
    """One optimiser step over its micro-batches, as the loop makes it: (the loss before it, the norm of its gradients)."""
    answer_tokens, total = sum(len(example.answer) for part in parts for example in part), 0.0
    optimiser.zero_grad(set_to_none=True)
    model.train()
    for part in parts:
        batch = on_device(collate(part, pad, decoder_start(model), share=savings.share, pack=savings.pack), model.device)
        with computing(model.device, mixed=savings.mixed):
            loss = answer_loss(model, batch, answer_tokens)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(whole_tensor(loss.detach()))
    norm = torch.nn.utils.clip_grad_norm_([tensor for group in optimiser.param_groups for tensor in group["params"]], 1.0)
    optimiser.step()
    return total, float(whole_tensor(norm))


def _tried(model: Any, parts: Parts, pad: int, savings: Savings, ranks: Ranks) -> Measured | None:
    """What a step takes, of which each rank tries its own part; None when one of them cannot hold it, with everything given back that was held.

    Raises Invalid `out_of_memory` when that is a model in pieces: its ranks wait for each other within a step, so they cannot agree on another.
    """
    own, measured = parts[ranks.rank :: ranks.world], None
    try:
        with capped(model.device, ranks.world), _gradients_sent(model, ranks):
            measured = measure(model, own, pad, savings)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the activations
        if is_cut(model):
            where = f"the memory of device {ranks.rank + 1} of {ranks.world}"
            raise _does_not_fit(own, where, "Raise accumulation, or lower batch_size or max_length.") from error
    if together := _together(measured, ranks):
        return together
    give_back()
    release(model.device)
    return None


@contextmanager
def _gradients_sent(model: Any, ranks: Ranks) -> Iterator[None]:
    """Inside, as much memory is held as DDP's buckets will take, in which the gradients are sent to the other ranks; FSDP has none."""
    buckets = [torch.ones_like(tensor) for tensor in model.parameters() if tensor.requires_grad] if ranks.world > 1 and not is_cut(model) else []
    try:
        yield
    finally:
        buckets.clear()


def _together(measured: Measured | None, ranks: Ranks) -> Measured | None:
    """What the ranks have measured, as one; None when any of them has nothing. The heaviest part of a step is never rank 0's."""
    own = measured or Measured(math.nan, 0, 0)
    said = ranks.exchange(own.seconds_per_step, own.tokens, own.peak_memory_bytes, own.update_seconds)
    if any(math.isnan(seconds) for seconds, *_ in said):
        return None
    seconds, tokens, peaks, updates = zip(*said, strict=True)
    return Measured(max(seconds), int(max(tokens)), ranks.on_one_device(peaks), max(updates))


def _does_not_fit(parts: Sequence[Sequence[Example]], where: str, advice: str) -> Invalid:
    return Invalid("out_of_memory", f"One step of this run does not fit into {where}: {_size(parts)}.", advice, detail={"tried": _size(parts)})


def _fits(changes: dict[str, Any], measured: Measured) -> Invalid:
    words, peak = in_words(changes), f"{measured.peak_memory_bytes / 1e9:.2f} GB"
    return Invalid(
        "out_of_memory",
        f"One step of this run does not fit into the device's memory. With {words} it does: measured {peak} at its peak, {measured.seconds_per_step:.2g} s a step.",
        f"Start it with {words}.",
        detail={"suggestion": changes, "peak_memory_bytes": measured.peak_memory_bytes, "seconds_per_step": round(measured.seconds_per_step, 4)},
    )


def _held(parts: Parts, parameters: MethodParameters, savings: Savings, device: torch.device, known: Known | None) -> int:
    """What the largest of these passes holds, to compare steps by: bytes where they are known, else tokens."""
    micros = [Micro(size(part, pack=savings.pack), sum(len(example.answer) for example in part)) for part in parts]
    if known is None:
        return max(micro.tokens for micro in micros)
    return max(pass_bytes(known.shape, known.kept, micro, checkpointing=parameters.checkpointing, device=device.type) for micro in micros)


def _size(parts: Sequence[Sequence[Example]], savings: Savings = NONE) -> str:
    largest = max(parts, key=lambda part: size(part, pack=savings.pack))
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
