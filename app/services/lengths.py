"""How long texts are in tokens of a model: the engine process counts, with the tokenizer that the model will read them with."""

import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, cast

from anyio import to_thread

from app import queue
from app.db import reading
from app.domain import model as models
from app.domain import worker as workers
from app.domain.access import Who, read
from app.domain.model import Model
from app.domain.upload import Upload
from app.errors import Invalid, Unavailable
from app.readers import Example
from app.readers.frames import Chunk
from app.readers.parent import read_file
from app.services.generate import Request, events
from app.services.upload_files import options_of, place

FIRST_ROWS = 1_000
"""Rows of an upload that are counted while a person looks on; a dataset's are all counted, in the background."""

AT_ONCE = 1_000
"""Texts in one request to the engine process."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of inputs and outputs: {median, p95, most} each; `outputs` none where there is no output."""

    model: str
    rows: int
    inputs: dict[str, int]
    outputs: dict[str, int] | None


def summary(counted: Counter[int]) -> dict[str, int]:
    """The median, the 95th percentile and the greatest of counted lengths."""
    total, seen, found = counted.total(), 0, {"median": 0, "p95": 0, "most": 0}
    for length, count in sorted(counted.items()):
        for name, share in (("median", 0.5), ("p95", 0.95)):
            if seen < share * total <= seen + count:
                found[name] = length
        seen += count
        found["most"] = length
    return found


def engine_answers() -> bool:
    with reading() as session:
        return bool(workers.alive(session, "interactive"))


async def count(model: Model, texts: Sequence[str]) -> list[int]:
    """Tokens of each text. Raises Unavailable when the engine process does not answer."""
    return (await counted(model, texts))[0]


async def counted(model: Model, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Tokens of each text, and how many of them the model does not know. Raises Unavailable as `count` does."""
    found: list[int] = []
    unknown: list[int] = []
    for start in range(0, len(texts), AT_ONCE):
        answer = await _asked(model, texts[start : start + AT_ONCE])
        found += answer.get("lengths", [])
        unknown += answer.get("unknown", [])
    return found, unknown


async def window(model: Model) -> int:
    """The tokens that a model takes at once. Raises Unavailable as `count` does."""
    return int((await _asked(model, []))["window"])


async def _asked(model: Model, texts: Sequence[str]) -> dict[str, Any]:
    """The engine's answer about some texts."""
    request, found = Request(secrets.token_urlsafe(16), model), dict[str, Any]()
    await to_thread.run_sync(queue.ask_engine, request.id, {"model": model.id, "texts": list(texts)})
    async with aclosing(cast("AsyncGenerator[dict[str, Any]]", events(request))) as stream:
        async for event in stream:
            found |= event
    return found


async def of_upload(person: Who, key: int, model: str) -> Lengths:
    """The first rows of an upload in tokens of a model. Raises NotFound, Invalid and Unavailable."""
    chosen, examples = await to_thread.run_sync(_first_rows, person, key, model)
    inputs = Counter(await count(chosen, [example.input for example in examples]))
    outputs = Counter(await count(chosen, [example.output for example in examples if example.output is not None]))
    return Lengths(chosen.name, len(examples), summary(inputs), summary(outputs) if outputs else None)


def _first_rows(person: Who, key: int, model: str) -> tuple[Model, list[Example]]:
    with reading() as session:
        upload = read(session, person, Upload, key, "upload")
    with reading() as session:
        chosen = models.find(session, person, model)
    if not engine_answers():
        raise Unavailable("engine_away", "Tokens are counted by the engine process, which is not running.", "Start it: `fettle engine` (or `fettle up`).")
    found: list[Example] = []
    with closing(read_file(place(upload.file), options=options_of(upload.options))) as frames:
        for frame in frames:
            found += frame.examples if isinstance(frame, Chunk) else []
            if len(found) >= FIRST_ROWS:
                break
    if not found:
        raise Invalid("no_rows", "There are no rows to count yet.", "Choose the input column first.")
    return chosen, found[:FIRST_ROWS]


def summed(counted: Iterable[tuple[int, int]]) -> dict[str, int]:
    """The summary of merged lengths."""
    return summary(Counter(dict(counted)))


def merged(before: Iterable[tuple[int, int]], lengths: Iterable[int]) -> list[tuple[int, int]]:
    """Counted lengths [(length, count), ...] with more of them: what a chore keeps while it runs."""
    counted = Counter(dict(before))
    counted.update(lengths)
    return sorted(counted.items())
