"""Plain values in and out of a remote endpoint: where it is, what it may cost, what it answered."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.errors import FettleError

CHARACTERS_A_TOKEN = 4
"""What a token is reckoned as where a server does not count: nobody but the server has its tokenizer."""

BEHIND = 1
"""Tokens that are asked for behind an answer that is weighed: not every server takes max_tokens 0."""


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float


@dataclass(frozen=True)
class EndpointSpec:
    """One endpoint, ready to be asked. `url` ends before the route (`https://host/v1`); `allowed` are the private `host:port` it may be at.

    `time_out` is the most seconds one answer may take, retries included. `completions` says that it continues raw text.
    `redis` is where its running requests are counted.
    """

    id: int
    name: str
    url: str
    key: str | None = field(default=None, repr=False)
    allowed: tuple[str, ...] = ()
    concurrency: int = 4
    time_out: float = 60.0
    completions: bool = False
    redis: str = field(default="", repr=False)


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer as the server counted them; `estimated` when it did not and they follow from the characters."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens, self.estimated or other.estimated)

    def cost(self, price: Price | None) -> float | None:
        """US dollars; None without a price."""
        return None if price is None else (self.input_tokens * price.input + self.output_tokens * price.output) / 1e6


class RemoteError(FettleError):
    """An endpoint could not answer. The sentence never holds what the endpoint wrote; `again` says that another try may help, after `wait` seconds: only
    where nothing of an answer had come, because what has begun is paid for. `usage` is what was taken all the same, none where that is not known.
    """

    status = 502

    def __init__(self, code: str, message: str, advice: str = "", *, again: bool = False, wait: float | None = None, usage: Usage | None = None) -> None:
        super().__init__(code, message, advice)
        self.again, self.wait, self.usage = again, wait, usage


Reason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Logprob:
    """A token, the natural logarithm of its probability, and the likeliest tokens in its place with theirs."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Delta:
    """New text of one of the answers."""

    text: str
    index: int = 0
    logprobs: tuple[Logprob, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A whole answer. `latency_ms` is that of the try that succeeded, `waited_ms` what went by before it: a free slot, earlier tries.

    `others` are the texts and reasons of the further answers, where several were asked for; `usage` is that of all.
    """

    text: str
    reason: Reason
    usage: Usage
    latency_ms: float
    waited_ms: float
    tries: int
    others: tuple[tuple[str, Reason], ...] = ()


@dataclass
class Trying:
    """A request under way, for whoever leaves it early: since when (by the event loop's clock), which try runs, when that was sent (None while it waits
    for a place), and what went by before."""

    began: float
    sent: float | None = None
    waited_ms: float = 0.0
    tries: int = 0


@dataclass(frozen=True)
class Probe:
    """What a test of an endpoint found. `reason` says why likelihood is off, in a sentence; "" when it is on."""

    models: tuple[str, ...]
    model: str
    chat: bool
    completions: bool
    likelihood: bool
    reason: str
    latency_ms: float
    windows: Mapping[str, int] = field(default_factory=dict)
    """The tokens that models take at once, where the server lists that."""


def estimated(prompt: str, text: str) -> Usage:
    """Token counts from the characters."""
    return Usage(-(-len(prompt) // CHARACTERS_A_TOKEN), -(-len(text) // CHARACTERS_A_TOKEN), estimated=True)


def weighing(prompt: float, answers: Sequence[str]) -> tuple[float, int]:
    """(characters read, tokens written) for the likelihoods of answers after a prompt of so many characters: it is sent, and paid for, with each of them."""
    return len(answers) * prompt + sum(map(len, answers)), len(answers) * BEHIND


def price_of(prices: Mapping[str, Mapping[str, float]], model: str) -> Price | None:
    """The price of a model: its own, else that of `*`."""
    found = prices.get(model) or prices.get("*")
    return Price(float(found["input"]), float(found["output"])) if found else None


TRIES = 4
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0


def pause(tries: int, asked: float | None) -> float:
    """Seconds before the next try: what the server asked for, else 0.5, 1, 2 ... at most 20; either way up to a quarter more, so that waiters part."""
    base = asked if asked is not None else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1))
    return base * (1 + random.random() / 4)  # noqa: S311 spreads retries, hides nothing
