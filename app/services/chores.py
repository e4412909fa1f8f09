"""Chores: what is worked out about a version after it was sealed, in the background. Called by the importing child.

Every chore walks over the rows in portions and writes down how far it is, so one that was killed goes on where it stood.
"""

import asyncio
import errno
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import chore as chores
from app.domain import dataset as datasets
from app.domain import finding as findings
from app.domain import model as models
from app.domain import text_search
from app.domain.access import Who
from app.domain.chore import Chore, Dropped
from app.domain.dataset import DatasetVersion, Example
from app.domain.model import Model
from app.domain.packed import packed, unpacked
from app.domain.splits import SPLITS
from app.errors import FettleError, Invalid, NoRoom, NotFound, Unavailable
from app.services import examination, lengths, likeness
from app.services.index_files import index_file, on_sqlite
from app.services.pulse import pulse

PORTION = 500
"""Rows taken at a time."""

CHARACTERS = 5_000_000
"""Or fewer, once they hold so much text."""

NEAR = 0.8
"""Of an examination that waits for near-duplicates, the share that they take."""

TOLD_SECONDS = 0.4
LOOK_SECONDS = 0.1


def run(key: int) -> Chore | None:
    """Do a chore, or go on with one that was cut off; the chore once it is done. Nothing, when somebody else has it or its version is gone."""
    with reading() as session:  # as in app/services/imports.py: the first look takes longer than a write may
        if session.get(Chore, key) is None:
            return None
    with transaction() as session:
        claimed = chores.claim(session, key)
        version = session.get(DatasetVersion, claimed[0].version_id) if claimed else None
    if claimed is None or version is None:
        return None
    work = Work(*claimed, version)
    try:
        with pulse(work.hold, Dropped):
            result = KINDS[work.chore.kind](work)
        work.hold(state="done", done=work.chore.total, result=result, lease_token=None)
        return work.chore
    except Dropped:
        return None
    except Unavailable:
        work.hold(attempt=0)  # left as it stands; once the lease is over somebody tries again
    except FettleError as error:
        work.hold(state="failed", error=error.as_dict(), lease_token=None)
    return None


def finish(version_id: int, kind: str) -> None:
    """Do a version's chore here and now, unless it is done; waits where somebody else is at it. One that fails stays failed."""
    while True:
        with reading() as session:
            chore = chores.find(session, version_id, kind)
        if chore is None:
            with transaction() as session:
                chores.again(session, version_id, kind, session.get_one(DatasetVersion, version_id).rows, {})
        elif chore.state in ("done", "failed"):
            return
        else:
            run(chore.id)
            time.sleep(LOOK_SECONDS if chore.state == "running" else 0)


class Work:
    """A chore in hand."""

    def __init__(self, chore: Chore, token: str, version: DatasetVersion) -> None:
        self.chore, self.version, self._token = chore, version, token
        self._due = 0.0

    def hold(self, **values: Any) -> None:
        """Write something down about it. Raises Dropped."""
        with transaction() as session:
            self.check(session, **values)

    @property
    def due(self) -> bool:
        """Whether it is time to say how far it is."""
        return time.monotonic() >= self._due

    def tell(self, done: int, **values: Any) -> None:
        """Say how far it is, a few times a second at most."""
        if self.due:
            self._due = time.monotonic() + TOLD_SECONDS
            self.hold(done=done, **values)

    def check(self, session: Session, **values: Any) -> None:
        """Hold it inside a transaction that writes for it. Raises Dropped."""
        chores.hold(session, self.chore.id, self._token, **values)

    def rows(self, split: str = "", after: int = -1) -> Iterator[Sequence[Row[Any]]]:
        """Portions of (id, position, split, input, output, cells), split by split, each in its order; from behind a place on."""
        columns = (Example.id, Example.position, Example.split, Example.input, Example.output, Example.cells)
        names = [name for name in SPLITS if name in self.version.splits]
        for name in names[names.index(split) if split in names else 0 :]:
            at = after if name == split else -1
            while True:
                query = select(*columns).where(Example.version_id == self.version.id, Example.split == name, Example.position > at)
                with reading() as session:
                    found = _bounded(session.execute(query.order_by(Example.position).limit(PORTION), execution_options={"yield_per": 20}))
                if not found:
                    break
                at = found[-1].position
                yield found


def _bounded(rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    """The first rows, fewer when they are long."""
    taken, size = [], 0
    for row in rows:
        taken.append(row)
        size += len(row.input) + sum(map(len, (row.cells or {}).values()))
        if size > CHARACTERS:
            break
    return taken


def _search(work: Work) -> dict[str, Any]:
    """Every word of every row into the version's index."""
    if on_sqlite():
        return _search_file(work, index_file(work.version))
    place = work.chore.result
    done = work.chore.done
    if not place:
        with transaction() as session:
            work.check(session)
            text_search.clear(session, work.version.id)  # what a try that failed has left would be there twice
    for found in work.rows(place.get("split", ""), place.get("after", -1)):
        entries = [(row.id, row.position, row.split, text_search.words_of(row.input, row.output, row.cells)) for row in found]
        done += len(found)
        with transaction() as session:
            work.check(session, done=done, result={"split": found[-1].split, "after": found[-1].position})
            text_search.add(session, work.version.id, entries)
    with transaction() as session:
        text_search.analyse(session)
    return {}


def _search_file(work: Work, file: text_search.File) -> dict[str, Any]:
    try:
        split, after, done = file.begin()
        for found in work.rows(split, after):
            done += len(found)
            entries = [(row.id, row.position, row.split, text_search.words_of(row.input, row.output, row.cells)) for row in found]
            file.add(entries, done)
            work.tell(done)
        file.finish()
    except (sqlite3.Error, OSError) as error:  # of its file alone: the database's own errors are SQLAlchemy's
        if "is full" in str(error) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom("The disk is full, and the index has no place on it.", "run it again") from error
        raise FettleError("index_file", f"The index's file could not be written: {error}.", "Run it again: the file is then made anew.") from error
    return {}


def _lengths(work: Work) -> dict[str, Any]:
    """Tokens of every input and output, for the model that was asked for, else the first one there is; `long` are the rows whose input alone is more than
    the model takes at once, by their ids, `strange` those of which it does not know more than half of the tokens."""
    kept = work.chore.result
    with reading() as session:
        query = select(Model).where(Model.workspace_id == work.version.workspace_id, Model.kind == "foundation").order_by(Model.id)
        model = session.get(Model, kept["model"]) if kept.get("model") else session.scalars(query).first()
    if model is None:
        return {}
    inputs, outputs = (list(kept.get(name, ())) for name in ("inputs", "outputs"))
    long, strange = (unpacked(kept.get(name, [])) for name in ("long", "strange"))  # they may be all rows
    done = work.chore.done
    window = asyncio.run(lengths.window(model))
    for found in work.rows(kept.get("split", ""), kept.get("after", -1)):
        counted, unknown = asyncio.run(lengths.counted(model, [row.input for row in found]))
        inputs = lengths.merged(inputs, counted)
        long += [row.id for row, tokens in zip(found, counted, strict=True) if tokens > window]
        strange += [row.id for row, tokens, lost in zip(found, counted, unknown, strict=True) if 2 * lost > tokens]
        outputs = lengths.merged(outputs, asyncio.run(lengths.count(model, [row.output for row in found if row.output is not None])))
        done += len(found)
        if work.due:
            rows = {"long": packed(long), "strange": packed(strange)}
            work.tell(done, result={"model": model.id, "inputs": inputs, "outputs": outputs, **rows, "split": found[-1].split, "after": found[-1].position})
    about = {"model": model.id, "name": model.name, "window": window, "long": packed(long), "strange": packed(strange), "rows": done}
    return {**about, "inputs": lengths.summed(inputs), "outputs": lengths.summed(outputs) if outputs else None}


def _health(work: Work) -> dict[str, Any]:
    """The examination, once it is known which rows say nearly the same."""
    with reading() as session:
        near = chores.find(session, work.version.id, "near_duplicates")
    waits = near is None or near.state not in ("done", "failed")
    result = work.chore.result or {"near": NEAR if waits else 0.0}  # one that goes on tells no smaller share than before
    work.hold(done=0, result=result)
    finish(work.version.id, "near_duplicates")
    examination.examine(work.version.id, lambda share: work.tell(int(share * work.chore.total)))
    return result


KINDS: dict[str, Callable[[Work], dict[str, Any]]] = {"search": _search, "near_duplicates": likeness.find, "lengths": _lengths, "health": _health}


def begin_lengths(person: Who, reference: int | str, model: int | str) -> None:
    """Count a version's tokens for another model. Raises NotFound, Invalid for a model that does not run here."""
    with transaction() as session:
        version, chosen = datasets.find(session, person, reference), models.find(session, person, model)
        if chosen.remote:
            raise Invalid("not_local", f"{chosen.name} answers at an endpoint, and its tokenizer is there.", "Choose a local model.")
        chores.again(session, version.id, "lengths", version.rows, {"model": chosen.id})


def run_again(person: Who, reference: int | str, kind: str) -> Chore:
    """Have a chore that failed done anew. One that runs, waits or is done is left as it is. Raises NotFound."""
    with transaction() as session:
        version = datasets.find(session, person, reference)
        chore = chores.find(session, version.id, kind)
        if chore is None:
            raise NotFound("background step", kind)
        if chore.state == "failed":
            if kind == "search" and on_sqlite():
                index_file(version).remove()  # what is wrong may be the file itself
            if kind == "near_duplicates":
                findings.forget(session, version.id)
            chores.again(session, version.id, kind, version.rows, {name: chore.result[name] for name in ("model",) if name in chore.result})
            session.refresh(chore)
        return chore
