"""Answers written by the model that is being trained: what validation compares with gold, and the few rows a person watches."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.generation import Parameters
from app.domain.rendering import Template, filled, render, template_variables
from worker.engine.batches import Example
from worker.engine.generate import Prompt, complete, from_ids
from worker.engine.load import Loaded

SAMPLES = 5
"""How many rows a person watches."""

MOST_ROWS, LEAST_ROWS = 64, 16
"""How many answers one validation writes."""

BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Prompt and answer tokens of one batch: fewer than when nothing else is in the device's memory, for the training is."""

TOKEN_COST, STEP_COST = 2, 40
"""Of writing, in tokens read: for each token, and for each step of a batch however few rows it has. Measured with the starter model on
one core: a token written costs 10 tokens read when 5 rows are answered together, 5 when it is 16, 2 to 3 when it is 64."""


@dataclass(frozen=True)
class Asked:
    """Validation rows to be answered in words, always by the likeliest token. `rows` are their numbers among the validation rows, from 1."""

    loaded: Loaded
    rows: Sequence[int]
    inputs: Sequence[str]
    golds: Sequence[str]
    prompts: Sequence[Prompt]

    @property
    def tokens(self) -> int:
        """What answering costs, as tokens to read: for an estimate of its time."""
        steps = max((prompt.parameters.max_tokens for prompt in self.prompts), default=0)
        return STEP_COST * steps + sum(len(prompt.ids) + TOKEN_COST * prompt.parameters.max_tokens for prompt in self.prompts)

    def within(self, tokens: int) -> "Asked":
        """The same on fewer rows, so that it costs about so much; never fewer than LEAST_ROWS."""
        count = max(LEAST_ROWS, len(self.rows) * tokens // self.tokens)
        return replace(self, rows=self.rows[:count], inputs=self.inputs[:count], golds=self.golds[:count], prompts=self.prompts[:count])

    def texts(self, should_stop: Callable[[], bool], progress: Callable[[int, int], None] | None = None) -> list[str]:
        """What the model writes for each row, as it is: put it in evaluation mode first. Raises Stopped. Draws no random number."""
        most = BATCH_TOKENS.get(self.loaded.device.type, BATCH_TOKENS["cpu"])
        return [one.text for one in complete(self.loaded, self.prompts, progress=progress, should_stop=should_stop, batch_tokens=most)]


def to_compare(longest: int) -> int:
    """Tokens an answer may have that is compared with gold answers of at most `longest`: some more, so that one which goes on is seen to."""
    return min(longest + 4, 4096)


def to_watch(longest: int) -> int:
    """The same for an answer that a person reads: enough to see a model go on where it should not, and no more, for it takes time."""
    return min(48, max(16, 2 * longest))


def draw(
    loaded: Loaded,
    template: Template,
    rows: Sequence[tuple[Mapping[str, str], str]],
    examples: Sequence[Example],
    *,
    count: int,
    seed: str,
    most_tokens: Callable[[int], int],
) -> Asked:
    """`count` of the rows, the same ones for the same seed; `examples` are all rows as the model reads them.

    `most_tokens` gives the most tokens of an answer from those of the longest gold answer drawn.
    """
    drawn = random.Random(seed).sample(range(len(rows)), min(count, len(rows)))  # noqa: S311  # a sample that must come out the same again
    longest = max((len(examples[index].answer) for index in drawn), default=0)
    parameters = Parameters(max_tokens=most_tokens(longest))
    prompts = [from_ids(loaded, examples[index].prompt, render(template, rows[index][0]), parameters) for index in drawn]
    inputs = [_input(template, rows[index][0]) for index in drawn]
    return Asked(loaded, [index + 1 for index in drawn], inputs, [rows[index][1] for index in drawn], prompts)


def _input(template: Template, values: Mapping[str, str]) -> str:
    """What of a row the prompt shows: its one variable, or each with its name."""
    names, values = template_variables(template), filled(template, values)
    return values[names[0]] if len(names) == 1 else "\n".join(f"{name}: {values[name]}" for name in names)
