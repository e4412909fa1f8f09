"""Answers held to a list, a regular expression or a JSON schema: which tokens may come next, by llguidance."""

import re
import threading
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from app.domain.generation import Parameters, grammar_of
from app.errors import Invalid

NAMES = {"choices": "list of answers", "regex": "regular expression", "json_schema": "JSON schema"}


class Guide:
    """What one answer may still become."""

    def __init__(self, vocabulary: Any, grammar: str, width: int) -> None:
        import llguidance.numpy
        from llguidance import LLMatcher

        self._matcher = LLMatcher(vocabulary, grammar)
        self._bits = llguidance.numpy.allocate_token_bitmask(1, width)
        self._width = width

    @property
    def done(self) -> bool:
        """Whether nothing can follow: the answer is whole."""
        return bool(self._matcher.is_stopped())

    def forbidden(self) -> torch.Tensor:
        """[vocabulary] of booleans: the tokens that may not come next. An end token may where the answer can end."""
        import llguidance.numpy

        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits, 0)
        # Not llguidance.torch: it compiles its kernel, which takes seconds at the first token.
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._width]
        return torch.from_numpy(allowed == 0)

    def take(self, token: int) -> None:
        """Go on after this token. Raises Invalid when the grammar grows too large to follow."""
        if not self._matcher.consume_token(token):
            raise Invalid("constraint_failed", "The answer could not be held to its constraint any further.", "Use a simpler schema or expression.")


_vocabularies: "WeakKeyDictionary[Any, dict[tuple[int, frozenset[int]], Any]]" = WeakKeyDictionary()
_lock = threading.Lock()


def vocabulary_of(tokenizer: Any, width: int, ends: frozenset[int]) -> Any:
    """The tokens of a model as llguidance knows them. Made once, which takes a second in which no other thread of the process gets on."""
    import llguidance.hf

    with _lock:
        known = _vocabularies.setdefault(tokenizer, {})
        if (width, ends) not in known:
            known[width, ends] = llguidance.hf.from_tokenizer(tokenizer, n_vocab=width, eos_token=sorted(ends))
        return known[width, ends]


def guide(tokenizer: Any, width: int, ends: frozenset[int], parameters: Parameters, *, gap: bool) -> Guide | None:
    """The guide of an answer that its parameters constrain, else None. `width` is the number of the model's logits, `ends` its end tokens.

    With `gap` one space may stand before the answer, where the prompt ends without white space. Raises Invalid `bad_constraint`.
    """
    if parameters.constraint is None:
        return None
    from llguidance import LLMatcher  # here: training, which answers validation rows too, runs where it is not installed

    vocabulary = vocabulary_of(tokenizer, width, ends)
    _check(parameters, LLMatcher.validate_grammar(_grammar(parameters, gap=False), vocabulary))
    return Guide(vocabulary, _grammar(parameters, gap=gap), width)


def _grammar(parameters: Parameters, *, gap: bool) -> str:
    from llguidance import LLMatcher

    language, text = grammar_of(parameters, gap=gap)
    return str(LLMatcher.grammar_from_lark(text) if language == "lark" else LLMatcher.grammar_from_regex(text))


def _check(parameters: Parameters, problem: str) -> None:
    """Raises Invalid with the compiler's reason in one line, without its drawing of the place."""
    if not problem:
        return
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    reason = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    reason = re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", reason).rstrip(".")
    name = NAMES[str(parameters.constraint)]
    raise Invalid("bad_constraint", f"The {name} cannot be used: {reason}.", "Correct it, or leave it out.", detail={"field": parameters.constraint})
