"""The socket under every remote request: the name is resolved once, every address is checked, and the connection goes to the one that was checked.

Nothing is taken from the environment (no proxy, no OPENAI_ variable), no redirect is followed, only known headers leave, and an answer ends at a
number of bytes. Time is the client's matter: it puts one limit around the whole request.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Iterable
from functools import lru_cache
from typing import Any

import httpcore2
import httpx2

from app.errors import Invalid
from app.remote import address as addresses
from app.remote.address import Address
from app.remote.spec import RemoteError

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
BODY_BYTES = 10 * 2**20
TRIED = 3
"""Addresses of one name that are tried in turn."""

SENT = {"host", "content-type", "content-length", "transfer-encoding", "accept", "connection"}
"""Request headers that leave; the key is added from the spec. The SDK would also send what it finds in the environment."""


@lru_cache
def _certificates() -> ssl.SSLContext:
    """Read once a process: it takes longer than many a request."""
    return httpx2.create_ssl_context(trust_env=False)


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to one endpoint's checked addresses and nowhere else."""

    def __init__(self, address: Address, allowed: tuple[str, ...]) -> None:
        self._address, self._allowed, self._plain = address, allowed, httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 httpcore2's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        if (host.strip("[]"), port) != (self._address.host, self._address.port):
            raise RemoteError("elsewhere", "The request would have left for another host.", "Nothing was sent.")
        try:
            found = await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM), CONNECT_SECONDS)
        except (OSError, TimeoutError) as error:
            raise RemoteError("no_such_host", f"The name {self._address.host} cannot be resolved.", "Check the address, and this machine's DNS.") from error
        ips = addresses.addresses(found)
        try:
            addresses.check(self._address, ips, self._allowed)
        except Invalid as refused:
            raise RemoteError(refused.code, refused.message, refused.advice) from refused
        problem: httpcore2.NetworkError | httpcore2.TimeoutException | None = None
        for ip in ips[:TRIED]:
            try:
                return await self._plain.connect_tcp(str(ip), port, timeout, local_address, socket_options)
            except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
                problem = error
        assert problem is not None  # noqa: S101 there was at least one address
        raise problem


class Transport(httpx2.AsyncHTTPTransport):
    """httpx2's transport over the pinned backend, with the headers that leave and the bytes that come back held to what is expected."""

    def __init__(self, address: Address, key: str | None, allowed: tuple[str, ...], connections: int, more: Collection[str] = ()) -> None:
        super().__init__(verify=_certificates(), trust_env=False)
        self._sent = SENT | {*more}
        self._address = address
        self._key = key
        self._pool = httpcore2.AsyncConnectionPool(ssl_context=_certificates(), max_connections=connections, network_backend=PinnedBackend(address, allowed))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        kept = [(name, value) for name, value in request.headers.items() if name.lower() in self._sent]
        request.headers = httpx2.Headers([*kept, ("accept-encoding", "identity"), ("user-agent", "Fettle")])
        if self._key:
            request.headers["authorization"] = f"Bearer {self._key}"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise RemoteError("compressed", "The endpoint sent a compressed answer that nobody asked for.", "Turn compression off at the server.")
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 an asynchronous transport gives nothing else
        response.stream = _Bounded(response.stream)
        return response


class Broken(httpx2.ReadError):
    """The connection was lost when the answer's head had come: the request has reached a model server, and may be paid for."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error at BODY_BYTES."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        try:
            async for chunk in self._inner:
                total += len(chunk)
                if total > BODY_BYTES:
                    raise RemoteError(
                        "answer_too_large", f"The endpoint sent more than {BODY_BYTES // 2**20} MB.", "Check that the address is that of a model server."
                    )
                yield chunk
        except (httpx2.NetworkError, httpx2.ProtocolError) as error:
            raise Broken(str(error)) from error

    async def aclose(self) -> None:
        await self._inner.aclose()


def http_client(address: Address, key: str | None, allowed: tuple[str, ...], connections: int, more: Collection[str] = ()) -> httpx2.AsyncClient:
    """The HTTP client that the SDK is given. `more` are headers that leave besides the usual ones."""
    timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    transport = Transport(address, key, allowed, connections, more)
    return httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)
