"""How rows fit the window of a model at an endpoint: counted by the tokenizer of a model here, or reckoned from the text. Nobody but the server can count for sure.

What a server writes around a prompt (its chat template, a beginning-of-text token) is reckoned either way.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.domain.fitting import Fit
from app.domain.rendering import Rendered, Template, answer_text

LETTERS, CAPITALS = 4, 2
"""Of a word in ASCII letters, so many are reckoned as a token; fewer where capitals stand in it. Digits, signs and line breaks count as one each, and of
other scripts every byte."""

ENDS = 2
"""Tokens that a server may put around raw text."""
TURN, OPENING = 8, 40
"""Tokens that a chat template may write around a turn, and before the first one (some have a system turn of their own)."""

RECKONED = "Tokens are reckoned from the text, rather too many than too few: the endpoint alone has its tokenizer."
COUNTED = "Tokens are counted by the tokenizer of {}."

_WORD = re.compile(r"[A-Za-z]+")
_ALONE = re.compile(r"[^A-Za-z \x80-\U0010ffff]| (?![A-Za-z])")


def reckoned(text: str) -> int:
    """About how many tokens a text has, rather too many than too few, and never more than its bytes (`python -m bench.reckoned` measures it)."""
    words = sum(-(-len(word) // (LETTERS if len(word) == 1 or word[1:].islower() else CAPITALS)) for word in _WORD.findall(text))
    alone = len(_ALONE.findall(text))
    if text.isascii():
        return words + alone
    return words + alone + sum(len(piece.encode("utf-8", "surrogatepass")) for piece in re.findall(r"[\x80-\U0010ffff]+", text))


@dataclass(frozen=True)
class Ruler:
    """What rows for a remote model are measured by. `chat`: the endpoint gets everything as turns; `of` is what its window is, in words."""

    window: int
    text: Callable[[str], int]
    counted: str
    of: str
    chat: bool

    def tokens(self, rendered: Rendered) -> int:
        """Tokens of a prompt, and of its answer where it has one."""
        answer = 0 if rendered.answer is None else self.text(rendered.answer) + 1
        if rendered.messages:
            return OPENING + sum(TURN + self.text(message.content) for message in rendered.messages) + answer
        return self.text(rendered.text) + (OPENING + TURN if self.chat else ENDS) + answer

    def empty(self, template: Template, labels: Sequence[str], most_tokens: int) -> Fit:
        """A look at no row yet. The answer takes the longest label's tokens and one more, or `most_tokens` without labels."""
        answer = max((self.text(answer_text(template, label)) + 1 for label in labels), default=most_tokens)
        return Fit(window=self.window, answer=answer, of=self.of, counted=self.counted)


def ruler(model: str, window: int, *, chat: bool, tokenizer: Path | None = None, tokenizer_name: str = "") -> Ruler:
    """The ruler of a remote model. `tokenizer` is a folder with a tokenizer.json in it; without one, tokens are reckoned."""
    counted = None if tokenizer is None else _counter(tokenizer / "tokenizer.json")
    of = "the {} tokens of " + model.replace("{", "{{").replace("}", "}}")
    if counted is None:
        return Ruler(window, reckoned, RECKONED, of, chat)
    return Ruler(window, counted, COUNTED.format(tokenizer_name), of, chat)


@lru_cache(maxsize=4)
def _counter(file: Path) -> Callable[[str], int] | None:
    """Tokens of a text by itself, read as plain text whatever it spells; None where there is no such file."""
    from tokenizers import Tokenizer  # here, because web imports this

    try:
        plain = json.loads(file.read_text("utf-8")) | {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    except (OSError, ValueError):
        return None
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
