"""Tune a model on labelled examples: from plain values to a checked artefact, with everything worth knowing reported on the way."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from app.domain.methods.base import MethodParameters
from app.domain.rendering import LABELS, Rendered, Template, label_list, render, with_opening, without_opening
from app.errors import Invalid
from worker.engine import artefact, checkpoint
from worker.engine.batches import Example, decoder_start, encode_examples, pad_token, passes_per_step, schedule
from worker.engine.encode import encode_pair, encode_prompt
from worker.engine.forward import reads_shared_starts
from worker.engine.load import Loaded, fingerprint, load, parameters, window
from worker.engine.loop import Batches, Loop, RunState, arguments
from worker.engine.methods import METHODS
from worker.engine.methods.soft import width
from worker.engine.pace import Pace, Plan
from worker.engine.preflight import Measured, measure, peak_memory
from worker.engine.reporting import Reporter, Stopped
from worker.engine.validate import Validation

ARTEFACT = "artefact"

READING_COST = 1 / 3
"""Of reading a token against training on it: forward only, instead of forward, backward through the activations and the weights."""

VALIDATION_SHARE = 0.5
"""The most that all validations together may cost against training."""

Row = tuple[Mapping[str, str], str]
"""A labelled example: values of the prompt's variables, and the answer without the white space before it."""


@dataclass(frozen=True)
class TrainSpec:
    """Everything a run depends on. `labels` are the answers to choose from, empty when answers are free text.

    The run lives in `folder`: its checkpoints, its best parameters, and at the end `folder`/artefact. With `resume` it goes on
    from the newest checkpoint there that is intact, or, when the artefact is there already, only returns it. The same spec on the same machine gives the same bits on a CPU.
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
    opening: Template | None = None
    """The prompt whose opening a soft prompt starts from. None: the template itself, or its labels when it has no opening."""


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
    if spec.resume and (spec.folder / ARTEFACT).exists():
        return _result(artefact.check(spec.folder / ARTEFACT))
    if spec.threads:
        torch.set_num_threads(spec.threads)
    set_seed(spec.seed)
    reporter.phase("load")
    loaded = load(spec.base, device=spec.device, four_bit=getattr(spec.parameters, "four_bit", False))
    model = METHODS[spec.method](loaded.model, spec.parameters, opening_ids(loaded.tokenizer, spec))
    batches, validation = _data(replace(loaded, model=model), spec, reporter)
    _ask(reporter)

    reporter.phase("preflight")
    measured = _preflight(model, batches, spec, reporter)
    _ask(reporter)

    loop = _loop(model, loaded, batches, validation, measured, spec, reporter)
    reporter.phase("train", loop.pace.plan.total)
    point = checkpoint.newest_valid(spec.folder, reporter.log) if spec.resume else None
    if point:
        reporter.log(f"Went on from the checkpoint at step {point[0]}.")
    state = loop.run(point[1] if point else None)

    reporter.phase("save")
    if best := loop.best_tensors():
        artefact.restore_trainable(model, best)
    saved = artefact.save(model, loaded.tokenizer, spec.folder / ARTEFACT, _facts(loop, loaded, spec, state))
    loop.drop_best()
    return _result(saved)


def opening_ids(tokenizer: Any, spec: TrainSpec) -> list[int]:
    """The token ids of the text a soft prompt starts from: what the prompt with its opening has before what it has without it."""
    if not (spec.parameters.soft and spec.train):
        return []
    values = spec.train[0][0]
    template = with_opening(spec.opening or spec.template, values.get(LABELS) or label_list((label, "") for label in spec.labels))
    long, short = encode_prompt(tokenizer, render(template, values)), encode_prompt(tokenizer, render(without_opening(template), values))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(long), reversed(short), strict=False)))
    return long[: len(long) - same]


def _data(loaded: Loaded, spec: TrainSpec, reporter: Reporter) -> tuple[Batches, Validation | None]:
    if not spec.train:
        raise Invalid("no_examples", "There are no training examples.", "Put examples into the train split.")
    chosen = spec.parameters
    most = min(chosen.max_length, window(loaded.model))
    examples, cut = encode_examples(loaded.tokenizer, _rendered(spec, spec.train), most)
    held_out, also_cut = encode_examples(loaded.tokenizer, _rendered(spec, spec.validation), most)
    if cut + also_cut:
        reporter.log(f"{cut} train and {also_cut} validation examples are longer than {most} tokens and lost the start of their prompt.")
    per_step = passes_per_step(len(examples), chosen.batch_size, chosen.accumulation)
    lengths = [len(example) for example in examples]
    micro = schedule(lengths, chosen.batch_size, per_step, chosen.total_steps(len(examples)), spec.seed)
    validation = _validation(loaded, spec, held_out, sum(lengths[index] for part in micro for index in part), reporter)
    return Batches(examples, micro, per_step, pad_token(loaded.tokenizer), decoder_start(loaded.model), reads_shared_starts(loaded.model)), validation


def _rendered(spec: TrainSpec, rows: Sequence[Row]) -> list[Rendered]:
    return [render(spec.template, values, answer) for values, answer in rows]


def _validation(loaded: Loaded, spec: TrainSpec, examples: Sequence[Example], train_tokens: int, reporter: Reporter) -> Validation | None:
    if not examples:
        return None
    values = spec.validation[0][0]
    labels = [encode_pair(loaded.tokenizer, render(spec.template, values, label))[1] for label in spec.labels]
    budget = int(VALIDATION_SHARE * train_tokens / READING_COST / spec.parameters.evaluations)
    validation = Validation(examples, labels).within(budget, spec.seed)
    if len(validation.examples) < len(examples):
        reporter.log(f"Validates on {len(validation.examples)} of {len(examples)} rows, so that it takes at most half as long as training.")
    return validation


def _preflight(model: Any, batches: Batches, spec: TrainSpec, reporter: Reporter) -> Measured:
    longest = sorted(batches.examples, key=len)[-min(spec.parameters.batch_size, len(batches.examples)) :]
    parts = [longest[start :: batches.per_step] for start in range(batches.per_step)]
    measured = measure(model, parts, batches.pad, share=batches.share)
    reporter.log(f"Longest step: {measured.seconds_per_step:.2f} s, {measured.tokens} tokens; peak memory {measured.peak_memory_bytes / 2**20:.0f} MB.")
    return measured


def _loop(model: Any, loaded: Loaded, batches: Batches, validation: Validation | None, measured: Measured, spec: TrainSpec, reporter: Reporter) -> Loop:
    total = len(batches.micro) // batches.per_step
    plan = Plan.of(total, spec.parameters.evaluations, has_validation=validation is not None)
    estimate = validation.tokens * READING_COST * measured.seconds_per_step / measured.tokens if validation else 0.0
    rate = spec.parameters.rate(width(model))
    options = arguments(spec.folder, spec.parameters, rate, total, batches.per_step, spec.seed, loaded.device)
    return Loop(model, options, batches, validation, Pace(plan, spec.checkpoint_seconds, estimate), reporter, spec.parameters.early_stopping)


def _facts(loop: Loop, loaded: Loaded, spec: TrainSpec, state: RunState) -> dict[str, Any]:
    """What run.json says: everything the result depends on, and what the run measured."""
    trainable, total = parameters(loop.model)
    validation = loop.validation
    return {
        "method": spec.method,
        "parameters": spec.parameters.model_dump(mode="json"),
        "learning_rate": loop.args.learning_rate,
        "seed": spec.seed,
        "base_fingerprint": fingerprint(spec.base),
        "template": asdict(spec.template),
        "labels": list(spec.labels),
        "rows": {"train": len(spec.train), "validation": len(validation.examples) if validation else 0},
        "steps": loop.state.global_step,
        "seconds": round(state.seconds, 3),
        "best": {"step": state.best_step, **(state.best or {})},
        "trainable_parameters": trainable,
        "total_parameters": total,
        "peak_memory_bytes": peak_memory(loaded.device),
        "threads": torch.get_num_threads(),
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
    }


def _result(saved: artefact.Artefact) -> TrainResult:
    facts = saved.facts
    return TrainResult(
        artefact=saved.folder,
        trainable=facts["trainable_parameters"],
        total=facts["total_parameters"],
        steps=facts["steps"],
        seconds=facts["seconds"],
        best_value=facts["best"].get("validation_accuracy", facts["best"].get("validation_loss")),
        best_step=facts["best"]["step"],
        peak_memory_bytes=facts["peak_memory_bytes"],
        threads=facts["threads"],
        versions=facts["versions"],
    )


def _ask(reporter: Reporter) -> None:
    if reporter.should_stop():
        raise Stopped


if __name__ == "__main__":
    from worker.engine.command import main

    sys.exit(main())
