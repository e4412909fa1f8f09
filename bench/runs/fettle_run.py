"""A run of ours: the engine's train(), as a job runs it, without validation on the way as the peers have none."""

import shutil
from pathlib import Path

from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.rendering import Template
from bench.runs.measure import Clock, finish, job
from worker.engine.load import load
from worker.engine.reporting import NullReporter
from worker.engine.spec import TrainSpec
from worker.engine.train import train


class Timer(NullReporter):
    """Ticks the clock at each step the loop reports."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
        if "loss" in values:
            self.clock.step()


def main() -> None:
    chosen, clock = job(), Clock()
    folder = Path(chosen["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    own = {"max_steps": chosen["steps"], "batch_size": chosen["batch_size"], "learning_rate": chosen["learning_rate"], "max_length": 1024}
    if chosen["method"] == "lora":
        own |= {"rank": chosen["rank"], "alpha": 2.0 * chosen["rank"], "dropout": 0.05, "targets": chosen["targets"]}
    spec = TrainSpec(
        base=Path(chosen["model"]),
        template=Template("freeform", text="{prompt}"),
        train=[({"prompt": prompt}, completion.strip()) for prompt, completion in chosen["train"]],
        validation=[],
        labels=(),
        method=chosen["method"],
        parameters=parse(METHODS, chosen["method"], own | chosen["options"]),
        seed=chosen["seed"],
        folder=folder,
        threads=chosen["threads"],
        device="cpu",
    )
    train(spec, Timer(clock))
    measured = clock.result(chosen["batch_size"])
    artefact = folder / "artefact"
    model = load(artefact, device="cpu").model if chosen["method"] == "full" else load(Path(chosen["model"]), adapter=artefact, device="cpu").model
    finish(measured, chosen, model, ("torch", "transformers", "peft", "accelerate", "fettle"))


if __name__ == "__main__":
    main()
