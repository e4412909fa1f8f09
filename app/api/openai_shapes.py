"""Answers in OpenAI's shapes: choices, deltas and log-probabilities, of chat and of raw text."""

from collections.abc import Iterator
from typing import Any


def ends(done: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """(index, finish reason) of every answer, from the last event."""
    for one in done.get("answers") or [{"index": 0, "reason": done["reason"]}]:
        yield one["index"], one["reason"]


class Shape:
    """How one request's answers look. `alternatives` of each token are said; None says no log-probabilities."""

    def __init__(self, chat: bool, alternatives: int | None) -> None:
        self.chat, self._alternatives = chat, alternatives
        self._begun: set[int] = set()
        self._lengths: dict[int, int] = {}

    def choices(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """The whole answers."""
        texts = answer.get("texts") or [answer["text"]]
        logprobs = answer.get("logprobs") or []
        each = logprobs if "texts" in answer and logprobs else [logprobs]
        found = []
        for index, reason in ends(answer):
            text = texts[index].lstrip() if self.chat else texts[index]
            said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
            found.append({"index": index, "finish_reason": reason, "logprobs": self._logprobs(index, each[index] if index < len(each) else []), **said})
        return found

    def delta(self, event: dict[str, Any]) -> dict[str, Any]:
        """A piece of an answer. White space at the beginning of a chat answer is left out."""
        index, text = event.get("index", 0), event["text"]
        if self.chat and index not in self._begun:
            text = text.lstrip()
        if text:
            self._begun.add(index)
        said: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
        return {"index": index, "finish_reason": None, "logprobs": self._logprobs(index, event.get("logprobs", [])), **said}

    def last(self, index: int, reason: str) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        return {"index": index, "finish_reason": reason, "logprobs": None, **said}

    def _logprobs(self, index: int, tokens: list[dict[str, Any]]) -> dict[str, Any] | None:
        if self._alternatives is None or not tokens:
            return None
        if self.chat:
            return {
                "content": [{**_entry(one), "top_logprobs": [_entry(other) for other in one["top"][: self._alternatives]]} for one in tokens],
                "refusal": None,
            }
        offsets = []
        for one in tokens:
            offsets.append(self._lengths.get(index, 0))
            self._lengths[index] = offsets[-1] + len(one["token"])
        return {
            "tokens": [one["token"] for one in tokens],
            "token_logprobs": [one["logprob"] for one in tokens],
            "top_logprobs": [{other["token"]: other["logprob"] for other in one["top"][: self._alternatives]} for one in tokens],
            "text_offset": offsets,
        }


def _entry(one: dict[str, Any]) -> dict[str, Any]:
    return {"token": one["token"], "logprob": one["logprob"], "bytes": list(one["token"].encode())}
