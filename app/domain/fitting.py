"""What happens to a row that does not fit a model's window: shots + input + answer. Pure; whoever knows the tokenizer counts.

The policy is a person's choice, kept with what it was used for, and the rows it touched are counted beside every result.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, Literal

from app.domain.rendering import LABELS, Rendered, Template, blank, filled, render, template_variables
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

Tokens = Callable[[Rendered], int]
"""Tokens of a prompt that is rendered already, and of its answer where it has one. None is less than a byte."""

SLACK = 16
"""Tokens by which text that is put together may differ from its parts."""


@dataclass(frozen=True)
class Fitted:
    """A row that fits: the template and values to render, and what it lost (shots, or characters of a variable)."""

    template: Template
    values: Mapping[str, str]
    shots: int = 0
    variable: str = ""
    characters: int = 0

    @property
    def whole(self) -> bool:
        return not (self.shots or self.characters)

    def as_json(self, policy: Policy) -> dict[str, Any] | None:
        """What the row lost, as it is kept beside its prediction (`applied` does it again); None where it is whole."""
        if self.whole:
            return None
        kept = len(self.values[self.variable]) if self.variable else 0
        return {"shots": self.shots} if self.shots else {"variable": self.variable, "kept": kept, "of": kept + self.characters, "policy": policy}


def applied(lost: Mapping[str, Any] | None, template: Template, values: Mapping[str, str]) -> tuple[Template, Mapping[str, str]]:
    """The template and values that a row was rendered with, from what `Fitted.as_json` kept; no tokenizer is needed for that."""
    if not lost:
        return template, values
    if "shots" in lost:
        return template.with_shots(template.shots[: len(template.shots) - lost["shots"]]), values
    values = filled(template, values)
    return template, {**values, lost["variable"]: cut(values[lost["variable"]], lost["kept"], lost["policy"])}


def said(lost: Mapping[str, Any]) -> str:
    """The same in a sentence."""
    if "shots" in lost:
        return f"The last {lost['shots']:,} shots were left out." if lost["shots"] > 1 else "The last shot was left out."
    part = {"cut_head": "start", "cut_middle": "middle", "cut_tail": "end"}[lost["policy"]]
    return f"The {part} of {{{lost['variable']}}} was cut: the model read {lost['kept']:,} of its {lost['of']:,} characters."


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
    """The longest value that the prompt reads of the row is cut, to as many characters as fit; of several as long it is the input."""
    values = filled(template, values)
    # The list of labels is no part of the row: without its end a model could not know what it may answer.
    own = [name for name in template_variables(template) if name != LABELS]
    name = max(own, key=lambda one: (len(values[one]), one == "input"), default="")
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
    return Fitted(template, shorter, variable=name, characters=len(text) - low)


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
    """How rows fit: how many were looked at and how many do not, the longest in tokens, the window, and how many of its tokens the answer needs."""

    rows: int = 0
    too_long: int = 0
    longest: int = 0
    window: int = 0
    answer: int = 0
    of: str = "this model's {} tokens"
    """What the window is, in words."""
    counted: str = ""
    """By what tokens were counted, in a sentence, where it was not by the model's own tokenizer."""

    @property
    def room(self) -> int:
        return self.window - self.answer

    def and_row(self, tokens: int) -> "Fit":
        return replace(self, rows=self.rows + 1, too_long=self.too_long + (tokens > self.room), longest=max(self.longest, tokens))

    @property
    def sentence(self) -> str:
        """ "3 of 300 rows do not fit (shots + input + answer) in this model's 512 tokens; the longest takes 620." """
        window, longest = self.of.format(f"{self.window:,}"), f"{self.longest + self.answer:,}"
        if not self.too_long:
            said = f"Every row fits: the longest takes {longest} of {window}, answer included."
        else:
            verb = "does" if self.too_long == 1 else "do"
            said = f"{self.too_long:,} of {self.rows:,} rows {verb} not fit (shots + input + answer) in {window}; the longest takes {longest}."
        return f"{said} {self.counted}" if self.counted else said


def look(empty: Fit, template: Template, rows: Iterable[Mapping[str, str]], tokens: Tokens, golds: Iterable[str] | None = None) -> Fit:
    """How rows fit as they are; with `golds` each with its own answer, as training reads them. `empty` has the window and what the answer needs of it.

    A token is at least one byte, so most rows of a large window need no tokenizer; of those only the largest is counted, for `longest`.
    """
    found = empty
    largest: tuple[int, dict[str, str], str | None] = (0, {}, None)
    bare = blank(template)
    fixed = tokens(bare) - _bytes(bare) + SLACK
    for row, gold in zip(rows, repeat(None) if golds is None else golds, strict=False):
        values = filled(template, row)
        rendered = render(template, values, gold)
        most = fixed + _bytes(rendered)
        if most > found.room:
            found = found.and_row(tokens(rendered))
        else:
            found = replace(found, rows=found.rows + 1)
            largest = max(largest, (most, dict(values), gold), key=lambda one: one[0])
    if largest[0] > found.longest:
        found = replace(found, longest=max(found.longest, tokens(render(template, *largest[1:]))))
    return found


def _bytes(rendered: Rendered) -> int:
    answer = 0 if rendered.answer is None else len(rendered.answer.encode("utf-8", "surrogatepass")) + 1  # the end token
    return len(rendered.text.encode("utf-8", "surrogatepass")) + answer


@dataclass(frozen=True)
class Fitting:
    """The rows' prompts as the model takes them: `touched` has, by a row's key, those that did not fit and what the policy made of them."""

    template: Template
    policy: Policy
    look: Fit
    touched: Mapping[int, Fitted]

    def render(self, key: int, values: Mapping[str, str]) -> Rendered:
        fitted = self.touched.get(key)
        return render(fitted.template, fitted.values) if fitted else render(self.template, values)

    def lost(self, key: int) -> dict[str, Any] | None:
        """What a row lost, as it stands beside its prediction."""
        fitted = self.touched.get(key)
        return None if fitted is None else fitted.as_json(self.policy)

    def as_json(self) -> dict[str, Any]:
        """What stands beside the scores."""
        return told(self.policy, self.look)


def told(policy: Policy, look: Fit) -> dict[str, Any]:
    """How rows fitted and what was done about it, as it stands beside a result."""
    found: dict[str, Any] = {"policy": policy, "rows": look.rows, "too_long": look.too_long, "window": look.window, "longest": look.longest}
    return found | ({"counted": look.counted} if look.counted else {})


def fit_rows(empty: Fit, template: Template, policy: Policy, rows: Mapping[int, Mapping[str, str]], tokens: Tokens) -> Fitting:
    """Look at every row before the first is answered. Raises Invalid `rows_do_not_fit` when there are some that the policy cannot help."""
    found = look(empty, template, rows.values(), tokens)
    touched, refused = dict[int, Fitted](), 0
    for key, values in rows.items() if found.too_long else ():
        try:
            fitted = fit(template, values, found.room, policy, lambda one, filling: tokens(render(one, filling)))
        except DoesNotFit:
            refused += 1
            continue
        if not fitted.whole:
            touched[key] = fitted
    if refused:
        raise refusal(found, policy, refused, "a shorter prompt, or a model with a larger window")
    return Fitting(template, policy, found, touched)


def refusal(look: Fit, policy: Policy, refused: int, otherwise: str) -> Invalid:
    """So many rows that the policy cannot help; `otherwise` is what else would."""
    still = "" if policy == "refuse" else f" {refused:,} of them still do not when this is done: {POLICIES[policy]}."
    return Invalid("rows_do_not_fit", look.sentence + still, f"Choose how rows are made to fit (fit), {otherwise}.", detail={"field": "fit"})
