"""Tune a model on labelled examples: from plain values to a checked artefact, with everything worth knowing reported on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from app.domain.methods.base import MethodParameters
from app.domain.rendering import Rendered, Template, answer_text, render
from app.errors import Invalid
from worker.engine import artefact, checkpoint
from worker.engine.batches import Example, encode_examples, pad_token, passes_per_step, schedule
from worker.engine.encode import encode_answer
from worker.engine.load import Loaded, fingerprint, load, parameters
from worker.engine.loop import Batches, Loop, RunState, arguments
from worker.engine.methods import METHODS
from worker.engine.pace import Pace, Plan
from worker.engine.preflight import Measured, measure, peak_memory
from worker.engine.reporting import Reporter, Stopped
from worker.engine.validate import Validation

Row = tuple[Mapping[str, str], str]
"""A labelled example: values of the prompt's variables, and the answer without the white space before it."""


@dataclass(frozen=True)
class TrainSpec:
    """Everything a run depends on. `labels` are the answers to choose from, empty when answers are free text.

    The run lives in `folder`: its checkpoints, its best parameters, and at the end `folder`/artefact. With `resume` it goes on
    from the newest checkpoint there that is intact. The same spec on the same machine gives the same bits on a CPU.
    """

    base: Path
    template: Template
    train: Sequence[Row]
    validation: Sequence[Row]
    labels: Sequence[str]
    method: str
    parameters: MethodParameters
    seed: int
    folder: Path
    resume: bool = False
    threads: int | None = None
    device: str = "auto"
    checkpoint_seconds: float = 120.0


@dataclass(frozen=True)
class TrainResult:
    """`seconds` is training time over all attempts; `best_value` is validation accuracy, or loss without labels, at `best_step`."""

    artefact: Path
    trainable: int
    total: int
    steps: int
    seconds: float
    best_value: float | None
    best_step: int | None
    peak_memory_bytes: int
    threads: int
    versions: Mapping[str, str]


def train(spec: TrainSpec, reporter: Reporter) -> TrainResult:
    """Run it. Raises Stopped (with a checkpoint once training began) when asked to stop, and app.errors for what a person can mend."""
    if spec.threads:
        torch.set_num_threads(spec.threads)
    set_seed(spec.seed)
    reporter.phase("load")
    loaded = load(spec.base, device=spec.device)
    batches, validation = _data(loaded, spec, reporter)
    model = METHODS[spec.method](loaded.model, spec.parameters)
    _ask(reporter)

    reporter.phase("preflight")
    measured = _preflight(model, batches, spec, reporter)
    _ask(reporter)

    total = len(batches.micro) // batches.per_step
    plan = Plan.of(total, spec.parameters.evaluations, has_validation=validation is not None)
    reporter.phase("train", total)
    loop = Loop(
        model,
        arguments(spec.folder, spec.parameters, total, batches.per_step, spec.seed, loaded.device),
        batches,
        validation,
        Pace(plan, spec.checkpoint_seconds, _validation_estimate(validation, measured)),
        reporter,
        spec.parameters.early_stopping,
    )
    point = checkpoint.newest_valid(spec.folder, reporter.log) if spec.resume else None
    if point:
        reporter.log(f"Went on from the checkpoint at step {point[0]}.")
    state = loop.run(point[1] if point else None)

    reporter.phase("save")
    if best := loop.best_tensors():
        artefact.restore_trainable(model, best)
    return _save(model, loaded, spec, state, loop.state.global_step)


def _data(loaded: Loaded, spec: TrainSpec, reporter: Reporter) -> tuple[Batches, Validation | None]:
    if not spec.train:
        raise Invalid("no_examples", "There are no training examples.", "Put examples into the train split.")
    chosen = spec.parameters
    examples, cut = encode_examples(loaded.tokenizer, _rendered(spec, spec.train), chosen.max_length)
    held_out, also_cut = encode_examples(loaded.tokenizer, _rendered(spec, spec.validation), chosen.max_length)
    if cut + also_cut:
        reporter.log(f"{cut} train and {also_cut} validation examples are longer than {chosen.max_length} tokens and lost the start of their prompt.")
    per_step = passes_per_step(len(examples), chosen.batch_size, chosen.accumulation)
    steps = chosen.total_steps(len(examples))
    micro = schedule([len(example) for example in examples], chosen.batch_size, per_step, steps, spec.seed)
    return Batches(examples, micro, per_step, pad_token(loaded.tokenizer)), _validation(loaded, spec, held_out)


def _rendered(spec: TrainSpec, rows: Sequence[Row]) -> list[Rendered]:
    return [render(spec.template, values, answer) for values, answer in rows]


def _validation(loaded: Loaded, spec: TrainSpec, examples: Sequence[Example]) -> Validation | None:
    if not examples:
        return None
    sample = render(spec.template, *spec.validation[0])
    texts = [render(spec.template, spec.validation[0][0], label).answer or answer_text(spec.template, label) for label in spec.labels]
    return Validation(examples, [encode_answer(loaded.tokenizer, sample, text, end=True) for text in texts])


def _preflight(model: Any, batches: Batches, spec: TrainSpec, reporter: Reporter) -> Measured:
    longest = sorted(batches.examples, key=len)[-min(spec.parameters.batch_size, len(batches.examples)) :]
    parts = [longest[start :: batches.per_step] for start in range(batches.per_step)]
    measured = measure(model, parts, batches.pad)
    reporter.log(f"Longest step: {measured.seconds_per_step:.2f} s, {measured.tokens} tokens; peak memory {measured.peak_memory_bytes / 2**20:.0f} MB.")
    return measured


def _validation_estimate(validation: Validation | None, measured: Measured) -> float:
    """Seconds of one validation before one is measured: reading a token costs about a third of training on it."""
    return 0.0 if validation is None else validation.tokens * measured.seconds_per_step / measured.tokens / 3


def _save(model: Any, loaded: Loaded, spec: TrainSpec, state: RunState, steps: int) -> TrainResult:
    trainable, total = parameters(model)
    best = None if state.best is None else state.best.get("validation_accuracy", state.best.get("validation_loss"))
    facts = {
        "method": spec.method,
        "parameters": spec.parameters.model_dump(mode="json"),
        "seed": spec.seed,
        "base_fingerprint": fingerprint(spec.base),
        "template": asdict(spec.template),
        "labels": list(spec.labels),
        "rows": {"train": len(spec.train), "validation": len(spec.validation)},
        "steps": steps,
        "seconds": round(state.seconds, 3),
        "best": {"step": state.best_step, **(state.best or {})},
        "trainable_parameters": trainable,
        "total_parameters": total,
        "peak_memory_bytes": peak_memory(loaded.device),
        "threads": torch.get_num_threads(),
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
    }
    saved = artefact.save(model, loaded.tokenizer, spec.folder / "artefact", facts)
    return TrainResult(
        saved.folder, trainable, total, steps, state.seconds, best, state.best_step,
        peak_memory(loaded.device), torch.get_num_threads(), saved.facts["versions"],
    )  # fmt: skip


def _ask(reporter: Reporter) -> None:
    if reporter.should_stop():
        raise Stopped
