"""The search behind the default parameters of every tuning method: `python -m bench.defaults [--wide] [--workers N]` (`make search-defaults`).

Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943) in three rounds: every candidate for a few steps, the better ones for
longer, the winner with two more seeds. Candidates are ordered by their mean rank over the data sets; ties by the loss. Each run's result
is kept in bench/results/ as soon as it is there, so a search that is broken off goes on where it was, and docs/methods.md shows the table.

The narrow grid took 149 minutes of single-thread runs, two side by side on two busy cores (the sum of `seconds` in the results). The wide
one (more candidates, e2e_nlg, 128 steps, 1,024 labels) wants a GPU.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from math import exp, log
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

from bench.data import MODEL, TASKS, prepare_model, rows, test_rows

RESULTS = Path(__file__).parent / "results"
TESTED = 400
"""Rows of the test file on which a default and the best trial are compared."""

Candidate = Mapping[str, Any]


def rates(*values: float, **more: Any) -> list[Candidate]:
    return [{"learning_rate": value, **more} for value in values]


NARROW: dict[str, list[Candidate]] = {
    "prompt_tuning": [*rates(3e-3, 1e-2, 3e-2, 1e-1), *rates(3e-2, init="vocabulary"), *rates(3e-2, virtual_tokens=48)],
    "p_tuning": [*rates(3e-4, 1e-3, 3e-3, 1e-2), *rates(1e-3, init="random"), *rates(1e-3, encoder="lstm")],
    "prefix": [*rates(3e-3, 1e-2, 3e-2, 1e-1), *rates(1e-2, init="small"), *rates(1e-3, projection=True)],
    "lora": [*rates(2e-4, 5e-4, 1e-3, 2e-3, 5e-3), *rates(1e-3, targets="attention")],
    "full": rates(1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4),
}


def crossed(**values: Sequence[Any]) -> list[Candidate]:
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


WIDE: dict[str, list[Candidate]] = {
    "prompt_tuning": crossed(learning_rate=[3e-3, 1e-2, 3e-2, 1e-1, 3e-1], init=["text", "vocabulary"], virtual_tokens=[None, 20, 50, 100]),
    "p_tuning": crossed(learning_rate=[1e-4, 3e-4, 1e-3, 3e-3, 1e-2], init=["text", "random"], encoder=["mlp", "lstm"], virtual_tokens=[None, 50]),
    "prefix": crossed(learning_rate=[1e-3, 3e-3, 1e-2, 3e-2, 1e-1], init=["text", "small"], projection=[False, True], virtual_tokens=[None, 50]),
    "lora": crossed(learning_rate=[1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3], rank=[8, 16, 64], targets=["all_linear", "attention"]),
    "full": crossed(learning_rate=[5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4]),
}


@dataclass(frozen=True)
class Plan:
    """One search. `rounds` are (optimiser steps, candidates kept for it); the first round takes all. `seeds` are the winner's, the first everybody's."""

    grid: dict[str, list[Candidate]]
    tasks: tuple[str, ...]
    rounds: tuple[int, ...] = (16, 48)
    kept: int = 2
    seeds: tuple[int, ...] = (1, 2, 3)
    batch: int = 8
    labels: int = 384
    scored: int = 100


PLANS = {"narrow": Plan(NARROW, ("sst2", "trec6")), "wide": Plan(WIDE, ("sst2", "trec6", "e2e_nlg"), rounds=(32, 64, 128), kept=4, labels=1024, scored=500)}


SPANS: dict[str, dict[str, Any]] = {
    "prompt_tuning": {"learning_rate": (1e-3, 3e-1), "init": ["text", "vocabulary"], "virtual_tokens": [None, 20, 50]},
    "p_tuning": {"learning_rate": (1e-4, 1e-2), "init": ["text", "random"], "encoder": ["mlp", "lstm"], "virtual_tokens": [None, 20, 50]},
    "prefix": {"learning_rate": (1e-3, 1e-1), "init": ["text", "small"], "virtual_tokens": [None, 20, 50]},
    "lora": {"learning_rate": (5e-5, 1e-2), "rank": [4, 8, 16, 32], "targets": ["all_linear", "attention"], "dropout": [0.0, 0.05]},
    "full": {"learning_rate": (3e-6, 5e-4), "warmup": [0.0, 0.1, 0.2]},
}
"""What random trials draw from: a learning rate log-uniformly between two ends, anything else from a list."""


def trials(method: str, count: int = 20) -> list[Candidate]:
    """So many random settings of a method, the same ones every time."""
    rng = random.Random(method)

    def draw(span: Any) -> Any:
        return rng.choice(span) if isinstance(span, list) else float(f"{exp(rng.uniform(log(span[0]), log(span[1]))):.2g}")

    return [{name: draw(span) for name, span in SPANS[method].items()} for _ in range(count)]


CHECKED = ("sms_spam", "banking77")
"""Tasks the search never saw: on them the defaults are held against random trials, each of which is run to its end."""
PLANS |= {f"check-{task}": Plan({method: trials(method) for method in SPANS}, (task,), rounds=(48,), seeds=(1,)) for task in CHECKED}

WITHIN = 2.0
"""Points that a default may lie below the best of the trials."""


@dataclass(frozen=True)
class Unit:
    """One training run of the search."""

    task: str
    method: str
    candidate: Candidate
    steps: int
    seed: int
    plan: str
    device: str
    split: str = "train"
    """Where the rows to score come from: rows of the train file that were not trained on, or the test file."""

    @property
    def key(self) -> str:
        chosen = ", ".join(f"{name}={value}" for name, value in sorted(self.candidate.items()))
        return f"{self.task} | {self.method} | {chosen} | {self.steps} steps | seed {self.seed}" + (" | test" if self.split == "test" else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.defaults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wide", action="store_true", help="the wide grid: for a GPU")
    parser.add_argument("--check", action="store_true", help=f"hold the defaults against random trials on {' and '.join(CHECKED)}")
    parser.add_argument("--methods", nargs="+", choices=list(NARROW), default=list(NARROW))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs side by side, each with one thread; 1 on a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true", help="only print what has been measured")
    chosen = parser.parse_args()
    name = "wide" if chosen.wide else "narrow"
    if not chosen.table:
        prepare_model()
        if chosen.check:
            check(chosen.methods, chosen.workers, chosen.device)
        else:
            search(name, chosen.methods, chosen.workers, chosen.device)
    print(check_table() if chosen.check else table(name))


def search(name: str, methods: Sequence[str], workers: int, device: str) -> None:
    """Run what the plan still lacks, round by round."""
    plan, file = PLANS[name], RESULTS / f"defaults-{name}.json"
    left = {method: list(plan.grid[method]) for method in methods}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, steps in enumerate(plan.rounds):
            if number:
                left = {method: best(results(file), plan, method, some, plan.rounds[number - 1])[: plan.kept] for method, some in left.items()}
            _run(pool, file, [Unit(task, method, one, steps, plan.seeds[0], name, device) for method in methods for one in left[method] for task in plan.tasks])
        winners = {method: best(results(file), plan, method, some, plan.rounds[-1])[0] for method, some in left.items()}
        units = [(task, method, seed) for method in methods for seed in plan.seeds[1:] for task in plan.tasks]
        _run(pool, file, [Unit(task, method, winners[method], plan.rounds[-1], seed, name, device) for task, method, seed in units])


def _run(pool: ProcessPoolExecutor, file: Path, units: Iterable[Unit]) -> None:
    known = results(file)
    waiting = {pool.submit(measure, unit): unit for unit in units if unit.key not in known}
    for done in as_completed(waiting):
        known[waiting[done].key] = done.result()
        print(f"{waiting[done].key}: {done.result()}", flush=True)
        draft = file.with_suffix(".tmp")
        draft.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        draft.replace(file)


def results(file: Path) -> dict[str, dict[str, float]]:
    """What was measured, by a run's key."""
    found: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.exists() else {}
    return found


def best(found: Mapping[str, Mapping[str, float]], plan: Plan, method: str, candidates: Sequence[Candidate], steps: int) -> list[Candidate]:
    """The candidates, best first: by mean rank over the tasks after so many steps, then by mean loss."""

    def value(task: str, one: Candidate) -> tuple[float, float]:
        result = found[Unit(task, method, one, steps, plan.seeds[0], "", "").key]
        return -result.get("accuracy", 0.0), result["loss"]

    def place(one: Candidate) -> tuple[float, float]:
        places = [sum(value(task, other) < value(task, one) for other in candidates) for task in plan.tasks]
        return mean(places), mean(value(task, one)[1] for task in plan.tasks)

    return sorted(candidates, key=place)


def measure(unit: Unit) -> dict[str, float]:
    """Train once and score rows that were not trained on: accuracy by label likelihood, and the loss in nats per answer token."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    from app.domain.methods import METHODS
    from app.domain.methods.base import parse
    from app.domain.rendering import without_opening
    from bench.scoring import score
    from worker.engine.reporting import NullReporter
    from worker.engine.spec import TrainSpec
    from worker.engine.train import train

    torch.set_num_threads(1)
    plan, task, soft = PLANS[unit.plan], TASKS[unit.task], METHODS[unit.method].soft
    template = without_opening(task.template) if soft else task.template
    train_rows, held_out = rows(unit.task, plan.labels, plan.scored)
    held_out = held_out if unit.split == "train" else test_rows(unit.task, TESTED)
    folder = Path(tempfile.mkdtemp(prefix="fettle-defaults-"))
    shared = {"max_steps": unit.steps, "batch_size": plan.batch, "epochs": 1.0}
    try:
        spec = TrainSpec(
            base=MODEL,
            template=template,
            opening=task.template if soft else None,
            train=train_rows,
            validation=[],
            labels=task.labels,
            method=unit.method,
            parameters=parse(METHODS, unit.method, shared | dict(unit.candidate)),
            seed=unit.seed,
            folder=folder,
            threads=1 if unit.device == "cpu" else None,
            device=unit.device,
            checkpoint_seconds=1e9,
        )
        result = train(spec, NullReporter())
        return score(MODEL, result.artefact, unit.method, template, held_out, task.labels, unit.device) | {"seconds": round(result.seconds, 1)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(methods: Sequence[str], workers: int, device: str) -> None:
    """Hold each default against the best of 20 random trials: chosen on rows of the train file, compared on the test file."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for task, method in product(CHECKED, methods):
            name = f"check-{task}"
            plan, file = PLANS[name], RESULTS / f"defaults-{name}.json"
            steps = plan.rounds[-1]
            _run(pool, file, [Unit(task, method, one, steps, 1, name, device) for one in plan.grid[method]])
            winner = best(results(file), plan, method, plan.grid[method], steps)[0]
            _run(pool, file, [Unit(task, method, one, steps, 1, name, device, "test") for one in (winner, {})])


def check_done() -> bool:
    """Whether every cell of the check is there."""
    return "not measured" not in check_table()


def check_table() -> str:
    """What `check` found, as a Markdown table, with a line for what it has not measured yet."""
    lines = [f"| task | method | default | best of 20 trials | its settings | default − best | at most {WITHIN:g} below |", "|---|---|---|---|---|---|---|"]
    for task, method in product(CHECKED, SPANS):
        name = f"check-{task}"
        plan, found = PLANS[name], results(RESULTS / f"defaults-{name}.json")
        trials, steps = plan.grid[method], plan.rounds[-1]
        winner = best(found, plan, method, trials, steps)[0] if all(Unit(task, method, one, steps, 1, "", "").key in found for one in trials) else {}
        tested = [found.get(Unit(task, method, one, steps, 1, "", "", "test").key) for one in ({}, winner)]
        if not winner or tested[0] is None or tested[1] is None:
            lines.append(f"| {task} | {method} | not measured | | | | |")
            continue
        own, other = (100 * result["accuracy"] for result in tested if result)
        settings = ", ".join(f"{key} {value}" for key, value in winner.items() if value is not None)
        reached = "met" if round(own - other, 6) >= -WITHIN else "MISSED"
        lines.append(f"| {task} | {method} | {own:.1f} | {other:.1f} | {settings} | {own - other:+.1f} | {reached} |")
    return "\n".join(lines)


def table(name: str) -> str:
    """The search as a Markdown table: a line a candidate, a column a task and round, the winner in bold with its seeds."""
    plan, found = PLANS[name], results(RESULTS / f"defaults-{name}.json")
    columns = [(task, steps) for steps in plan.rounds for task in plan.tasks]
    seeds = f"mean of {len(plan.seeds)} seeds"
    head = ["method", "settings", *(f"{task}, {steps} steps" for task, steps in columns), *(f"{task}, {seeds}" for task in plan.tasks)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for method, candidates in plan.grid.items():
        for one in candidates:
            settings = ", ".join(f"{key} {value}" for key, value in one.items() if value is not None)
            cells = [_cell(found, [Unit(task, method, one, steps, plan.seeds[0], "", "")]) for task, steps in columns]
            last = [_cell(found, [Unit(task, method, one, plan.rounds[-1], seed, "", "") for seed in plan.seeds]) for task in plan.tasks]
            won = all(last)
            lines.append("| " + " | ".join([method, f"**{settings}**" if won else settings, *cells, *last]) + " |")
    return "\n".join(lines)


def _cell(found: Mapping[str, Mapping[str, float]], units: Sequence[Unit]) -> str:
    """Accuracy in percent, or the loss of free text; empty unless every run is there."""
    values = [found[unit.key] for unit in units if unit.key in found]
    if len(values) < len(units):
        return ""
    if "accuracy" in values[0]:
        return f"{100 * mean(value['accuracy'] for value in values):.1f}"
    return f"loss {mean(value['loss'] for value in values):.3f}"


if __name__ == "__main__":
    main()
