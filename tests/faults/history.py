"""What a generated run said and saw, and the checks that nothing in it was taken back later."""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

HOLDS = {
    "succeeded": {"succeeded"},
    "failed": {"failed"},
    "cancelled": {"cancelled"},
    "stopping": {"stopping", "cancelled", "failed"},
    "running": {"running", "stopping", "queued", "succeeded", "failed", "cancelled"},
    "queued": {"running", "stopping", "queued", "succeeded", "failed", "cancelled"},
}
"""What a job may be seen as after it was seen as something, without anybody having retried it between."""


@dataclass(frozen=True)
class Call:
    """One call with its answer: when it was sent, when it was answered, who asked for what about which thing."""

    sent: float
    answered: float
    who: str
    what: str
    thing: str
    status: int
    answer: Any

    def __str__(self) -> str:
        said = self.answer
        if isinstance(said, dict):
            said = {name: said[name] for name in ("id", "state", "attempt", "error") if name in said}
        return f"{self.sent:7.2f}-{self.answered:7.2f} {self.who:8} {self.what} {self.thing}: {self.status} {str(said)[:160]}"


@dataclass
class History:
    """Every call of every person and every strike, in the order of their answers."""

    began: float = field(default_factory=time.monotonic)
    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        return time.monotonic() - self.began

    def add(self, sent: float, who: str, what: str, thing: str, status: int, answer: Any) -> None:
        with self._lock:
            self.calls.append(Call(sent, self.now(), who, what, thing, status, answer))

    def end(self, lines: int = 60) -> str:
        """What was said, asked and struck last."""
        return "\n".join(map(str, self.calls[-lines:]))

    def contradictions(self, gone: Collection[str] = ()) -> Iterator[str]:
        """Answers that another answer took back; `gone` are things that went with what somebody deleted."""
        by_thing: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            by_thing[call.thing].append(call)
        for thing, calls in by_thing.items():
            if thing.startswith("job"):
                yield from _states(calls)
            if thing.startswith(("job", "dataset")) and thing not in gone:
                yield from _existence(calls)
        yield from (f"answered with an error of its own: {call}" for call in self.calls if call.status == 500)


def _states(calls: list[Call]) -> Iterator[str]:
    seen = [call for call in calls if call.status in (200, 202) and isinstance(call.answer, dict) and call.answer.get("state") in HOLDS]
    retries = [call for call in calls if call.what == "retry" and call.status in (0, 202)]
    for one in seen:
        for later in seen:
            if later.sent <= one.answered or later.answer["state"] in HOLDS[one.answer["state"]]:
                continue
            between = [retry for retry in retries if retry.answered >= one.sent and retry.sent <= later.answered]
            if one.answer["state"] == "succeeded" or not between:
                yield f"first {one}\nthen  {later}"
        for later in seen:
            if later.sent > one.answered and later.answer.get("attempt", 0) < one.answer.get("attempt", 0):
                yield f"an attempt was taken back: {one}\nthen  {later}"


def _existence(calls: list[Call]) -> Iterator[str]:
    there = [call for call in calls if call.status in (200, 201, 202) and call.what != "delete"]
    deleted = [call for call in calls if call.what == "delete" and call.status in (0, 204)]
    for call in calls:
        if call.status == 404 and any(one.answered < call.sent for one in there) and not any(gone.sent < call.answered for gone in deleted):
            yield f"it was there, nobody deleted it, and it is gone: {call}"
    for gone in deleted:
        if gone.status == 204:
            yield from (f"deleted by {gone}, and yet: {call}" for call in there if call.sent > gone.answered)
