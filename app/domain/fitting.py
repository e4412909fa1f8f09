"""What happens to a row that does not fit a model's window: shots + input + answer. Pure; whoever knows the tokenizer counts.

The policy is a person's choice, kept with what it was used for, and the rows it touched are counted beside every result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from app.domain.rendering import Template, template_variables
from app.errors import Invalid

Policy = Literal["refuse", "fewer_shots", "cut_head", "cut_middle", "cut_tail"]
POLICIES: dict[str, str] = {
    "refuse": "refuse to run",
    "fewer_shots": "leave out shots, the last ones first",
    "cut_head": "cut the start of the input",
    "cut_middle": "cut the middle of the input",
    "cut_tail": "cut the end of the input",
}

Count = Callable[[Template, Mapping[str, str]], int]
"""Tokens of a rendered prompt, as the model reads it."""


@dataclass(frozen=True)
class Fitted:
    """A row that fits: the template and values to render, and what it lost (shots, characters of its longest value)."""

    template: Template
    values: Mapping[str, str]
    shots: int = 0
    characters: int = 0

    @property
    def whole(self) -> bool:
        return not (self.shots or self.characters)


class DoesNotFit(Invalid):
    """A row that is too long, and stays so under the chosen policy."""

    def __init__(self, tokens: int, room: int) -> None:
        advice = "Choose fewer or shorter shots, another way of fitting (fit), or a model with a larger window."
        super().__init__("row_does_not_fit", f"The row takes {tokens:,} tokens and the model has room for {room:,} before the answer.", advice)


def fit(template: Template, values: Mapping[str, str], room: int, policy: Policy, count: Count) -> Fitted:
    """The row within `room` tokens, by the policy. Raises DoesNotFit."""
    tokens = count(template, values)
    if tokens <= room:
        return Fitted(template, values)
    if policy == "fewer_shots":
        return _with_fewer_shots(template, values, room, count, tokens)
    if policy == "refuse":
        raise DoesNotFit(tokens, room)
    return _shortened(template, values, room, policy, count, tokens)


def _with_fewer_shots(template: Template, values: Mapping[str, str], room: int, count: Count, tokens: int) -> Fitted:
    # The last ones go, so that what is left begins as the other rows' prompts do and is read once for all.
    for left in reversed(range(len(template.shots))):
        fewer = template.with_shots(template.shots[:left])
        if count(fewer, values) <= room:
            return Fitted(fewer, values, shots=len(template.shots) - left)
    raise DoesNotFit(tokens, room)


def _shortened(template: Template, values: Mapping[str, str], room: int, policy: str, count: Count, tokens: int) -> Fitted:
    """The longest value the prompt reads is cut, to as many characters as fit."""
    name = max(template_variables(template), key=lambda one: len(values[one]), default="")
    text = values.get(name, "")
    # One more character seldom makes fewer tokens; where it does, a little less than what would fit is kept.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = count(template, {**values, name: cut(text, middle, policy)}) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    shorter = {**values, name: cut(text, low, policy)}
    if not low or count(template, shorter) > room:
        raise DoesNotFit(tokens, room)
    return Fitted(template, shorter, characters=len(text) - low)


def cut(text: str, keep: int, policy: str) -> str:
    """`keep` characters of a text: its end (cut_head), its start (cut_tail), or both ends (cut_middle)."""
    if keep >= len(text):
        return text
    if policy == "cut_head":
        return text[len(text) - keep :]
    if policy == "cut_tail":
        return text[:keep]
    end = keep // 2
    return text[: keep - end] + text[len(text) - end :]


@dataclass(frozen=True)
class Fit:
    """How the rows of a split fit: how many were looked at and how many do not, the longest in tokens, the model's window, the answer's tokens."""

    rows: int = 0
    too_long: int = 0
    longest: int = 0
    window: int = 0
    answer: int = 0

    @property
    def room(self) -> int:
        return self.window - self.answer

    def and_row(self, tokens: int) -> "Fit":
        return replace(self, rows=self.rows + 1, too_long=self.too_long + (tokens > self.room), longest=max(self.longest, tokens))

    @property
    def sentence(self) -> str:
        """ "3 of 300 rows do not fit (shots + input + answer) in this model's 512 tokens; the longest takes 620." """
        window, longest = f"this model's {self.window:,} tokens", f"{self.longest + self.answer:,}"
        if not self.too_long:
            return f"Every row fits: the longest takes {longest} of {window}, answer included."
        verb = "does" if self.too_long == 1 else "do"
        return f"{self.too_long:,} of {self.rows:,} rows {verb} not fit (shots + input + answer) in {window}; the longest takes {longest}."
