"""What the Lab starts from and shows beside the editor: a prompt to open, a first prompt for a dataset, the text a model will read."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, zip_longest
from typing import Any

from anyio import to_thread

from app.db import reading
from app.domain import dataset as examples
from app.domain import scheme
from app.domain.access import Who
from app.domain.dataset import DatasetVersion, Example
from app.domain.modes import Converted, convert
from app.domain.prompt import Prompt, PromptVersion, fields_of
from app.domain.rendering import DEFAULT, LABELS, Mode, Part, Rendered, Shot, Template, check, render, sections, template_variables, unknown
from app.domain.scheme import Shape, judge
from app.domain.variables import nearest
from app.errors import Conflict, NotFound
from app.services import datasets, generate, grid, prompts
from app.services.datasets import DatasetView
from app.services.shots import drawn

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
    """A prompt as the model reads it; `sections` says for every part what it belongs to, `variables` which it reads."""

    rendered: Rendered
    sections: tuple[str, ...]
    variables: tuple[str, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the text, or of all turns one after another."""
        return self.rendered.parts or tuple(part for message in self.rendered.messages for part in message.parts)


@dataclass(frozen=True)
class Read:
    """A prompt as a tokenizer gets it: `total` tokens, of which `parts` are those of each rendered part and `template` those of none; the model's
    `window`; and the whole text in `pieces`: {text, kind: "special", "template", "author" or "cell"}."""

    total: int
    parts: list[int]
    template: int
    window: int
    pieces: list[dict[str, str]]


def blank() -> Opened:
    return Opened(fields_of(DEFAULT))


def opened(person: Who, reference: str) -> Opened:
    """A saved prompt. Raises NotFound."""
    prompt, version = prompts.find(person, reference)
    return Opened(fields_of(version.template(), version.parameters), prompt, version)


def first_prompt(person: Who, reference: str) -> Opened:
    """A new prompt made from a dataset: its labels named, and a few of its train rows as shots."""
    version = datasets.find(person, reference).version
    shots = drawn(person, reference, min(FIRST_SHOTS, version.splits.get("train", 0)), 0).shots
    return Opened(fields_of(Template(instruction=_instruction(version), shots=tuple(shots))))


def _instruction(version: DatasetVersion) -> str:
    labels = version.label_texts()
    if not labels:
        return "Answer as in the examples."
    return FIRST_INSTRUCTION if len(labels) <= SHOWN_LABELS else "Answer with one label, as in the examples."


@dataclass(frozen=True)
class Gold:
    """A row's gold answer as a model would write it, and where the row stands: its place in a split of a dataset version, counted from 0."""

    text: str
    dataset: str
    split: str
    place: int


@dataclass(frozen=True)
class TryRow:
    """A row to try a prompt on: the values of its variables, and its gold answer where it has one."""

    values: dict[str, str]
    gold: Gold | None


MOST_ROWS = 100
"""Rows of one table of inputs."""


LOOKED_AT = 1_000
"""Rows of a split whose gold answers tell what its answers are: labels, text, JSON or numbers."""


def row(person: Who, reference: str, split: str, offset: int) -> TryRow:
    """One row by its place in a split. Raises Sealed, and NotFound behind the last one."""
    version = datasets.find(person, reference).version
    return _to_try(version, split, offset, _at(person, version, split, offset))


def rows(person: Who, reference: str, split: str, count: int, seed: int) -> list[tuple[int, TryRow]]:
    """Rows drawn from a split without one coming twice, in file order, each with its place; all of them when there are not more. Raises Sealed."""
    version = datasets.find(person, reference).version
    total = version.splits.get(split, 0)
    places = sorted(random.Random(seed).sample(range(total), min(count, total)))  # noqa: S311 a draw to look at, the same for the same seed
    return [(place, _to_try(version, split, place, _at(person, version, split, place))) for place in places]


def _at(person: Who, version: DatasetVersion, split: str, place: int) -> Example:
    found = grid.examples(person, version.reference, split, place, 1)
    if not found:
        raise NotFound("row", place + 1)
    return found[0]


def _to_try(version: DatasetVersion, split: str, place: int, example: Example) -> TryRow:
    gold = None if example.output is None else Gold(version.book.text_of(example.output), version.reference, split, place)
    return TryRow({**version.shown_labels(), **example.values()}, gold)


def judged(person: Who, reference: str, split: str, place: int, texts: Sequence[str], prompt: str | None = None) -> list[bool] | None:
    """Which of these answers to a row are right, read and judged as an evaluation of its split would; none for a row without a gold answer. Raises Sealed,
    and Conflict where the saved prompt that was asked has the row among its shots."""
    version = datasets.find(person, reference).version
    found = _to_try(version, split, place, _at(person, version, split, place))
    gold = found.gold
    if gold is None:
        return None
    if prompt is not None and Shot(_typed(found.values["input"]), _typed(gold.text)) in prompts.find(person, prompt)[1].template().shots:
        raise Conflict("shown", "The prompt has this row among its shots.", "Judge it on other rows.")
    shape = _shape(version.id, version.content_hash, split)
    return [judge(scheme.DEFAULT, shape, gold.text, scheme.DEFAULT.read(text, shape, version.book)).correct for text in texts]


def _typed(text: str) -> str:
    """A text as a field of a page has it, which is where shots come from: lines end in one way there."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@lru_cache(64)
def _shape(version_id: int, content: str, split: str) -> Shape:
    """What the answers of a split are. Versions never change, so this never does; `content` tells databases apart."""
    del content
    with reading() as session:
        version = session.get_one(DatasetVersion, version_id)
        labels = bool(version.label_texts())
        golds = [] if labels else [case.answer for case in islice(examples.cases(session, version, split), LOOKED_AT)]
        return scheme.DEFAULT.shape_of(labels, golds)


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
    return Seen(render(template, values), sections(template, values), template_variables(template))


def misspelt(template: Template, values: Mapping[str, str]) -> list[dict[str, str | None]]:
    """The variables that do not exist, each with the one that was probably meant: [{name, meant}]. Declared ones that lack a value are none of them."""
    declared = {name for name, _ in template.defaults}
    known = declared.union(values)
    return [{"name": name, "meant": nearest(name, known)} for name in unknown(template, values) if name not in declared]


async def read_by(person: Who, model: int, template: Template, values: Mapping[str, str]) -> Read:
    """The prompt as a model's tokenizer gets it. The engine process reads it; raises Unavailable without one, and Invalid for a remote model."""

    def hand() -> generate.Request:
        row, fields = generate.fields_for(person, model, fields_of(template), None)
        check(template, values)
        return generate.hand(row, fields, {"variables": dict(values), "parameters": {}, "count_only": True, "pieces": True})

    found = await generate.count(await to_thread.run_sync(hand))
    return Read(**{name: found[name] for name in ("total", "parts", "template", "window", "pieces")})


def converted(template: Template, mode: Mode, base: Template | None) -> Converted:
    """The prompt in another mode."""
    return convert(template, mode, base)
