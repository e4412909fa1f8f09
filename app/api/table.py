"""/api/v1/generate/table: several columns over several inputs in one stream. A browser opens six connections to a server and no more; so many cells need one."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import Field

from app.api import generate, shapes
from app.api.generate import NewGeneration
from app.doors import Person
from app.errors import FettleError, Invalid

router = APIRouter(prefix="/generate")

AT_ONCE = 8
"""Cells of one table that are asked for at the same time: half of what the engine process answers at once, so that others get their turn."""

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
async def create(person: Person, body: NewTable, http: Request) -> StreamingResponse:
    """The events of POST /api/v1/generate, each with the id `column:input` of its cell. A cell that fails ends in its own `error`; the others go on."""
    return EventSourceResponse(_together(person, body, body.wanted(), http), headers={"X-Accel-Buffering": "no"})


async def _together(person: Person, body: NewTable, cells: list[tuple[int, int]], http: Request) -> AsyncIterator[bytes]:
    blocks: asyncio.Queue[bytes | None] = asyncio.Queue()
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(column: int, row: int) -> None:
        mark = f"id: {column}:{row}\n".encode()
        async with places:
            try:
                answer: Any = await generate.create(person, body.request(column, row), http)
                async for block in answer.body_iterator:
                    blocks.put_nowait(mark + block)
            except FettleError as error:
                blocks.put_nowait(mark + format_sse_event(event="error", data_str=json.dumps({"error": error.as_dict()})))

    tasks = [asyncio.create_task(ask(*cell)) for cell in cells]
    every = asyncio.gather(*tasks, return_exceptions=True)
    every.add_done_callback(lambda _: blocks.put_nowait(None))
    try:
        while (block := await blocks.get()) is not None:
            yield block
        for task in tasks:
            task.result()  # what nobody foresaw breaks the stream, and is logged
    finally:  # the client may be gone: each cell tells its engine
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
