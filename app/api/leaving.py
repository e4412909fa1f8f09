"""An answer that nobody waits for any more is not worked on: noticed also before anything has been sent."""

from collections.abc import Awaitable
from typing import TypeVar

from anyio import create_task_group
from fastapi import Request

from app.errors import FettleError

T = TypeVar("T")


class Left(FettleError):
    """Whoever asked has closed the connection. The status is the one that proxies log; nobody reads it."""

    status = 499

    def __init__(self) -> None:
        super().__init__("client_left", "Whoever asked did not wait for the answer.")


async def while_here(http: Request, work: Awaitable[T]) -> T:
    """The work's value, if the client stays; its leaving cancels the work. Raises Left, and what the work raises. The body is read already."""
    found: list[T] = []
    failed: list[FettleError] = []

    async def do() -> None:
        try:
            found.append(await work)
        except FettleError as error:  # told as itself, not in a group
            failed.append(error)
        group.cancel_scope.cancel()

    async with create_task_group() as group:
        group.start_soon(do)
        while (await http.receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()
    if failed:
        raise failed[0]
    if not found:
        raise Left
    return found[0]
