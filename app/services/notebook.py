"""The notebook: a run is written down when it ends, however it ends: finished, stopped, failed, or left by a closed tab."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import astuple, dataclass, field, fields
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import undefer

from app.db import reading, transaction
from app.domain import notebook
from app.domain.access import Who, mine, own, owned, page
from app.domain.generation import Parameters
from app.domain.model import Model
from app.domain.notebook import Run
from app.errors import FettleError
from app.services import prompts
from app.services.likelihoods import Weighed
from app.services.to_the_end import to_the_end
from app.settings import settings

BETWEEN = "\n\n———\n\n"
"""Between the answers of a run that asked for several."""


@dataclass
class Entry:
    """A run that goes on: what was asked, and what has come back so far. `tokens` are the texts by their tokens, as `notebook.spelled` has them."""

    person: Who
    session: str
    model: Model
    fields: Mapping[str, Any]
    prompt_version: str | None
    variables: Mapping[str, str]
    parameters: Mapping[str, Any]
    ticket: str
    texts: dict[int, str] = field(default_factory=dict)
    tokens: dict[int, list[list[Any]]] = field(default_factory=dict)
    done: Mapping[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    written: bool = False

    def take(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "token":
            self.add(event.get("index", 0), event["text"], event.get("logprobs", ()))
        elif event["type"] == "done":
            self.done = event
            self.texts = {one["index"]: "" for one in event.get("answers", ())} | self.texts

    def add(self, index: int, text: str, logprobs: Sequence[Mapping[str, Any]]) -> None:
        """A piece of one of its texts, or all of it."""
        self.texts[index] = self.texts.get(index, "") + notebook.keepable(text)
        self.tokens.setdefault(index, []).extend(notebook.spelled(text, logprobs))

    def write(self) -> None:
        """One row, once. Without an end (the asker left) the reason is cancelled, and what it took is not known; a run that failed says what it took all the
        same where that is known."""
        if self.written:
            return
        took = self.done or (self.error or {}).get("took", {})
        told = {one: took.get(one) for one in ("input_tokens", "output_tokens", "latency_ms", "cost")}
        reason = "failed" if self.error else str(self.done.get("reason", "cancelled"))
        asked = {"prompt_version": self.prompt_version, "prompt": dict(self.fields), "variables": dict(self.variables), "parameters": dict(self.parameters)}
        texts = [text for _, text in sorted(self.texts.items())]
        output: dict[str, Any] = {"output": BETWEEN.join(texts), "texts": texts if self.parameters.get("n", 1) > 1 else None}
        output["logprobs"] = [self.tokens.get(index, []) for index in sorted(self.texts)] if self.parameters.get("logprobs") else None
        with transaction() as session:
            there = session.get(Model, self.model.id) is not None
            about = {"session": self.session, "ticket": self.ticket, "model_id": self.model.id if there else None, "model_name": self.model.shown}
            session.add(Run(**owned(self.person), **about, **asked, **output, reason=reason, error=self.error, **told))
            session.flush()
            notebook.trim(session, self.person, settings().notebook_runs)
        self.written = True


def begin(
    person: Who,
    session: str | None,
    model: Model,
    fields: Mapping[str, Any],
    prompt_version: int | str | None,
    variables: Mapping[str, str],
    parameters: Parameters | None,
    ticket: str | None = None,
) -> Entry | None:
    """An entry for a run of the Lab; none for one that belongs to no session. An alias is fixed to the version it names now, and who gives no ticket gets one."""
    if not session:
        return None
    version = prompts.find(person, prompt_version)[1].reference if prompt_version is not None else None
    chosen = fields.get("parameters") or {} if parameters is None else parameters.model_dump(exclude_defaults=True)
    wording = {name: value for name, value in fields.items() if name != "parameters"}
    return Entry(person, session, model, wording, version, variables, chosen, ticket or secrets.token_urlsafe(9))


def recorded(entry: Entry | None, events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """The same events, written down when they end: whoever is told of the end finds the run."""
    return events if entry is None else _recorded(entry, events)


async def _recorded(entry: Entry, events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    try:
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                entry.take(event)
                if event["type"] == "done":
                    await to_the_end(asyncio.to_thread(entry.write))
                yield event
    except FettleError as error:
        entry.error = error.as_dict()
        raise
    finally:
        await to_the_end(asyncio.to_thread(entry.write))


async def noted(entry: Entry | None, answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """The same for an answer that comes whole."""
    if entry is None:
        return await answer
    try:
        whole = await answer
        entry.done, several = whole, "texts" in whole
        logprobs = whole.get("logprobs", [])
        for index, text in enumerate(whole["texts"] if several else [whole["text"]]):
            entry.add(index, text, (logprobs[index] if logprobs else []) if several else logprobs)
    except FettleError as error:
        entry.error = error.as_dict()
        raise
    finally:
        await to_the_end(asyncio.to_thread(entry.write))
    return whole


@dataclass(frozen=True)
class Book:
    """One page of a person's notebook, newest first; the models and how many runs there are in all of it."""

    runs: list[Run]
    following: int | None
    models: list[str]
    total: int
    kept: int


def look(person: Who, session: str | None = None, model: str | None = None, after: int | None = None, limit: int = 50) -> Book:
    """Runs, of one session or one model (by its name) perhaps."""
    with reading() as db:
        query = mine(person, Run)
        query = query.where(Run.session == session) if session else query
        query = query.where(Run.model_name == model) if model else query
        rows, following = page(db, query, Run, after, limit)
        everything = select(Run.model_name, func.count()).where(Run.author_id == person.user_id).group_by(Run.model_name).order_by(Run.model_name)
        counts = db.execute(everything).all()
        return Book(list(rows), following, [name for name, _ in counts], sum(count for _, count in counts), settings().notebook_runs)


def answered(person: Who, tickets: Collection[str]) -> list[Run]:
    """One's own runs that these tickets were given to. A run that goes on is not written down yet."""
    with reading() as session:
        large = undefer(Run.logprobs), undefer(Run.labels)
        return list(session.scalars(mine(person, Run).where(Run.ticket.in_(tickets)).order_by(Run.id).options(*large)))


def find(person: Who, key: int) -> Run:
    """One run with all of it, `logprobs` and `labels` too."""
    with reading() as session:
        row = own(session, person, Run, key, "run")
        session.refresh(row, ["logprobs", "labels"])
        return row


def weighed(person: Who, ticket: str, labels: Sequence[Weighed], took: Mapping[str, Any] | None) -> None:
    """Keep how likely each label was after the request of one's run of this ticket; the newest, where it was used again. Nothing where there is none.

    `took` is what an endpoint took for it; without labels that is all there is to keep.
    """
    rows = [[round(value, 6) if isinstance(value, float) else value for value in astuple(one)] for one in labels]
    with transaction() as session:
        run = session.scalars(mine(person, Run).where(Run.ticket == ticket).order_by(Run.id.desc()).limit(1)).first()
        if run is not None:
            run.labels = rows or run.labels
            run.weighing = notebook.together(run.weighing, took)


def labels_of(run: Run) -> list[dict[str, Any]] | None:
    """The labels that were weighed after a run, as they were told then; none when nobody asked."""
    names = [one.name for one in fields(Weighed)]
    return run.labels and [dict(zip(names, row, strict=True)) for row in run.labels]


def logprobs_of(run: Run) -> list[list[dict[str, Any]]] | None:
    """The tokens of each text of a run, as they were streamed; none when they were not asked for."""
    return run.logprobs and [notebook.told(tokens) for tokens in run.logprobs]


def remove(person: Who, key: int) -> None:
    with transaction() as session:
        session.delete(own(session, person, Run, key, "run"))


def clear(person: Who, session: str | None = None) -> int:
    """Delete a session, or all of the notebook. Returns how many runs went."""
    with transaction() as db:
        query = delete(Run).where(Run.author_id == person.user_id)
        gone = db.execute(query.where(Run.session == session) if session else query)
        return int(gone.rowcount)  # type: ignore[attr-defined]
