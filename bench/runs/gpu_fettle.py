"""A run of ours for bench.gpu: the engine's train(), as a job runs it, up to the end of its last step."""

import shutil
from pathlib import Path
from typing import Any

from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.rendering import Template
from app.errors import Invalid
from bench.runs.gpu_measure import Clock, Work, finish, is_memory, job, say
from worker.engine import room
from worker.engine.batches import schedule
from worker.engine.reporting import NullReporter
from worker.engine.spec import TrainSpec
from worker.engine.train import train


class Done(Exception):
    """The last step has ended: writing the model is not part of the measurement."""


class Timer(NullReporter):
    """Ticks the clock at each step the loop reports."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
        if "loss" in values and self.clock.step():
            raise Done


def main() -> None:
    chosen = job()
    clock = Clock(chosen)
    room.ask_for_room = lambda *_: None  # for checkpoints and a result that are not written here
    try:
        train(spec(chosen), Timer(clock))
    except Done:
        finish(chosen, clock, work(chosen), ("torch", "transformers", "peft", "accelerate", "fettle"))
    except (Invalid, RuntimeError) as error:
        if getattr(error, "code", "") != "out_of_memory" and not is_memory(error):
            raise
        say({"fits": False})


def spec(chosen: dict[str, Any]) -> TrainSpec:
    folder = Path(chosen["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    own: dict[str, Any] = {"max_steps": chosen["steps"], "batch_size": chosen["batch_size"], "learning_rate": 1e-5, "max_length": 131_072}
    if chosen["method"] == "lora":
        own |= {"rank": chosen["rank"], "alpha": 2.0 * chosen["rank"], "dropout": 0.0}
    return TrainSpec(
        base=Path(chosen["model"]),
        template=Template("freeform", text="{prompt}"),
        train=[({"prompt": text(prompt)}, text(answer)) for prompt, answer in chosen["rows"]],
        validation=[],
        labels=(),
        method=chosen["method"],
        parameters=parse(METHODS, chosen["method"], own),
        seed=0,
        folder=folder,
        threads=1 if chosen["device"] == "cpu" else None,
        device=chosen["device"],
        checkpoint_seconds=1e9,
    )


def text(ids: list[int]) -> str:
    """The words that the tokenizer of gpu_model.py reads as these ids."""
    return " ".join(f"w{token}" for token in ids)


def work(chosen: dict[str, Any]) -> Work:
    """The rows of every step, in the order in which train() takes them."""
    sizes = [(len(prompt) + len(answer) + 1, len(answer) + 1) for prompt, answer in chosen["rows"]]
    steps = schedule([size for size, _ in sizes], chosen["batch_size"], chosen["steps"], 0)
    return [[sizes[index] for index in step] for step in steps]


if __name__ == "__main__":
    main()
