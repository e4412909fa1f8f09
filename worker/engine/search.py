"""A search for good parameters: trials of one job, run one after another by successive halving, the winner's artefact at the end.

Each trial is a training run of its own in `spec.folder`/trial-N, left at the end of a rung and gone on with in the next. What is known
about the trials stands in `spec.folder`/search.json after every run, so that a search that was broken off goes on where it was.
"""

import gc
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from app.domain.search import Rung, Search, combinations, planned_steps, schedule, survivors, trial_parameters
from app.domain.search import point as point_of
from app.domain.validation import LOSS, Measure
from app.errors import Invalid
from worker.engine import artefact
from worker.engine.folders import write_file
from worker.engine.load import load_config
from worker.engine.methods.soft import hidden_size
from worker.engine.reporting import Paused, Phase, Reporter, Stopped, TrialState
from worker.engine.spec import TrainSpec
from worker.engine.train import ARTEFACT, TrainResult, measure_of_run, result_of, train

FILE = "search.json"
LOSES = ("loss_not_finite", "gradient_norm_not_finite", "weights_not_finite", "out_of_memory")
"""Errors that are a trial's own fault: it loses, and the search goes on."""


@dataclass
class Trial:
    """One combination. `rung` is the last one it has finished (-1: none), `best` its best validation so far."""

    number: int
    parameters: dict[str, Any]
    standing: TrialState = "waiting"
    rung: int = -1
    step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    suggestion: dict[str, Any] | None = None
    """The change with which it would have had memory enough."""

    def tell(self, reporter: Reporter, measure: Measure) -> None:
        reporter.trial(self.number, self.parameters, self.standing, self.step, self.best.get(measure.point), self.reason)


def search(spec: TrainSpec, chosen: Search, reporter: Reporter) -> TrainResult:
    """Run the job as `chosen` says: one run, one after a learning-rate test, or trials of which the best one's result is returned.

    Raises what `train` raises, and Invalid `every_trial_failed`.
    """
    if not chosen.has_trials:
        return train(replace(spec, find_rate=chosen.how == "rate_finder"), reporter)
    if not spec.validation:
        raise Invalid("no_validation_split", "A search compares its trials by validation rows, and there are none.", "Put rows into the validation split.")
    return Halving(spec, chosen, reporter).run()


class Halving:
    """One search by successive halving. Everything it decides follows from the trials as they stand, so it can be made anew at any moment."""

    def __init__(self, spec: TrainSpec, chosen: Search, reporter: Reporter) -> None:
        self.spec, self.chosen, self.reporter, self.measure = spec, chosen, reporter, measure_of_run(spec)
        self.trials = self._trials()
        self.rungs = schedule(len(self.trials), chosen.factor)
        self.begun = False

    def run(self) -> TrainResult:
        if self.spec.resume and (self.spec.folder / ARTEFACT).exists():
            return self._finish()
        for trial in self.trials:
            trial.tell(self.reporter, self.measure)
        for rung in self.rungs:
            for trial in self._runners(rung):
                self._advance(trial, rung)
                self._settle(rung)
            self._settle(rung, whole=True)
        return self._finish()

    # What is known.

    def _trials(self) -> list[Trial]:
        """As an earlier attempt left them, or all before their start. Raises Invalid `other_search` when that was another search."""
        file = self.spec.folder / FILE
        found = json.loads(file.read_text()) if self.spec.resume and file.exists() else None
        if found is None:
            for leftover in (self.spec.folder / ARTEFACT, *self.spec.folder.glob("trial-*")):
                shutil.rmtree(leftover, ignore_errors=True)
            width = hidden_size(load_config(self.spec.base))
            return [Trial(at, values) for at, values in enumerate(combinations(self.chosen, self.spec.method, self.spec.parameters, width), 1)]
        if found["search"] != self.chosen.model_dump(mode="json"):
            raise Invalid("other_search", "The folder holds a search with other settings.", "Give the same settings, or start afresh in another folder.")
        return [Trial(**values) for values in found["trials"]]

    def _keep(self) -> None:
        write_file(
            self.spec.folder / FILE,
            json.dumps({"search": self.chosen.model_dump(mode="json"), "trials": [asdict(trial) for trial in self.trials]}, indent=1),
        )

    def _waiting(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.standing == "waiting"]

    # What happens.

    def _runners(self, rung: Rung) -> Iterator[Trial]:
        """The trials that have yet to run this rung. When all of them fail, the best of those stopped before takes their place."""
        while True:
            ready = next((trial for trial in self._waiting() if trial.rung < rung.number), None)
            if ready is None and not self._waiting():
                ready = self._reserve(rung)
            if ready is None:
                return
            yield ready

    def _reserve(self, rung: Rung) -> Trial:
        stopped = {trial.number: self.measure.rank(trial.best) for trial in self.trials if trial.standing == "stopped"}
        if not stopped:
            raise self._all_failed()
        trial = self._numbered(survivors(stopped, 1)[0])
        self.reporter.log(f"Every trial that went on has failed, so trial {trial.number} comes back.")
        trial.standing, trial.rung, trial.step, trial.best, trial.reason = "waiting", rung.number - 1, 0, {}, None
        self._keep()
        return trial

    def _all_failed(self) -> Invalid:
        reasons = "; ".join(f"trial {trial.number}: {(trial.reason or '').rstrip('.')}" for trial in self.trials)
        told = f"All {len(self.trials)} trials failed. {reasons}."
        fitting = [trial.suggestion for trial in self.trials if trial.suggestion]
        if len(fitting) < len(self.trials):
            return Invalid("every_trial_failed", told, "Search lower learning rates, or lower batch_size.")
        return Invalid("every_trial_failed", told, "Start it with what fitted them all.", detail={"suggestion": _most_careful(fitting)})

    def _advance(self, trial: Trial, rung: Rung) -> None:
        """Run one trial to the end of a rung, and write down how it went."""
        parameters = trial_parameters(self.spec.method, self.spec.parameters, trial.parameters)
        total = parameters.total_steps(len(self.spec.train))
        target = rung.step(total)
        told = _TrialReporter(self.reporter, self.measure, trial, (target, total), self._steps_after(trial, rung), quiet=self.begun)
        folder = self.spec.folder / f"trial-{trial.number}"
        run = replace(self.spec, parameters=parameters, folder=folder, resume=True, pause_at=target if target < total else None)
        self.begun = True
        told.begin()
        try:
            result = train(run, told)
            trial.step, trial.best = result.steps, _best(result)
        except Paused as paused:
            trial.step, trial.best = paused.step, paused.best
        except Stopped as stopped:
            raise Stopped(stopped.checkpoint or (self.spec.folder if (self.spec.folder / FILE).exists() else None)) from stopped
        except Invalid as error:
            if error.code not in LOSES:
                raise
            trial.standing, trial.step, trial.reason = "failed", error.detail.get("step", trial.step), error.message
            trial.suggestion = error.detail.get("suggestion")
            shutil.rmtree(folder, ignore_errors=True)
            self.reporter.log(f"Trial {trial.number} failed: {error.message}")
        trial.rung = rung.number
        self._keep()
        trial.tell(self.reporter, self.measure)
        gc.collect()  # a run's objects know one another, and would keep its model beside the next one's

    def _steps_after(self, trial: Trial, rung: Rung) -> int:
        """Optimiser steps of the search after this trial's part in this rung, as far as halving goes by its plan."""
        total = self.spec.parameters.total_steps(len(self.spec.train))
        begun = self.rungs[rung.number - 1].step(total) if rung.number else 0
        others = sum(other.rung < rung.number for other in self._waiting() if other is not trial)
        later = planned_steps(self.rungs, total) - planned_steps(self.rungs[: rung.number + 1], total)
        return others * (rung.step(total) - begun) + later

    def _settle(self, rung: Rung, *, whole: bool = False) -> None:
        """Stop the trials that have finished a rung and are behind as many as go on from it; after the last rung one is left.

        So a search never keeps more checkpoints than those of the trials that may go on. Once the `whole` rung is over all who stopped in it
        are told by what they fell behind those that do go on. Doing it twice changes nothing.
        """
        keep = self.rungs[rung.number + 1].trials if rung.number + 1 < len(self.rungs) else 1
        there = [trial for trial in self.trials if trial.rung >= rung.number and trial.standing in (("waiting", "stopped") if whole else ("waiting",))]
        best = [self._numbered(number) for number in survivors({trial.number: self.measure.rank(trial.best) for trial in there}, keep)]
        behind = [trial for trial in there if trial not in best]
        for trial in behind:
            trial.standing, trial.reason = "stopped", self._against(trial, best[-1])
        self._keep()
        for trial in behind:
            shutil.rmtree(self.spec.folder / f"trial-{trial.number}", ignore_errors=True)
            trial.tell(self.reporter, self.measure)

    def _finish(self) -> TrainResult:
        """The artefact of the one trial left becomes the job's."""
        self.reporter.phase("save")
        winner, place = self._waiting()[0], self.spec.folder / ARTEFACT
        if not place.exists():
            (self.spec.folder / f"trial-{winner.number}" / ARTEFACT).rename(place)
        for leftover in self.spec.folder.glob("trial-*"):
            shutil.rmtree(leftover)
        told = ", ".join(f"{name} {value}" for name, value in winner.parameters.items())
        self.reporter.log(f"Trial {winner.number} of {len(self.trials)} won: {told}.")
        replace(winner, standing="won").tell(self.reporter, self.measure)
        chose = {"how": self.chosen.how, "trials": len(self.trials), "winner": winner.number, "chosen": winner.parameters}
        return replace(result_of(artefact.check(place)), search=chose)

    def _against(self, trial: Trial, other: Trial) -> str:
        """By how much a trial fell behind the last one that goes on; when that does not show in the measure, by its loss."""
        mine, its = (one.best[self.measure.point] for one in (trial, other))
        told = f"{mine:.3f} against {its:.3f}"
        losses = [one.best[LOSS] for one in (trial, other) if LOSS in one.best]
        if mine != its or self.measure.point == LOSS or len(losses) < 2:
            return told
        digits = next((count for count in range(4, 17) if f"{losses[0]:.{count}g}" != f"{losses[1]:.{count}g}"), 4)
        return f"{told}, loss {losses[0]:.{digits}g} against {losses[1]:.{digits}g}"

    def _numbered(self, number: int) -> Trial:
        return self.trials[number - 1]


def _most_careful(suggestions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The change that saves at least as much memory as each of them."""
    names = dict.fromkeys(name for one in suggestions for name in one)
    return {name: (min if name == "max_length" else max)(one[name] for one in suggestions if name in one) for name in names}


def _best(result: TrainResult) -> dict[str, float]:
    """The best validation of a finished run, by name."""
    facts: Mapping[str, Any] = artefact.check(result.artefact).facts["best"]
    return {name: value for name, value in facts.items() if name != "step"}


class _TrialReporter:
    """Tells a trial's run as a part of the search: names of points carry its number, times are those of the whole search."""

    def __init__(self, outer: Reporter, measure: Measure, trial: Trial, steps: tuple[int, int], after: int, *, quiet: bool) -> None:
        self.outer, self.measure, self.after, self.quiet = outer, measure, after, quiet
        self.target, self.total = steps
        self.now = replace(trial, standing="running")
        self._validates, self._told = False, 0.0
        self._left: float | None = None

    def begin(self) -> None:
        self.now.tell(self.outer, self.measure)
        self.outer.progress(self.now.step, self.total, None)

    def phase(self, name: Phase, total: int | None = None) -> None:
        """Loading is a phase of the search before its first step only; saving is its end."""
        self._validates = name == "evaluate"
        if name in ("load", "preflight") and self.quiet:
            self.outer.phase("train")
        elif name != "save":
            self.outer.phase(name, total)
        if total is not None:  # or the page would take the last validation's rows for steps
            self.outer.progress(self.now.step if name == "train" else 0, total, None)

    def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
        told = {point_of(self.now.number, name): value for name, value in values.items()}
        self.outer.step(done, total, told, self._eta(done, total, eta_seconds))
        self.now.step = done
        if done and self.measure.point in values and (not self.now.best or self.measure.rank(values) > self.measure.rank(self.now.best)):
            self.now.best = dict(values)
            self.now.tell(self.outer, self.measure)

    def progress(self, done: int, total: int, eta_seconds: float | None) -> None:
        self.outer.progress(done, total, self._eta(done, total, eta_seconds))

    def sample(self, step: int, row: int, input: str, gold: str, text: str, trial: int = 0) -> None:  # noqa: A002
        self.outer.sample(step, row, input, gold, text, self.now.number)

    def log(self, text: str) -> None:
        self.outer.log(f"Trial {self.now.number}: {text}")

    def measured(self, peak_bytes: int) -> None:
        """Not passed on: the next trial may take more."""

    def should_stop(self) -> bool:
        return self.outer.should_stop()

    def settle(self) -> None:
        self.outer.settle()

    def checkpoint(self, folder: Path, step: int, manifest_sha256: str) -> None:
        self.outer.checkpoint(folder, step, manifest_sha256)

    def pace(self, step_seconds: float, save_seconds: float) -> None:
        self.outer.pace(step_seconds, save_seconds)

    def trial(self, number: int, parameters: Mapping[str, Any], state: TrialState, step: int, value: float | None, reason: str | None = None) -> None:
        raise AssertionError("a trial has no trials")

    def _eta(self, done: int, total: int, eta_seconds: float | None) -> float | None:
        """A run's own estimate is for its end; this one is for the search's. While a trial is validated the last one counts down: `done` are rows then."""
        now = time.monotonic()
        if not self._validates:
            self._left = None if eta_seconds is None or done >= total else eta_seconds / (total - done) * (max(0, self.target - done) + self.after)
            self._told = now
        return None if self._left is None else max(0.0, self._left - (now - self._told))
