"""How rows fit a model's window, counted with its own tokenizer; no weights are needed for that."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.domain import fitting
from app.domain.fitting import DoesNotFit, Fit, Fitting, Policy, fit, look, refusal
from app.domain.rendering import Rendered, Template, answer_text, blank, render
from app.errors import Invalid
from worker.engine.batches import Example
from worker.engine.encode import encode_answer, encode_pair, encode_prompt
from worker.engine.load import Loaded, load_config, load_tokenizer, window, window_of

MAX_LENGTH = "the {} tokens of max_length"


@dataclass(frozen=True)
class Ruler:
    """What rows are measured by: a tokenizer, the tokens its model takes at once, and those of them that the answer needs."""

    tokenizer: Any
    window: int
    answer: int

    of: str = Fit.of
    """What the window is, in words."""

    def tokens(self, rendered: Rendered) -> int:
        """Tokens of a prompt, and of its answer where it has one."""
        answer = 0 if rendered.answer is None else len(encode_answer(self.tokenizer, rendered, rendered.answer, end=True))
        return len(encode_prompt(self.tokenizer, rendered)) + answer

    def count(self, template: Template, values: Mapping[str, str], gold: str | None = None) -> int:
        """Tokens of a prompt; with its gold answer, those of both."""
        return self.tokens(render(template, values, gold))

    @property
    def empty(self) -> Fit:
        """A look at no row yet."""
        return Fit(window=self.window, answer=self.answer, of=self.of)

    def look(self, template: Template, rows: Iterable[Mapping[str, str]], golds: Iterable[str] | None = None) -> Fit:
        """How rows fit as they are; with `golds` each with its own answer, as training reads them."""
        return look(self.empty, template, rows, self.tokens, golds)


def ruler(folder: Path, adapter: Path | None, template: Template, labels: Sequence[str], most_tokens: int) -> Ruler:
    """The ruler of a model's files. The answer takes the longest label's tokens, or `most_tokens` when there are no labels."""
    tokenizer, config = tokenizer_of(folder), load_config(folder)
    return Ruler(tokenizer, window_of(config) - virtual_tokens_of(adapter), answer_tokens(tokenizer, config.is_encoder_decoder, template, labels, most_tokens))


def training_ruler(measure: Ruler, max_length: int) -> Ruler:
    """The same for training, whose examples have `max_length` tokens at most with their own answers."""
    most = min(measure.window, max_length)
    return replace(measure, window=most, answer=0, of=MAX_LENGTH if most == max_length else Fit.of)


def answer_tokens(tokenizer: Any, encoder_decoder: bool, template: Template, labels: Sequence[str], most_tokens: int) -> int:
    """Tokens of the window that an answer needs: none where it is written in another half of the model."""
    if encoder_decoder:
        return 0
    rendered = blank(template.with_shots(()))
    return max((len(encode_answer(tokenizer, rendered, answer_text(template, label), end=True)) for label in labels), default=most_tokens)


def fit_rows(loaded: Loaded, template: Template, labels: Sequence[str], most_tokens: int, policy: Policy, rows: Mapping[int, Mapping[str, str]]) -> Fitting:
    """Look at every row before the first is answered. Raises Invalid `rows_do_not_fit` when there are some that the policy cannot help."""
    answer = answer_tokens(loaded.tokenizer, loaded.encoder_decoder, template, labels, most_tokens)
    measure = Ruler(loaded.tokenizer, window(loaded.model), answer)
    return fitting.fit_rows(measure.empty, template, policy, rows, measure.tokens)


def fit_examples(
    tokenizer: Any, template: Template, rows: Iterable[tuple[Mapping[str, str], str]], most: int, policy: Policy = "refuse", of: str = MAX_LENGTH
) -> tuple[list[Example], Fit]:
    """The examples of (values, answer) within `most` tokens, answer included, and how they fitted before the policy; `of` names the limit in words.

    Raises Invalid: `answer_too_long` when an answer leaves no room for a prompt, `rows_do_not_fit` when the policy cannot help some rows.
    """
    found, examples, refused = Fit(window=most, of=of), list[Example](), 0
    for number, (values, answer) in enumerate(rows, 1):
        prompt, ids = encode_pair(tokenizer, render(template, values, answer))
        room = most - len(ids)
        if room < 1:
            raise Invalid("answer_too_long", f"The answer of example {number} has {len(ids)} tokens.", f"Raise max_length above {len(ids)}.")
        found = found.and_row(len(prompt) + len(ids))
        if len(prompt) > room:
            try:
                fitted = fit(template, values, room, policy, Ruler(tokenizer, most, len(ids)).count)
            except DoesNotFit:
                refused += 1
                continue
            prompt = encode_prompt(tokenizer, render(fitted.template, fitted.values))
        examples.append(Example(tuple(prompt), tuple(ids)))
    if refused:
        raise refusal(found, policy, refused, "a larger max_length, or a shorter prompt")
    return examples, found


@lru_cache(maxsize=16)
def tokenizer_of(folder: Path) -> Any:
    """A model's tokenizer, kept: reading one takes longer than most of what it is asked."""
    return load_tokenizer(folder)


def virtual_tokens_of(adapter: Path | None) -> int:
    """Tokens of the window that an adapter's soft prompt takes."""
    if adapter is None:
        return 0
    return int(json.loads((adapter / "adapter_config.json").read_text()).get("num_virtual_tokens") or 0)
