"""Tune a model on labelled examples: from plain values to a checked artefact, with everything worth knowing reported on the way."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from app.domain.fitting import POLICIES, Fit, told
from app.domain.label_book import LabelBook
from app.domain.rendering import LABELS, label_list, render, with_opening, without_opening
from app.domain.scoring import rouge_words
from app.domain.shape import SHAPE_UNKNOWN, ModelShape
from app.domain.starting import MEASURED, went_on
from app.domain.validation import Measure, measure_of
from app.errors import Invalid
from worker.engine import artefact, checkpoint, finder, room
from worker.engine.answers import MOST_ROWS, SAMPLES, draw, to_compare, to_watch
from worker.engine.arguments import arguments
from worker.engine.batches import Example, decoder_start, enough_for, pad_token, size
from worker.engine.encode import encode_pair, encode_prompt
from worker.engine.fit import MAX_LENGTH, fit_examples
from worker.engine.forward import Savings
from worker.engine.launch import started
from worker.engine.layers import arrange
from worker.engine.load import Loaded, fingerprint, load, parameters, shape, window
from worker.engine.loop import Batches, Loop
from worker.engine.memory import capped, memory_told, peak_memory, save_memory
from worker.engine.methods import METHODS
from worker.engine.methods.soft import width
from worker.engine.pace import Pace, Plan
from worker.engine.place import Place
from worker.engine.prefix import virtual_tokens
from worker.engine.preflight import Measured, planned, preflight
from worker.engine.ranks import Ranks, joined
from worker.engine.reporting import NullReporter, Paused, Reporter, Stopped
from worker.engine.run_state import RunState, newest_usable, saved_state
from worker.engine.shards import is_cut
from worker.engine.spec import TrainSpec
from worker.engine.validate import Validation
from worker.engine.waits import cores

ARTEFACT = "artefact"

READING_COST = 1 / 3
"""Of reading a token against training on it: forward only, instead of forward, backward through the activations and the weights."""

VALIDATION_SHARE = 0.5
"""The most that all validations together may cost against training."""

SMALLER = "Choose a method that trains less of the model, or a smaller model, or end what else uses that memory; then retry."
GIVE_A_RATE = "Give a learning rate, so that none is looked for, or end what else uses that memory; then retry."
"""What helps where memory ran out before the first step."""


@dataclass(frozen=True)
class Ended:
    """A run at its last step, with the learning rate in its spec that was found for it, and the bytes its fullest device held at most."""

    spec: TrainSpec
    loop: Loop
    loaded: Loaded
    state: RunState
    peak: int


@dataclass(frozen=True)
class TrainResult:
    """`seconds` is training time over all attempts; `best_value` is `measure` (a metric point's name) at `best_step`, taken on `validated_rows` rows."""

    artefact: Path
    trainable: int
    total: int
    steps: int
    seconds: float
    best_value: float | None
    best_step: int | None
    measure: str
    learning_rate: float
    validated_rows: int
    peak_memory_bytes: int
    threads: int
    device: str
    """What kind it was trained on: cpu or cuda."""
    versions: Mapping[str, str]
    fit: Mapping[str, Any]
    """How the rows fitted `max_length` and what was done about it, see `worker.engine.fit.told`."""
    parameters: Mapping[str, Any]
    """What it ran with: after a search, the winner's."""
    search: Mapping[str, Any] | None = None
    """What a search chose, and how; None for a run without one."""
    virtual_tokens: int = 0
    """How long a soft prompt is; 0 where there is none, or it was trained by a release that did not say."""
    computes_in: str = ""
    """In which numbers: bfloat16 or float32, by what the processor or GPU gains by; empty where a release did not say."""


def train(spec: TrainSpec, reporter: Reporter) -> TrainResult:
    """Run it. Raises Stopped (with a checkpoint once training began) when asked to stop, and app.errors for what a person can mend."""
    if spec.resume and (spec.folder / ARTEFACT).exists():
        return result_of(artefact.check(spec.folder / ARTEFACT))
    measure_of_run(spec)
    if spec.resume and spec.pause_at and (point := newest_usable(spec.folder)) and point[0] >= spec.pause_at:
        raise Paused(point[0], saved_state(point[1]).best)
    reporter.phase("load")
    with started(spec) as place, joined(place, spec.device) as ranks:
        ended = _run(spec, reporter, ranks)
        reporter.phase("save")
        return result_of(_save(ended))


def take_part(spec: TrainSpec, place: Place) -> None:
    """The same as another process than the first: it tells nobody anything, writes no artefact, and stops or pauses when rank 0 does. Raises app.errors."""
    if spec.resume and (spec.folder / ARTEFACT).exists():
        return
    with joined(place, spec.device) as ranks, suppress(Stopped, Paused):
        _run(spec, NullReporter(), ranks)


def _run(spec: TrainSpec, reporter: Reporter, ranks: Ranks) -> Ended:
    """The run to its last step."""
    ranks.threads(spec.threads)
    set_seed(spec.seed)
    pieces = ranks.world if spec.parameters.sharding == "fsdp" else 1
    save_memory(spec.parameters)
    exact, four_bit = spec.parameters.precision == "float32", getattr(spec.parameters, "four_bit", False)
    loaded = load(spec.base, device=ranks.device or spec.device, four_bit=four_bit, pieces=pieces, exact=exact)
    point = _point(spec, loaded.device, ranks, reporter)
    with memory_told(loaded.device, lambda: "Preparing the model", SMALLER), capped(loaded.device, ranks.world):
        model = METHODS[spec.method](loaded.model, spec.parameters, opening_ids(loaded.tokenizer, spec))
        arrange(model, spec.parameters)
    batches, validation = _data(replace(loaded, model=model), spec, ranks, reporter)
    _ask(reporter, ranks)

    reporter.phase("preflight")
    ask = partial(_ask, reporter, ranks)
    measured = preflight(
        model, batches.examples, batches.pad, spec.parameters, reporter.log, ask,
        seed=spec.seed, savings=batches.savings, ranks=ranks, shape=_shape(spec.base),
    )  # fmt: skip
    _ask(reporter, ranks)
    if spec.find_rate:
        with memory_told(loaded.device, lambda: "The learning-rate test", GIVE_A_RATE), capped(loaded.device, ranks.world):
            spec = with_found_rate(model, batches, spec, reporter)
    reporter.measured(_peak(loaded.device, ranks))  # the step's, and what a rate test held beside it: that keeps a copy of what is trained

    loop = _loop(model, loaded, batches, validation, measured, spec, ranks, reporter)
    if ranks.first and not spec.finish:
        _make_sure_of_room(loop, measured, spec, reporter)
    if not spec.finish:
        reporter.phase("train", loop.pace.plan.total)
    step, resumed = point or (0, None)
    _foretell(loop.pace, measured, step, reporter)
    if resumed:
        reporter.log(went_on(step))
    with memory_told(loaded.device, lambda: f"Step {loop.state.global_step + 1}"):
        state = _finished(loop, resumed, reporter) if spec.finish else loop.run(resumed)
    return Ended(spec, loop, loaded, state, _peak(loaded.device, ranks))


def _point(spec: TrainSpec, device: torch.device, ranks: Ranks, reporter: Reporter) -> tuple[int, Path] | None:
    """The step and the checkpoint that all ranks go on from, with as many processor threads as the run began with: for the same bits. None where it begins.

    Other threads than those only where they were asked for, or where this machine has fewer.
    """
    found = newest_usable(spec.folder, reporter.log) if spec.resume and ranks.first else None
    told = ranks.tell([found[0], str(found[1])] if found else None)
    if told is None:
        return None
    point = Path(told[1])
    began = saved_state(point).threads
    if spec.threads is None and device.type == "cpu" and 0 < began * ranks.world <= len(cores()):
        ranks.threads(began)
    return told[0], point


def _peak(device: torch.device, ranks: Ranks) -> int:
    """The most that the fullest device has held since the preflight's step. All ranks have to ask."""
    return ranks.on_one_device(peak for (peak,) in ranks.exchange(peak_memory(device)))


def _shape(base: Path) -> ModelShape | None:
    """The model's sizes; None where they are not known."""
    try:
        return shape(base)
    except Invalid as error:
        if error.code != SHAPE_UNKNOWN:
            raise
        return None


def _finished(loop: Loop, point: Path | None, reporter: Reporter) -> RunState:
    """The run as its newest checkpoint has it, for the end that was asked for. Raises Invalid `nothing_to_keep` without one."""
    if point is None:
        raise Invalid(
            "nothing_to_keep", "The run was stopped before its first checkpoint, or none is intact, so there is nothing to keep.", "Retry it: it begins anew."
        )
    state = loop.end_at(point)
    kept = f"its best moment, step {state.best_step}" if state.best_step else "what it had learnt by then"
    reporter.log(f"Ends at step {loop.state.global_step} of {loop.pace.plan.total}, as asked, and keeps {kept}.")
    return state


def _make_sure_of_room(loop: Loop, measured: Measured, spec: TrainSpec, reporter: Reporter) -> None:
    """That all the run will write fits onto the disk beside what an earlier attempt left, and what a checkpoint will take. Raises NotYet, Invalid `disk_full`."""
    kept = checkpoint.KEPT + 1  # one more is there while the oldest of them is not yet removed
    point, best = room.checkpoint_bytes(loop.model), room.trained_bytes(loop.model) if loop.validation else 0
    whole = kept * (point + best) + room.artefact_bytes(loop.model, whole=spec.method == "full")
    room.ask_for_room(spec.folder, whole - min(whole // 2, room.taken_bytes(spec.folder)), "this run with its checkpoints and its result")
    reporter.pace(measured.seconds_per_step, room.writing_seconds(spec.folder, point))


def _save(ended: Ended) -> artefact.Artefact:
    """The artefact of the best moment, of the last one without validation. Of a model in pieces, a whole one takes the trained parameters."""
    loop, spec, model = ended.loop, ended.spec, ended.loop.model
    if is_cut(model) and spec.method == "full":
        model = METHODS[spec.method](load(spec.base, device="cpu").model, spec.parameters, [])
    if trained := loop.best_tensors():
        artefact.restore_trainable(model, trained)
    with room.room(spec.folder, room.artefact_bytes(model, whole=spec.method == "full"), "the tuned model"):
        saved = artefact.save(model, ended.loaded.tokenizer, spec.folder / ARTEFACT, _facts(ended))
    loop.drop_best()
    return saved


def opening_ids(tokenizer: Any, spec: TrainSpec) -> list[int]:
    """The token ids of the text a soft prompt starts from: what the prompt with its opening has before what it has without it."""
    if not (spec.parameters.soft and spec.train):
        return []
    values = spec.train[0][0]
    template = with_opening(spec.opening or spec.template, values.get(LABELS) or label_list((label, "") for label in spec.labels))
    long, short = encode_prompt(tokenizer, render(template, values)), encode_prompt(tokenizer, render(without_opening(template), values))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(long), reversed(short), strict=False)))
    return long[: len(long) - same]


def _data(loaded: Loaded, spec: TrainSpec, ranks: Ranks, reporter: Reporter) -> tuple[Batches, Validation | None]:
    if not spec.train:
        raise Invalid("no_examples", "There are no training examples.", "Put examples into the train split.")
    chosen = spec.parameters
    most = min(chosen.max_length, window(loaded.model))
    rows, of = [*spec.train, *spec.validation], MAX_LENGTH if most == chosen.max_length else Fit.of
    both, look = fit_examples(loaded.tokenizer, spec.template, rows, most, chosen.fit, of)
    examples, held_out = both[: len(spec.train)], both[len(spec.train) :]
    if look.too_long:
        reporter.log(f"{look.sentence} What was done about it: {POLICIES[chosen.fit]}.")
    enough_for(ranks.world, len(examples), chosen.batch_size)
    savings = Savings.of(loaded.model, chosen, max(map(len, examples)))
    steps = [parts[ranks.rank :: ranks.world] for parts in planned(examples, chosen, spec.seed, loaded.device, savings, ranks)]
    # Ranks differ in what they train on, and have to validate on the same rows.
    train_tokens = ranks.most(sum(len(examples[index]) for parts in steps for part in parts for index in part))
    validation = _validation(loaded, spec, held_out, train_tokens, reporter)
    return Batches(examples, steps, pad_token(loaded.tokenizer), decoder_start(loaded.model), savings, told(chosen.fit, look)), validation


def _validation(loaded: Loaded, spec: TrainSpec, examples: Sequence[Example], train_tokens: int, reporter: Reporter) -> Validation | None:
    if not examples:
        return None
    measure, values = measure_of_run(spec), spec.validation[0][0]
    labels = [encode_pair(loaded.tokenizer, render(spec.template, values, label))[1] for label in spec.labels] if measure.by_labels else []
    ask = partial(draw, loaded, spec.template, spec.validation, examples)
    asked = ask(count=MOST_ROWS, seed=f"{spec.seed}/asked", most_tokens=to_compare) if measure.written else None
    samples = ask(count=SAMPLES, seed=f"{spec.seed}/samples", most_tokens=to_watch)
    budget = int(VALIDATION_SHARE * train_tokens / READING_COST / spec.parameters.evaluations)
    validation = Validation(examples, measure, labels, asked, LabelBook.of_texts(spec.labels, spec.aliases), samples).within(budget, spec.seed)
    if len(validation.examples) < len(examples):
        reporter.log(f"Validates on {len(validation.examples)} of {len(examples)} rows, so that it takes at most half as long as training.")
    if asked and validation.rows < len(examples):
        reporter.log(f"Takes the {measure.title} on {validation.rows} of {len(examples)} rows, for which the model writes its answers.")
    return validation


def measure_of_run(spec: TrainSpec) -> Measure:
    """What the run is judged by. Raises Invalid when it cannot be judged so."""
    measure = measure_of(spec.parameters.validate_by, labels=bool(spec.labels), rows=bool(spec.validation))
    if measure.name == "rouge_l" and not any(rouge_words(gold) for _, gold in spec.validation):
        sentence = "validate_by is rouge_l, which compares words of the letters a to z and of digits, and no validation answer has any."
        raise Invalid("cannot_validate", sentence, "Choose exact_match or loss.", detail={"field": "validate_by"})
    return measure


def _loop(
    model: Any, loaded: Loaded, batches: Batches, validation: Validation | None, measured: Measured, spec: TrainSpec, ranks: Ranks, reporter: Reporter
) -> Loop:
    total = len(batches.steps)
    plan = Plan.of(total, spec.parameters.evaluations, has_validation=validation is not None, pause=spec.pause_at)
    estimate = measured.seconds(0, validation.tokens) * READING_COST if validation else 0.0
    parts = chain.from_iterable(batches.steps)
    tokens = sum(size([batches.examples[index] for index in part], pack=batches.savings.pack) for part in parts)
    step = measured.seconds(total, ranks.most(tokens)) / total
    rate = spec.parameters.rate(width(model))
    options = arguments(spec.folder, spec.parameters, rate, total, spec.seed, loaded.device, ranks, mixed=batches.savings.mixed)
    pace = Pace(plan, spec.checkpoint_seconds, estimate, step_seconds=step)
    return Loop(model, options, batches, validation, pace, reporter, spec.parameters.early_stopping, ranks)


def _foretell(pace: Pace, measured: Measured, done: int, reporter: Reporter) -> None:
    """Say what the preflight measured, what the whole run takes by it, and how far it is when it goes on."""
    total, whole = pace.plan.total, pace.eta(0)
    reporter.progress(done, total, pace.eta(done))
    longest = f"{measured.seconds_per_step:.2f} s, {measured.tokens} tokens"
    reporter.log(f"{MEASURED}{longest}; peak memory {measured.peak_memory_bytes / 1e6:.0f} MB. All {total} steps: about {whole or 0:.0f} s.")


def _facts(ended: Ended) -> dict[str, Any]:
    """What run.json says: everything the result depends on, and what the run measured."""
    spec, loop, loaded, state = ended.spec, ended.loop, ended.loaded, ended.state
    trainable, total = parameters(loop.model)
    validation = loop.validation
    return {
        "method": spec.method,
        "parameters": spec.parameters.model_dump(mode="json"),
        "learning_rate": loop.args.learning_rate,
        "virtual_tokens": virtual_tokens(loop.model),
        **({"search": {"how": "rate_finder", "learning_rate": loop.args.learning_rate}} if spec.find_rate else {}),
        "seed": spec.seed,
        "base_fingerprint": fingerprint(spec.base),
        "template": asdict(spec.template),
        "labels": list(spec.labels),
        **({"aliases": {label: list(others) for label, others in spec.aliases.items()}} if spec.aliases else {}),
        "measure": measure_of_run(spec).point,
        "rows": {"train": len(spec.train), "validation": validation.rows if validation else 0},
        "fit": dict(loop.batches.fit),
        "steps": loop.state.global_step,
        "seconds": round(state.seconds, 3),
        "best": {"step": state.best_step, **(state.best or {})},
        "trainable_parameters": trainable,
        "total_parameters": total,
        "peak_memory_bytes": ended.peak,
        "threads": torch.get_num_threads(),
        "device": loaded.device.type,
        "devices": loop.ranks.world,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "computes_in": "bfloat16" if loop.batches.savings.mixed else str(loaded.dtype).removeprefix("torch."),
    }


def with_found_rate(model: Any, batches: Batches, spec: TrainSpec, reporter: Reporter) -> TrainSpec:
    """The same run with the learning rate of a range test: made once, and remembered beside the run's checkpoints."""
    found = finder.chosen(model, batches, spec.parameters.rate(width(model)), spec.folder, spec.resume, reporter)
    return replace(spec, parameters=spec.parameters.model_copy(update={"learning_rate": found}))


def result_of(saved: artefact.Artefact) -> TrainResult:
    """What an artefact says about the run that left it."""
    facts = saved.facts
    return TrainResult(
        artefact=saved.folder,
        trainable=facts["trainable_parameters"],
        total=facts["total_parameters"],
        steps=facts["steps"],
        seconds=facts["seconds"],
        best_value=facts["best"].get(facts["measure"]),
        best_step=facts["best"]["step"],
        measure=facts["measure"],
        learning_rate=facts["learning_rate"],
        validated_rows=facts["rows"]["validation"],
        peak_memory_bytes=facts["peak_memory_bytes"],
        threads=facts["threads"],
        device=facts["device"],
        versions=facts["versions"],
        fit=facts["fit"],
        parameters=facts["parameters"],
        search=facts.get("search"),
        virtual_tokens=facts.get("virtual_tokens", 0),
        computes_in=facts.get("computes_in", ""),
    )


def _ask(reporter: Reporter, ranks: Ranks) -> None:
    if ranks.tell(reporter.should_stop()):
        raise Stopped


if __name__ == "__main__":
    from worker.engine.command import main

    sys.exit(main())
