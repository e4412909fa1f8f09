"""What the Lab starts from and shows beside the editor: a prompt to open, a first prompt for a dataset, the text a model will read."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.prompt import Prompt, PromptVersion, fields_of
from app.domain.rendering import DEFAULT, LABELS, Rendered, Template, check, render, sections
from app.errors import Invalid, NotFound
from app.services import datasets, grid, prompts
from app.services.datasets import DatasetView

SHOWN_LABELS = 20
"""Labels that a first prompt lists; with more, the shots have to show them."""

FIRST_INSTRUCTION = f"Answer with one of: {{{LABELS}}}."

FIRST_SHOTS = 4


@dataclass(frozen=True)
class Opened:
    """What stands in the editor when the page opens. `prompt` is none for a new one."""

    fields: dict[str, Any]
    prompt: Prompt | None = None
    version: PromptVersion | None = None

    @property
    def reference(self) -> str | None:
        return self.version.reference if self.version else None


@dataclass(frozen=True)
class Seen:
    """A prompt as the model reads it; `sections` says for every part what it belongs to."""

    rendered: Rendered
    sections: tuple[str, ...]


def blank() -> Opened:
    return Opened(fields_of(DEFAULT))


def opened(person: Who, reference: str) -> Opened:
    """A saved prompt. Raises NotFound, and Invalid for a mode that the Lab does not edit."""
    prompt, version = prompts.find(person, reference)
    if version.mode != "structured":
        raise Invalid("not_structured", f"{prompt.name} is a {version.mode} prompt.", "The Lab edits structured prompts; this one is used through the API.")
    return Opened(fields_of(version.template(), version.parameters), prompt, version)


def first_prompt(person: Who, reference: str) -> Opened:
    """A new prompt made from a dataset: its labels named, and a few of its train rows as shots."""
    version = datasets.find(person, reference).version
    shots = datasets.draw_shots(person, reference, min(FIRST_SHOTS, version.splits.get("train", 0)), 0)
    return Opened(fields_of(Template(instruction=_instruction(version), shots=tuple(shots))))


def _instruction(version: DatasetVersion) -> str:
    labels = version.label_texts()
    if not labels:
        return "Answer as in the examples."
    return FIRST_INSTRUCTION if len(labels) <= SHOWN_LABELS else "Answer with one label, as in the examples."


@dataclass(frozen=True)
class TryRow:
    """A row to try a prompt on: the values of its variables, and the texts that count as its right answer."""

    values: dict[str, str]
    answers: tuple[str, ...]


def row(person: Who, reference: str, split: str, offset: int) -> TryRow:
    """One row by its place in a split. Raises Sealed, and NotFound behind the last one."""
    version = datasets.find(person, reference).version
    found = grid.examples(person, version.reference, split, offset, 1)
    if not found:
        raise NotFound("row", offset + 1)
    book, output = version.book, found[0].output
    label = book.get(output) if output is not None else None
    aliases = label.aliases if label else ()
    return TryRow({**version.shown_labels(), **found[0].values()}, () if output is None else (book.text_of(output), *aliases))


def samples(person: Who) -> list[tuple[Prompt, PromptVersion, DatasetView | None]]:
    """The prompts that came with the installation, oldest first, each with the sample dataset it was written for."""
    rows, _ = prompts.recent(person, limit=200)
    own = [(prompt, version) for prompt, version in reversed(rows) if prompt.author_id is None]
    given = [view for view in reversed(datasets.recent(person)[0]) if view.dataset.source == "sample"]
    # Both were made task by task, so they stand in the same order.
    return [(prompt, version, view) for (prompt, version), view in zip_longest(own, given[: len(own)])]


def seen(template: Template, values: Mapping[str, str]) -> Seen:
    """The text a model reads. Raises Invalid naming the variables that exist when the prompt uses another."""
    check(template, values)
    return Seen(render(template, values), sections(template, values))
