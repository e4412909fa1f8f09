"""/api/v1/generate/table: several columns over several inputs in one stream. A browser opens six connections to a server and no more; so many cells need one."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import Field

from app.api import generate, shapes
from app.api.generate import NewGeneration
from app.domain.access import Who
from app.doors import Person
from app.errors import FettleError, Invalid, NotFound
from app.services import generate as generating
from app.services import models, notebook
from app.services.to_the_end import or_undone

router = APIRouter(prefix="/generate")

AT_ONCE = 8
"""Cells of one table that an endpoint, or the engine process, is asked for at the same time: half of what that one answers at once, so that others get their turn."""

DROPPED = {"type": "done", "reason": "cancelled", "input_tokens": 0, "output_tokens": 0, "latency_ms": 0.0, "cost": 0.0}
"""The end of a cell that was stopped while it still waited."""

MOST_COLUMNS = 6
MOST_INPUTS = 100


class NewTable(shapes.Body):
    """Each column is a generation without its variables, each input the variables of one row; a cell's ticket is its column's with `:column:input` behind. `cells` are (column, input); all of them unless said."""

    columns: list[NewGeneration] = Field(min_length=1, max_length=MOST_COLUMNS)
    inputs: list[dict[str, str]] = Field(min_length=1, max_length=MOST_INPUTS)
    cells: list[tuple[int, int]] | None = Field(None, max_length=MOST_COLUMNS * MOST_INPUTS)

    def wanted(self) -> list[tuple[int, int]]:
        """The cells in the order they are asked for: input by input. Raises Invalid for one that is not there."""
        given = [(column, row) for row in range(len(self.inputs)) for column in range(len(self.columns))] if self.cells is None else self.cells
        outside = next(((column, row) for column, row in given if not (0 <= column < len(self.columns) and 0 <= row < len(self.inputs))), None)
        if outside is not None:
            raise Invalid("no_such_cell", f"There is no cell {outside[0]}:{outside[1]}.", "Cells are [column, input], both counted from 0.")
        return list(dict.fromkeys(given))

    def request(self, column: int, row: int) -> NewGeneration:
        given = self.columns[column]
        ticket = given.ticket and f"{given.ticket}:{column}:{row}"
        return given.model_copy(update={"variables": {**given.variables, **self.inputs[row]}, "stream": True, "ticket": ticket})


@router.post("/table", response_model=None)
async def create(person: Person, body: NewTable) -> StreamingResponse:
    """The events of POST /api/v1/generate, each with the id `column:input` of its cell. A cell that fails ends in its own `error`; the others go on."""
    places = await to_thread.run_sync(_places, person, body.columns)
    return EventSourceResponse(_together(person, body, body.wanted(), places), headers={"X-Accel-Buffering": "no"})


class Columns(shapes.Body):
    columns: list[int] = Field(min_length=1, max_length=MOST_COLUMNS)


@router.post("/table/{ticket}/stop", status_code=204)
def stop(person: Person, ticket: str, body: Columns) -> None:
    """End columns of a table that runs, by their ticket: cells that still wait end as `cancelled`, without a request. A cell that is asked is stopped by its request."""
    generating.stop_columns(person, ticket, body.columns)


def _places(person: Who, columns: Sequence[NewGeneration]) -> list[asyncio.Semaphore]:
    """For each column the places that its cells take. What runs here shares them; who waits at an endpoint that does not answer holds nobody else up."""
    here = asyncio.Semaphore(AT_ONCE)
    return [asyncio.Semaphore(AT_ONCE) if _elsewhere(person, column.model) else here for column in columns]


def _elsewhere(person: Who, model: int | str) -> bool:
    try:
        return models.find(person, model).model.remote
    except NotFound:  # its cells say so
        return True


def _mark(column: int, row: int) -> bytes:
    return f"id: {column}:{row}\n".encode()


async def _together(person: Who, body: NewTable, cells: list[tuple[int, int]], places: list[asyncio.Semaphore]) -> AsyncIterator[bytes]:
    blocks: asyncio.Queue[bytes | None] = asyncio.Queue()
    waiting = set(cells)

    async def ask(column: int, row: int) -> None:
        ticket = body.columns[column].ticket
        async with places[column]:
            # A place that a stopped cell gives back is nobody's of the same column, however soon that is.
            if ticket is not None and await to_thread.run_sync(generating.stopped, person, ticket, column):
                drop([(column, row)])
                return
            waiting.discard((column, row))
            try:
                # Whoever leaves in this moment would leave an answer behind that nobody reads.
                request, entry = await or_undone(generate.accepted(person, body.request(column, row)), generate.left)
                # Told before anything else has come, so that it can be stopped: the status of a table hangs on no cell.
                async for block in generate.stream(request.id, notebook.recorded(entry, generating.events(request))):
                    blocks.put_nowait(_mark(column, row) + block)
            except FettleError as error:
                blocks.put_nowait(_mark(column, row) + format_sse_event(event="error", data_str=json.dumps({"error": error.as_dict()})))

    def drop(stopped: list[tuple[int, int]]) -> None:
        for cell in waiting.intersection(stopped):
            waiting.discard(cell)
            blocks.put_nowait(_mark(*cell) + generate.encode(DROPPED))

    async def watch(column: int, ticket: str) -> None:
        await generating.until_stopped(person, ticket, column)
        left = [cell for cell in cells if cell in waiting and cell[0] == column]
        for cell in left:
            asking[cell].cancel()
        drop(left)

    asking = {cell: asyncio.create_task(ask(*cell)) for cell in cells}
    watching = [asyncio.create_task(watch(at, column.ticket)) for at, column in enumerate(body.columns) if column.ticket]
    every = asyncio.gather(*asking.values(), return_exceptions=True)
    every.add_done_callback(lambda _: blocks.put_nowait(None))
    try:
        while (block := await blocks.get()) is not None:
            yield block
        for task in asking.values():
            if not task.cancelled():
                task.result()  # what nobody foresaw breaks the stream, and is logged
    finally:  # the client may be gone: each cell tells its engine
        for task in (*asking.values(), *watching):
            task.cancel()
        await asyncio.gather(*asking.values(), *watching, return_exceptions=True)
