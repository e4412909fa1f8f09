"""The training loop: transformers.Trainer with our batches, our loss, our validation and our checkpoints.

From Trainer come accumulation, clipping, schedules, mixed precision, several devices and the exact order of a resumed run. What it
saves, and when, is ours: its own checkpoints are written in place, are not verified, and lose the encoders of soft prompts.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_pt_utils import nested_gather

from app.domain.validation import Measure
from app.errors import Invalid
from worker.engine import checkpoint
from worker.engine.artefact import restore_trainable, save_trainable
from worker.engine.batches import Example, collate
from worker.engine.folders import damage, whole
from worker.engine.forward import NONE, Savings
from worker.engine.layers import uncompiled
from worker.engine.pace import Pace
from worker.engine.precision import computing
from worker.engine.preflight import NORM, answer_loss, refuse_not_finite
from worker.engine.ranks import ALONE, Ranks
from worker.engine.reporting import Paused, Reporter, Stopped
from worker.engine.room import checkpoint_bytes, room, trained_bytes
from worker.engine.run_state import FILE as RUN_STATE
from worker.engine.run_state import RunState, best_folder, saved_state
from worker.engine.shards import cut_state, is_cut, whole_state, whole_tensor
from worker.engine.validate import Validation

TENSORS, STATE = "trainable.safetensors", "trainer_state.json"


@dataclass(frozen=True)
class Batches:
    """The examples, and of every optimiser step of the run in order the indices of each of this rank's micro-batches."""

    examples: Sequence[Example]
    steps: Sequence[Sequence[Sequence[int]]]
    pad: int
    decoder_start: int | None = None
    savings: Savings = NONE
    fit: Mapping[str, Any] = field(default_factory=dict)
    """How the rows fitted, see `worker.engine.fit.told`."""


class Loop(Trainer):
    """One run of one model. `run()` returns when the last step is done, or raises Stopped with the checkpoint to go on from.

    At the step of a planned pause it raises Paused instead: that checkpoint is written after the validation, so who finds it needs no other.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        batches: Batches,
        validation: Validation | None,
        pace: Pace,
        reporter: Reporter,
        patience: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.batches, self.validation, self.pace, self.reporter, self.patience = batches, validation, pace, reporter, patience
        self.run_state = RunState()
        self.stopping = False
        self.last_checkpoint: Path | None = None
        self._answers: list[str] = []
        self._attempt_began = time.monotonic()
        super().__init__(
            model=model,
            args=arguments,
            data_collator=self._collated,
            train_dataset=batches.examples,
            callbacks=[_Watch(self)],
        )
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)

    @property
    def folder(self) -> Path:
        return Path(self.args.output_dir)

    def run(self, resume_from: Path | None) -> RunState:
        if resume_from is not None:
            self.run_state = saved_state(resume_from)
            self.last_checkpoint = resume_from
            self._compare_threads()
        self._attempt_began = time.monotonic() - self.run_state.seconds
        self.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        if self.stopping:
            raise Stopped(self.last_checkpoint)
        if self.state.global_step == self.pace.plan.pause:
            raise Paused(self.state.global_step, self.run_state.best)
        if is_cut(self.model) and self.run_state.best_step is None:
            self._keep("last")
        return self._present_state()

    def end_at(self, point: Path) -> RunState:
        """Take the run as a checkpoint left it, without a step more."""
        self.run_state = saved_state(point)
        self.state.global_step = TrainerState.load_from_json(str(point / STATE)).global_step
        restore_trainable(self.model, point / TENSORS)
        if is_cut(self.model) and self.run_state.best_step is None:
            self._keep("last")
        return self.run_state

    def best_tensors(self) -> Path | None:
        """The trainable parameters at the best validation, or of a model in pieces the last ones; None when the model itself holds what was trained.

        Raises Invalid `best_moment_damaged` when they are not what was saved.
        """
        if self.run_state.best_step is None and not is_cut(self.model):
            return None
        kept = best_folder(self.folder, self.run_state.best_step or "last")
        if reason := damage(kept):
            advice = "Retry it: it goes on from a checkpoint whose best moment is intact, or begins anew."
            raise Invalid("best_moment_damaged", f"The best moment of the run is not what was saved: {reason}.", advice)
        return kept / TENSORS

    @property
    def is_out_of_patience(self) -> bool:
        """Whether validations got no better for so long that the run is over."""
        return 0 < self.patience <= self.run_state.stale

    def take_up_losses(self) -> None:
        """Go on with the sum of losses that were not reported when the checkpoint was made; Trainer begins with none."""
        if sums := self.run_state.unreported:
            same = len(sums) == self.ranks.world
            self._tr_loss.fill_(sums[self.ranks.rank] if same else sum(sums) / len(sums))
            self._globalstep_last_logged = self.run_state.reported

    def drop_best(self) -> None:
        """Remove what was kept of the best moments, once the artefact holds it."""
        for folder in self.folder.glob("best-*"):
            shutil.rmtree(folder)

    # What Trainer calls.

    def _run_epoch(self, **how: Any) -> None:
        # Trainer asks whether to stop after a step, and a run that was gone on with may be over before its first.
        if not self.control.should_training_stop:
            super()._run_epoch(**how)

    def get_train_dataloader(self) -> DataLoader[Any]:
        # The whole run is one pass over a fixed list of steps, so a resumed run only has to skip the first ones.
        loader: DataLoader[Any] = DataLoader(
            self.batches.steps,  # type: ignore[arg-type]  # a sequence is all it needs
            batch_sampler=[[number] for number in range(len(self.batches.steps))],
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        # Not prepared by accelerate, which would deal the batches out to the ranks: these are this rank's own.
        return loader

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        # To Trainer a step is one batch, whatever the number of its parts.
        steps = list(islice(epoch_iterator, num_batches))
        return steps, self._get_num_items_in_batch([part for step in steps for part in step], device)

    def training_step(self, model: Any, inputs: Sequence[dict[str, Any]], num_items_in_batch: Any = None) -> torch.Tensor:
        """One step's parts, one after the other: their gradients add up. Steps differ in their number of parts, as they do in length."""
        *first, last = inputs
        loss = torch.zeros((), device=self.args.device)
        for part in first:
            with self._gradients_stay(model):
                loss += super().training_step(model, part, num_items_in_batch)
        loss += super().training_step(model, last, num_items_in_batch)
        return loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        # The count is that of all ranks' answer tokens. What the ranks make of it is averaged, both gradients and loss: hence the factor.
        # On a GPU it is Trainer that sets the precision.
        with computing(self.args.device, mixed=self.batches.savings.mixed and not self.args.bf16):
            loss = answer_loss(model, inputs, num_items_in_batch) * self.ranks.world
        refuse_not_finite(float(whole_tensor(loss.detach())), self.state.global_step + 1)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> float:
        # Before the optimiser's step, which would bring it into the weights and they into a checkpoint.
        norm = float(whole_tensor(super()._get_grad_norm(model, grad_norm=grad_norm)))
        refuse_not_finite(norm, self.state.global_step + 1, NORM)
        return norm

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            self._tell({name: logs[name] for name in ("loss", "learning_rate", "grad_norm") if name in logs})

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate, keep the parameters if they are the best so far, and end the run when nothing got better for too long."""
        self.control.should_evaluate = False  # or the end of the pass asks for the last validation a second time
        if self.validation and (values := self._validate()):
            self._judge(values, self.validation.measure)
            self._tell(values)
            self._tell_samples()
        return {}

    def measure_untuned(self) -> None:
        """Validate before the first step: what the run has to beat. It is told as step 0 and never counts as the best."""
        if values := self._validate():
            self._tell(values)
            self._tell_samples()

    def _validate(self) -> dict[str, float]:
        """The validation's values; none without validation rows, or when the run was asked to stop meanwhile."""
        if self.validation is None:
            return {}
        began = time.monotonic()
        self.reporter.phase("evaluate", self.validation.units)
        try:
            with uncompiled(self.model):
                # On every rank the same rows: a model in pieces needs all ranks for each pass, and the values of rank 0 count for all.
                values: dict[str, float] = self.ranks.tell(self.validation.run(self.model, self._tell_validating, self.asked_to_stop))
                self._answers = self.validation.watched(self.model, self.asked_to_stop)
        except Stopped:
            self.stop()
            return {}
        self.pace.validation_seconds = time.monotonic() - began
        refuse_not_finite(values.get("validation_loss", 0.0), self.state.global_step)
        self.reporter.phase("train", self.state.max_steps)
        return values

    def _tell_validating(self, done: int, total: int) -> None:
        self.reporter.progress(done, total, self.pace.eta_validating(self.state.global_step, done / total))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not self.ranks.first:
            self._fill(None)
            return
        self.reporter.settle()
        began = time.monotonic()
        self.last_checkpoint, manifest = checkpoint.write(self.folder, self.state.global_step, self._fill, checkpoint_bytes(self.model))
        self._drop_old_best()
        self.pace.saved(time.monotonic() - began)
        self.reporter.pace(self.pace.step() or 0.0, time.monotonic() - began)
        self.reporter.checkpoint(self.last_checkpoint, self.state.global_step, manifest)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        restore_trainable(self.model, Path(resume_from_checkpoint) / TENSORS)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not is_cut(self.model):
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = whole_state(self.optimizer.state_dict())
        if self.ranks.first:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not is_cut(self.model):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = torch.load(Path(checkpoint) / OPTIMIZER_NAME, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(cut_state(state, self.optimizer))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))

    # Our own.

    def _collated(self, steps: Sequence[Sequence[Sequence[int]]]) -> list[dict[str, Any]]:
        """The tensors of each part of the one step that is asked for."""
        own = self.batches
        rows = ([own.examples[index] for index in part] for parts in steps for part in parts)
        return [collate(part, own.pad, own.decoder_start, share=own.savings.share, pack=own.savings.pack) for part in rows]

    def _gradients_stay(self, model: Any) -> AbstractContextManager[Any]:
        """Inside, no rank tells another about its gradients: more of the same step follow."""
        deferred: AbstractContextManager[Any] = self._defer_fsdp_gradient_reduction() if is_cut(self.model) else self.accelerator.no_sync(model)
        return deferred

    def asked_to_stop(self) -> bool:
        """Whether rank 0 was asked to, on all ranks alike."""
        return bool(self.ranks.tell(self.reporter.should_stop()))

    def stop(self) -> None:
        self.stopping = True
        self.control.should_save = self.state.global_step != self.pace.plan.pause
        self.control.should_training_stop = True

    def _tell(self, values: dict[str, float]) -> None:
        done = self.state.global_step
        self.reporter.step(done, self.state.max_steps, values, self.pace.eta(done))

    def _tell_samples(self) -> None:
        """What the last validation's model wrote: after its figures, so that whoever listens knows which step is the best."""
        asked = self.validation and self.validation.samples
        if asked:
            for row, text, gold, answer in zip(asked.rows, asked.inputs, asked.golds, self._answers, strict=True):
                self.reporter.sample(self.state.global_step, row, text, gold, answer)

    def _judge(self, values: dict[str, float], measure: Measure) -> None:
        state, step = self.run_state, self.state.global_step
        state.validated = step
        if state.best is None or measure.rank(values) > measure.rank(state.best):
            self._keep(step)
            state.best, state.best_step, state.stale = values, step, 0
            return
        state.stale += 1
        if self.is_out_of_patience:
            self.reporter.log(f"Stopped early at step {step}: no better validation since step {state.best_step}.")
            self.control.should_training_stop = True

    def _fill(self, own: Path | None) -> None:
        """Rank 0 names the folder; every rank adds its random state to it, and of a model in pieces its pieces."""
        folder = Path(self.ranks.tell(str(own)))
        save_trainable(self.model, folder / TENSORS if self.ranks.first else None)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        losses = nested_gather(self._tr_loss, self.args.parallel_mode).reshape(-1).tolist()
        if self.ranks.first:
            self.state.save_to_json(str(folder / STATE))
            state = replace(self._present_state(), reported=self._globalstep_last_logged, unreported=losses)
            (folder / RUN_STATE).write_text(json.dumps(asdict(state), indent=1))
        self.ranks.meet()

    def _keep(self, moment: object) -> None:
        if not self.ranks.first:
            save_trainable(self.model, None)
            return
        with room(self.folder, trained_bytes(self.model), "the best moment so far"), whole(best_folder(self.folder, moment)) as folder:
            save_trainable(self.model, folder / TENSORS)

    def _present_state(self) -> RunState:
        return replace(self.run_state, seconds=time.monotonic() - self._attempt_began, threads=self.run_state.threads or torch.get_num_threads())

    def _compare_threads(self) -> None:
        before, now = self.run_state.threads, torch.get_num_threads()
        if self.args.device.type == "cpu" and before not in (0, now):
            told = f"Goes on with {now} processor {'thread' if now == 1 else 'threads'}, and the run began with {before}"
            self.reporter.log(f"{told}: the result is that of an uninterrupted run but for rounding, not bit for bit.")

    def _drop_old_best(self) -> None:
        """Keep the best parameters that this moment or a kept checkpoint may still ask for."""
        states = [json.loads((folder / RUN_STATE).read_text()) for _, folder in checkpoint.found(self.folder) if (folder / RUN_STATE).exists()]
        wanted = {self.run_state.best_step, *(state["best_step"] for state in states)}
        for old in self.folder.glob("best-*"):
            if old not in {best_folder(self.folder, step) for step in wanted}:
                shutil.rmtree(old)


class _Watch(TrainerCallback):
    """Decides at each step's end what follows it."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.loop.take_up_losses()
        # A run stopped in the middle of a validation takes it up first.
        if state.global_step == 0:
            self.loop.measure_untuned()
        elif self.loop.run_state.validated < state.global_step in self.loop.pace.plan.validations:
            self.loop.evaluate()
        # One that was killed, or paused, behind the validation that ended it is over as well.
        control.should_training_stop = control.should_training_stop or self.loop.is_out_of_patience

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.loop.pace.step_begins()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.loop.pace.step_ends()
        control.should_log = self.loop.pace.plan.is_reported(state.global_step)
        control.should_evaluate = state.global_step in self.loop.pace.plan.validations
        due, asked = self.loop.ranks.tell([self.loop.pace.is_checkpoint_due(), self.loop.reporter.should_stop()])
        paused = state.global_step == self.loop.pace.plan.pause
        control.should_training_stop = control.should_training_stop or paused
        control.should_save = paused or (state.global_step < state.max_steps and due)
        if asked:
            control.should_evaluate = False
            self.loop.stop()
