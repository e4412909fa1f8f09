"""Token ids into text as they come: never half a character, and never a word of a stop string."""

from collections.abc import Iterable, Sequence
from typing import Any

CONTEXT = 4
"""Tokens of the prompt that are decoded with the first new one: what a token's text begins with depends on its neighbour."""


class Decoder:
    """Turns one answer's ids into text, piece by piece. The pieces joined are the answer's text."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt[-CONTEXT:])
        self._start, self._read = 0, len(self._ids)

    def push(self, token: int) -> str:
        """The text this id completes: empty while a character's bytes are still missing."""
        self._ids.append(token)
        text = self._new()
        if not text or text.endswith("\ufffd"):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return text

    def rest(self) -> str:
        """What is still complete when no more ids come; the beginning of a character that never ended is dropped."""
        return self._new().rstrip("\ufffd")

    def _new(self) -> str:
        known, every = self._text(self._ids[self._start : self._read]), self._text(self._ids[self._start :])
        return every[len(known) :]

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


class Gate:
    """Lets text pass until a stop string appears, also one that arrives in pieces. What could begin a stop string waits."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.closed = False

    def push(self, text: str, *, armed: bool = True) -> str:
        """The text that may pass now. Unarmed (before the least number of tokens), everything passes."""
        self._held += text
        if not armed:
            return self.rest()
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.closed = True
            self._held = self._held[: min(found)]
            return self.rest()
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        passed = self._held[: len(self._held) - keep]
        self._held = self._held[len(passed) :]
        return passed

    def rest(self) -> str:
        """What still waits; asked for when no more text comes."""
        text, self._held = self._held, ""
        return text

    def _overlap(self, stop: str) -> int:
        """The length of the longest end of the held text with which `stop` begins."""
        return next((size for size in range(min(len(stop) - 1, len(self._held)), 0, -1) if self._held.endswith(stop[:size])), 0)


def token_text(tokenizer: Any, before: Sequence[int], token: int) -> str:
    """What one token writes after those before it; a part of a character is shown as the replacement character, a special token by its name."""
    known, every = (tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in (list(before), [*before, token]))
    return str(every[len(known) :] if every.startswith(known) else tokenizer.decode([token], skip_special_tokens=False))
