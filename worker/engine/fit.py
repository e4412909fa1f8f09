"""How rows fit a model's window, counted with its own tokenizer; no weights are needed for that."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.domain.fitting import POLICIES, DoesNotFit, Fit, Fitted, Policy, fit
from app.domain.rendering import Rendered, Template, answer_text, render, template_variables
from app.errors import Invalid
from worker.engine.encode import encode_answer, encode_prompt
from worker.engine.load import Loaded, load_config, load_tokenizer, window, window_of

SLACK = 16
"""Tokens by which text that is put together may differ from its parts."""


@dataclass(frozen=True)
class Ruler:
    """What rows are measured by: a tokenizer, the tokens its model takes at once, and those of them that the answer needs."""

    tokenizer: Any
    window: int
    answer: int

    def count(self, template: Template, values: Mapping[str, str]) -> int:
        return len(encode_prompt(self.tokenizer, render(template, values)))

    def fit(self, template: Template, values: Mapping[str, str], policy: Policy) -> Fitted:
        """The row as it is, or as the policy makes it. Raises DoesNotFit."""
        return fit(template, values, self.window - self.answer, policy, self.count)

    def look(self, template: Template, rows: Iterable[Mapping[str, str]]) -> Fit:
        """How rows fit as they are.

        A token is at least one byte, so most rows of a large window need no tokenizer; of those only the largest is counted, for `longest`.
        """
        found, largest = Fit(window=self.window, answer=self.answer), (0, dict[str, str]())
        names, fixed = template_variables(template), self.count(template, _Blank()) + SLACK
        for values in rows:
            most = fixed + sum(len(values[name].encode("utf-8", "surrogatepass")) for name in names)
            if most > found.room:
                found = found.and_row(self.count(template, values))
            else:
                found = replace(found, rows=found.rows + 1)
                largest = max(largest, (most, dict(values)), key=lambda one: one[0])
        if found.rows and not found.longest:
            found = replace(found, longest=self.count(template, largest[1]))
        return found


def ruler(folder: Path, adapter: Path | None, template: Template, labels: Sequence[str], most_tokens: int) -> Ruler:
    """The ruler of a model's files. The answer takes the longest label's tokens, or `most_tokens` when there are no labels."""
    tokenizer, config = tokenizer_of(folder), load_config(folder)
    return Ruler(tokenizer, window_of(config) - _virtual_tokens(adapter), answer_tokens(tokenizer, config.is_encoder_decoder, template, labels, most_tokens))


def answer_tokens(tokenizer: Any, encoder_decoder: bool, template: Template, labels: Sequence[str], most_tokens: int) -> int:
    """Tokens of the window that an answer needs: none where it is written in another half of the model."""
    if encoder_decoder:
        return 0
    rendered = render(template.with_shots(()), _Blank())
    return max((len(encode_answer(tokenizer, rendered, answer_text(template, label), end=True)) for label in labels), default=most_tokens)


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

    def as_json(self) -> dict[str, Any]:
        """What stands beside the scores."""
        return {"policy": self.policy, "rows": self.look.rows, "too_long": self.look.too_long, "window": self.look.window, "longest": self.look.longest}


def fit_rows(loaded: Loaded, template: Template, labels: Sequence[str], most_tokens: int, policy: Policy, rows: Mapping[int, Mapping[str, str]]) -> Fitting:
    """Look at every row before the first is answered. Raises Invalid `rows_do_not_fit` when there are some that the policy cannot help."""
    answer = answer_tokens(loaded.tokenizer, loaded.encoder_decoder, template, labels, most_tokens)
    measure = Ruler(loaded.tokenizer, window(loaded.model), answer)
    look = measure.look(template, rows.values())
    touched, refused = dict[int, Fitted](), 0
    for key, values in rows.items() if look.too_long else ():
        try:
            fitted = measure.fit(template, values, policy)
        except DoesNotFit:
            refused += 1
            continue
        if not fitted.whole:
            touched[key] = fitted
    if refused:
        still = "" if policy == "refuse" else f" {refused:,} of them still do not when this is done: {POLICIES[policy]}."
        raise Invalid("rows_do_not_fit", look.sentence + still, "Choose how rows are made to fit (fit), a shorter prompt, or a model with a larger window.")
    return Fitting(template, policy, look, touched)


class _Blank(dict[str, str]):
    """An empty value for every variable: the answer's tokens do not depend on them."""

    def __missing__(self, name: str) -> str:
        return ""

    def __contains__(self, name: object) -> bool:
        return True


@lru_cache(maxsize=16)
def tokenizer_of(folder: Path) -> Any:
    """A model's tokenizer, kept: reading one takes longer than most of what it is asked."""
    return load_tokenizer(folder)


def _virtual_tokens(adapter: Path | None) -> int:
    """Tokens of the window that an adapter's soft prompt takes."""
    if adapter is None:
        return 0
    return int(json.loads((adapter / "adapter_config.json").read_text()).get("num_virtual_tokens") or 0)
