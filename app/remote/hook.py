"""One signed message to a webhook, over the same pinned connection as every other remote request."""

import asyncio
from collections.abc import Mapping

import httpx2

from app.remote.address import Address
from app.remote.network import http_client
from app.remote.spec import RemoteError

SECONDS = 15.0
"""The whole of a try; whoever takes longer to accept a message is asked again later."""

HEADERS = {"webhook-id", "webhook-timestamp", "webhook-signature"}


async def _post(place: Address, headers: Mapping[str, str], body: bytes, allowed: tuple[str, ...]) -> int:
    given = {**headers, "content-type": "application/json"}
    async with (
        asyncio.timeout(SECONDS),
        http_client(place, None, allowed, connections=1, more=HEADERS) as client,
        client.stream("POST", place.url, content=body, headers=given) as answer,
    ):
        return answer.status_code  # its body is of no interest and is not read


def post(place: Address, headers: Mapping[str, str], body: bytes, allowed: tuple[str, ...]) -> int:
    """The status of the answer. Raises RemoteError when there is none, or when the place may not be asked."""
    try:
        return asyncio.run(_post(place, headers, body, allowed))
    except TimeoutError as error:
        raise RemoteError("too_slow", f"No answer within {SECONDS:.0f} s.", "") from error
    except httpx2.HTTPError as error:
        reason = error.__cause__ or error
        raise RemoteError("no_answer", f"No connection: {reason}." if str(reason) else "No connection.", "") from error
