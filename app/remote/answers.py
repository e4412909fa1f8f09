"""What an endpoint answers: texts, reasons, counts and log-probabilities out of the OpenAI protocol's shapes."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from openai.types import Completion
from openai.types.chat import ChatCompletion

from app.domain.generation import Parameters
from app.domain.rendering import Rendered
from app.remote import body, failures
from app.remote.spec import Answer, Delta, EndpointSpec, Logprob, Reason, RemoteError, Usage, estimated

Piece = Delta | Answer

WINDOWS = ("max_model_len", "context_length", "context_window")
"""What servers call the tokens that a model takes at once, in their list of models: vLLM, hosts of many models."""
MOST_TOKENS = 100_000_000
"""A window that is said to be larger is nonsense."""


class Reader:
    """Reads the answers to one prompt. Raises RemoteError when they are not what was asked for."""

    def __init__(self, spec: EndpointSpec, prompt: Rendered, parameters: Parameters) -> None:
        self._spec, self._prompt, self._parameters = spec, prompt, parameters
        self._texts: dict[int, str] = {}
        self._reasons: dict[int, str] = {}
        self._counted: Any = None

    @property
    def usage(self) -> Usage | None:
        """What was taken so far, as far as anybody knows; none while nothing came."""
        if self._counted is None and not any(self._texts.values()):
            return None
        return usage_of(self._counted, self._prompt.text, "".join(self._texts.values()))

    def whole(self, got: Completion | ChatCompletion) -> list[Piece]:
        """An answer that came at once, its log-probabilities before it."""
        found: list[Piece] = []
        self._counted = getattr(got, "usage", None)
        choices: Sequence[Any] = got.choices
        for at, choice in enumerate(choices):
            text = choice.message.content or "" if isinstance(got, ChatCompletion) else choice.text
            if not isinstance(text, str):
                raise failures.unlikely(self._spec)
            index = choice.index if isinstance(choice.index, int) else at
            self._texts[index], self._reasons[index] = text, choice.finish_reason
            found.append(Delta(self._shown(index, text), index, logprobs(choice)))
        return [*found, self._answer()]

    async def pieces(self, chunks: AsyncIterator[Any]) -> AsyncGenerator[Piece]:
        """Deltas with text in them, then the Answer. A stream that ends without a finish reason was broken off."""
        number = 0
        async for chunk in chunks:
            number += 1
            self._counted = getattr(chunk, "usage", None) or self._counted
            for choice in chunk.choices[: self._parameters.n]:
                index, delta = choice.index or 0, getattr(choice, "delta", None)
                if not 0 <= index < self._parameters.n:
                    raise failures.unlikely(self._spec)
                new = (delta.content if delta is not None else getattr(choice, "text", None)) or ""
                if choice.finish_reason:
                    self._reasons[index] = choice.finish_reason
                self._texts[index] = self._texts.get(index, "") + new
                if new and self._parameters.choices is None:
                    yield Delta(new, index, logprobs(choice))
        if not self._reasons or set(self._texts) - set(self._reasons):
            raise failures.broken(self._spec) if number else failures.unlikely(self._spec)
        if self._parameters.choices is not None:  # what comes is JSON around the choice, which nobody wants to see
            for index, text in self._texts.items():
                yield Delta(self._shown(index, text), index)
        yield self._answer()

    def _answer(self) -> Answer:
        """All of it. Raises RemoteError `constraint_ignored` when the endpoint did not hold an answer to what was asked."""
        if not self._texts:
            raise failures.unlikely(self._spec)
        usage = usage_of(self._counted, self._prompt.text, "".join(self._texts.values()))
        every = [(self._shown(index, text), reason_of(self._reasons.get(index))) for index, text in sorted(self._texts.items())]
        for index, (text, reason) in enumerate(every):
            if self._parameters.json_schema is not None and reason == "stop" and not body.is_json(text):
                raise _ignored(self._spec, "is no JSON")
            if self._parameters.choices is not None and reason == "stop" and text not in self._parameters.choices:
                raise _ignored(self._spec, f"{index + 1} is none of the choices" if len(every) > 1 else "is none of the choices")
        return Answer(*every[0], usage, 0.0, 0.0, 1, tuple(every[1:]))

    def _shown(self, index: int, text: str) -> str:
        """The text as it is shown: a choice without the JSON around it."""
        if self._parameters.choices is None:
            return text
        chosen = body.read_choice(text, self._parameters)
        if chosen is None and reason_of(self._reasons.get(index)) == "stop":
            raise _ignored(self._spec, "is none of the choices")
        return chosen if chosen is not None else text


def window_of(listed: Any) -> int | None:
    """The tokens that a listed model takes at once; None where the server does not say it."""
    found = (getattr(listed, name, None) for name in WINDOWS)
    return next((value for value in found if isinstance(value, int) and 0 < value <= MOST_TOKENS), None)


def _ignored(spec: EndpointSpec, what: str) -> RemoteError:
    return RemoteError(
        "constraint_ignored",
        f"{spec.name} did not hold its answer to what was asked: it {what}.",
        "It may not support response_format. Use another endpoint, or a model that runs here.",
    )


def logprobs(choice: Any) -> tuple[Logprob, ...]:
    """The log-probabilities of a choice's or delta's tokens, chat or raw text; none where the server says none."""
    found = getattr(choice, "logprobs", None)
    if found is None:
        return ()
    content = getattr(found, "content", None)
    if content is not None:
        return tuple(Logprob(one.token, float(one.logprob), tuple((other.token, float(other.logprob)) for other in one.top_logprobs or ())) for one in content)
    tops = getattr(found, "top_logprobs", None) or [{}] * len(getattr(found, "tokens", None) or ())
    rows = zip(found.tokens or (), found.token_logprobs or (), tops, strict=True)
    return tuple(Logprob(token, float(value), tuple((text, float(other)) for text, other in (top or {}).items())) for token, value, top in rows)


def reason_of(word: str | None) -> Reason:
    return "length" if word == "length" else "stop"


def usage_of(usage: Any, prompt: str, text: str) -> Usage:
    """The server's own counts where they make sense, else an estimate."""
    read, written = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if isinstance(read, int) and isinstance(written, int) and read >= 0 and written >= 0:
        return Usage(read, written)
    return estimated(prompt, text)
