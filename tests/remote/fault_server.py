"""A server that does everything wrong, each way at a path of its own: `python -m tests.remote.fault_server PORT`.

The first part of the path names the fault (`/stall/v1/models`). `/log` tells every request that came, with its headers; `/mend` makes `/ill` well.
"""

import asyncio
import gzip
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

Writer = asyncio.StreamWriter
log: list[dict[str, object]] = []
counts: Counter[str] = Counter()
SECRET = "the-internal-page-says-hunter2"

ANSWER = json.dumps(
    {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "fine"}}],
     "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}
).encode()  # fmt: skip
CHUNK = b'data: {"id":"x","object":"c","created":0,"model":"m","choices":[{"index":0,"delta":{"content":"so "},"finish_reason":null}]}\n\n'


def head(status: int = 200, length: int | None = None, kind: str = "application/json", more: str = "") -> bytes:
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{size}{more}Connection: close\r\n\r\n".encode()


def whole(body: bytes, status: int = 200, kind: str = "application/json", more: str = "") -> bytes:
    return head(status, len(body), kind, more) + body


async def stall(writer: Writer) -> None:
    await asyncio.sleep(3600)


async def drip(writer: Writer) -> None:
    for byte in whole(ANSWER):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.5)


async def drop(writer: Writer) -> None:
    writer.transport.abort()


async def short(writer: Writer) -> None:
    """Announces more than it sends."""
    writer.write(head(200, len(ANSWER) + 100) + ANSWER)


async def long(writer: Writer) -> None:
    """Sends more than it announces."""
    writer.write(head(200, len(ANSWER) - 40) + ANSWER)


async def garbage(writer: Writer) -> None:
    writer.write(whole(b"\x00\xff\xfe{{{ no json"))


async def html(writer: Writer) -> None:
    writer.write(whole(f"<html>{SECRET}</html>".encode(), kind="text/html"))


async def shape(writer: Writer) -> None:
    writer.write(whole(b'{"hello": ["world"]}'))


async def noise(writer: Writer) -> None:
    """Not HTTP at all."""
    writer.write(b"\x16\x03\x01 SSH-2.0-nothing\r\n\r\n" * 10)


async def bomb(writer: Writer) -> None:
    writer.write(whole(gzip.compress(b"0" * 50_000_000), more="Content-Encoding: gzip\r\n"))


async def headers(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        writer.write(f"X-{number}: {'a' * 500_000}\r\n".encode())
        await writer.drain()


async def big(writer: Writer) -> None:
    writer.write(head(200))
    for _ in range(10_000):
        writer.write(b" " * 1_000_000)
        await writer.drain()


async def endless(writer: Writer) -> None:
    """A stream of events that never ends."""
    writer.write(head(200, kind="text/event-stream"))
    while True:
        writer.write(CHUNK)
        await writer.drain()
        await asyncio.sleep(0.05)


async def half(writer: Writer) -> None:
    """Two deltas, then nothing more, without an end."""
    writer.write(head(200, kind="text/event-stream") + CHUNK + CHUNK)


async def mad(writer: Writer) -> None:
    writer.write(head(200, kind="text/event-stream") + CHUNK + b"data: {no json\n\n")


async def sorry(writer: Writer) -> None:
    error = json.dumps({"error": {"message": SECRET, "type": "server_error", "code": "overloaded"}})
    writer.write(head(200, kind="text/event-stream") + CHUNK + f"data: {error}\n\n".encode())


async def redirect(writer: Writer) -> None:
    writer.write(whole(b"", 307, more="Location: /fine/v1/chat/completions\r\n"))


async def page(writer: Writer) -> None:
    writer.write(whole(f"<html>{SECRET}</html>".encode(), 500, "text/html"))


async def quota(writer: Writer) -> None:
    writer.write(whole(json.dumps({"error": {"message": SECRET, "code": "insufficient_quota", "type": "insufficient_quota"}}).encode(), 429))


async def busy(writer: Writer) -> None:
    """Refuses twice, asks to wait a second the first time, then answers."""
    counts["busy"] += 1
    if counts["busy"] % 3:
        writer.write(whole(b"{}", 429 if counts["busy"] % 3 == 1 else 503, more="Retry-After: 1\r\n" if counts["busy"] % 3 == 1 else ""))
    else:
        writer.write(whole(ANSWER))


async def twice(writer: Writer) -> None:
    """Refuses twice, asking to wait a second, then streams an answer."""
    counts["twice"] += 1
    if counts["twice"] % 3:
        writer.write(whole(b"{}", 429, more="Retry-After: 1\r\n"))
    else:
        writer.write(head(200, kind="text/event-stream") + CHUNK + CHUNK.replace(b"null", b'"stop"') + b"data: [DONE]\n\n")


async def later(writer: Writer) -> None:
    writer.write(whole(b"{}", 429, more="Retry-After: 500\r\n"))


async def fine(writer: Writer) -> None:
    writer.write(whole(ANSWER))


async def slow(writer: Writer) -> None:
    counts["now"] += 1
    counts["most"] = max(counts["most"], counts["now"])
    await asyncio.sleep(0.3)
    counts["now"] -= 1
    writer.write(whole(ANSWER))


async def lined(writer: Writer) -> None:
    """Streams an answer after half a second, and counts how many are under way."""
    counts["now"] += 1
    counts["most"] = max(counts["most"], counts["now"])
    await asyncio.sleep(0.5)
    counts["now"] -= 1
    writer.write(head(200, kind="text/event-stream") + CHUNK + CHUNK.replace(b"null", b'"stop"') + b"data: [DONE]\n\n")


async def refuse(writer: Writer) -> None:
    """Refuses every request, in a while."""
    await asyncio.sleep(0.4)
    writer.write(whole(b"{}", 400))


async def balk(writer: Writer) -> None:
    """Refuses the first three requests, then answers."""
    counts["balk"] += 1
    writer.write(whole(b"{}", 400) if counts["balk"] <= 3 else whole(ANSWER))


async def sulk(writer: Writer) -> None:
    """Refuses the first three requests, then breaks its answers off."""
    counts["sulk"] += 1
    await (short(writer) if counts["sulk"] > 3 else refuse(writer))


async def loose(writer: Writer) -> None:
    """Holds every second answer to its choices."""
    counts["loose"] += 1
    writer.write(whole(ANSWER.replace(b"fine", b"positive") if counts["loose"] % 2 else ANSWER))


async def ill(writer: Writer) -> None:
    """Breaks every third answer off, until `/mend` was asked for."""
    counts["ill"] += 1
    await (short(writer) if counts["ill"] % 3 == 0 and not counts["mended"] else fine(writer))


async def moody(writer: Writer) -> None:
    """Does not answer every fifth request."""
    counts["moody"] += 1
    await (stall(writer) if counts["moody"] % 5 == 0 else fine(writer))


async def crowded(writer: Writer) -> None:
    """The slower the more requests are under way."""
    counts["crowd"] += 1
    await asyncio.sleep(0.15 * counts["crowd"])
    counts["crowd"] -= 1
    writer.write(whole(ANSWER))


async def tell(writer: Writer) -> None:
    writer.write(whole(json.dumps({"requests": log, "most": counts["most"]}).encode()))


FAULTS: dict[str, Callable[[Writer], Awaitable[None]]] = {
    one.__name__: one
    for one in (
        stall, drip, drop, short, long, garbage, html, shape, noise, bomb, headers, big, endless, half, mad, sorry, redirect, page, quota, busy, twice, later, fine, slow,
        moody, crowded, lined, ill, refuse, balk, sulk, loose,
    )
}  # fmt: skip


async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        given = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if name}
        await reader.readexactly(int(given.get("content-length", 0)))
        path = lines[0].split()[1]
        if path == "/log":
            await tell(writer)
        elif path == "/mend":
            counts["mended"] = 1
            await fine(writer)
        else:
            log.append({"path": path, "headers": given})
            await FAULTS[path.split("/")[1]](writer)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
