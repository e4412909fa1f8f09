"""What a run depends on, as plain values; and as JSON, in which a run's other processes are told what to do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from app.domain.methods import METHODS
from app.domain.methods.base import MethodParameters, parse
from app.domain.rendering import Template

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
    pause_at: int | None = None
    """Leave the run after this step, its schedule planned to the end, with a checkpoint to go on from: `train` raises Paused."""
    finish: bool = False
    """With `resume`: take not one step more, and keep the best moment there is."""
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Other spellings that count as one of the labels, by the label."""
    find_rate: bool = False
    """Choose the learning rate by a range test before the first step."""


def to_json(spec: TrainSpec) -> str:
    """The spec in one line."""
    return json.dumps({**asdict(spec), "parameters": spec.parameters.model_dump(mode="json")}, default=_path)


def from_json(line: str) -> TrainSpec:
    """The spec again; its sequences come back as lists."""
    values = json.loads(line)
    values["parameters"] = parse(METHODS, values["method"], values["parameters"])
    return TypeAdapter(TrainSpec).validate_python(values)


def _path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} cannot be told to another process")
