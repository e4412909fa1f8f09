"""What the scheduler is asked, and how an asker is told what comes of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.domain.generation import Parameters
from app.domain.rendering import Rendered
from worker.engine.generate import Delta, Finish, Prompt
from worker.engine.writing import Logprob

Sink = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class ServeRequest:
    """What to answer and with which model: `model` is its key, the same for every request that may share its weights."""

    model: str
    folder: Path
    adapter: Path | None
    rendered: Rendered
    parameters: Parameters


@dataclass(frozen=True)
class ScoreRequest:
    """Prompts to find the likelihood of each label for, with which model."""

    model: str
    folder: Path
    adapter: Path | None
    prompts: tuple[Rendered, ...]
    labels: tuple[str, ...]


@dataclass(eq=False)
class Client:
    """One request, and whoever waits for its answers."""

    request: ServeRequest | ScoreRequest
    sink: Sink
    cancelled: Callable[[], bool]
    prompt: Prompt | None = None
    """The prompt once it is encoded."""
    answered: bool = False
    gone: bool = False
    """Its sink failed: nobody reads the answer any more."""
    finishes: dict[int, Finish] = field(default_factory=dict)
    left: int = 0
    """Answers that have not ended."""
    notice: Mapping[str, Any] | None = None
    told: float = 0.0
    """What it was told last about where its answer is made, and when (monotonic seconds)."""

    def __post_init__(self) -> None:
        self.left = self.answers

    @property
    def answers(self) -> int:
        """How many rows of a batch its answers take."""
        return self.request.parameters.n if isinstance(self.request, ServeRequest) else 1

    def token(self, delta: Delta) -> dict[str, Any]:
        """The event of new text; `index` says of which answer where there are several."""
        event: dict[str, Any] = {"type": "token", "text": delta.text}
        if self.answers > 1:
            event["index"] = delta.index
        if delta.logprobs:
            event["logprobs"] = [_logprob(one) for one in delta.logprobs]
        return event

    def finished(self, index: int, finish: Finish) -> dict[str, Any] | None:
        """The last event, once every answer has ended: the first one's reason, the prompt counted once, the tokens of all."""
        self.finishes[index] = finish
        if len(self.finishes) < self.answers and finish.reason != "cancelled":
            return None
        every = [self.finishes[at] for at in sorted(self.finishes)]
        event = {"type": "done", **asdict(every[0])}
        if self.answers == 1:
            return event
        answers = [{"index": at, "reason": one.reason, "output_tokens": one.output_tokens} for at, one in sorted(self.finishes.items())]
        total = sum(one.output_tokens for one in every)
        return {**event, "output_tokens": total, "latency_ms": max(one.latency_ms for one in every), "answers": answers}


def _logprob(one: Logprob) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob, "top": [{"token": token, "logprob": value} for token, value in one.top]}
