"""A TCP proxy in front of a model service that spoils what a test says, and counts what it spoiled.

It runs in a thread of its own. Everything passes unchanged but inference, to which the fault is done.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Exchange(NamedTuple):
    """A request that has come in, and what the service says to it.

    Attributes:
        message: the service's valid reply.
        elsewhere: an address that nobody may be sent to.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    message: dict[str, Any]
    elsewhere: str

    @property
    def body(self) -> bytes:
        """The valid reply as it would be sent."""
        return json.dumps(self.message).encode()

    async def send(self, *parts: bytes) -> None:
        """As it is."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def reply(self, body: bytes, *, status: str = "200 OK", length: int | None = None, more: str = "") -> None:
        """A reply in HTTP, with another length than it has, or further headers."""
        length = len(body) if length is None else length
        await self.send(f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode(), body)

    async def gone(self) -> None:
        """Wait until the other side gives up."""
        await self.reader.read()


Fault = Callable[[Exchange], Awaitable[None]]


async def hangs(it: Exchange) -> None:
    await it.gone()


async def slow(it: Exchange) -> None:
    """Answers when nobody waits any more."""
    with suppress(TimeoutError):
        await asyncio.wait_for(it.gone(), 2.0)
    await it.reply(it.body)


async def resets(it: Exchange) -> None:
    # With nothing to linger for, closing is a reset.
    it.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    it.writer.transport.abort()


async def closes(it: Exchange) -> None:
    it.writer.close()


async def closes_after_the_headers(it: Exchange) -> None:
    await it.reply(b"", length=len(it.body))
    it.writer.close()


async def resets_within_the_reply(it: Exchange) -> None:
    await it.reply(it.body[:40], length=len(it.body))
    await resets(it)


async def truncates(it: Exchange) -> None:
    await it.reply(it.body[:-20], length=len(it.body))
    it.writer.close()


async def sends_half_a_message(it: Exchange) -> None:
    await it.reply(it.body[: len(it.body) // 2])


async def answers_twice(it: Exchange) -> None:
    """And the second time when the next call has come in."""
    await it.reply(it.body)
    await it.reader.readuntil(b"\r\n\r\n")
    await it.reply(it.body)
    it.writer.close()


async def promises_too_much(it: Exchange) -> None:
    await it.reply(it.body, length=len(it.body) + 1)
    await it.gone()


async def promises_too_little(it: Exchange) -> None:
    await it.reply(it.body, length=len(it.body) - 10)


async def drips(it: Exchange) -> None:
    await it.reply(b"", length=len(it.body))
    for byte in it.body:
        await it.send(bytes([byte]))
        await asyncio.sleep(0.05)


async def sends_noise(it: Exchange) -> None:
    await it.send(os.urandom(2_000), b"\r\n\r\n")
    it.writer.close()


async def sends_html(it: Exchange) -> None:
    await it.reply(b"<html><title>busy</title></html>", more="Content-Type: text/html\r\n")


async def redirects(it: Exchange) -> None:
    await it.reply(b"", status="307 Temporary Redirect", more=f"Location: {it.elsewhere}/v2/models/churn/infer\r\n")


async def is_broken(it: Exchange) -> None:
    await it.reply(b"{}", status="500 Internal Server Error")


async def drains(it: Exchange) -> None:
    await it.reply(b"{}", status="503 Service Unavailable", more="Connection: close\r\n")
    it.writer.close()


async def never_ends(it: Exchange) -> None:
    await it.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await it.send(b"10000\r\n", b" " * 65_536, b"\r\n")


async def sends_a_gigabyte(it: Exchange) -> None:
    await it.reply(b"", length=2**30)
    for _ in range(2**14):
        await it.send(b"[" * 65_536)


async def sends_headers_without_end(it: Exchange) -> None:
    await it.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await it.send(b"X-More: " + b"x" * 1_000 + b"\r\n")


async def sends_hints_without_end(it: Exchange) -> None:
    """Interim replies, as many as go: a client that skips them never comes to an end."""
    while True:
        await it.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000)


async def replies_without_end(it: Exchange) -> None:
    """The valid reply, and then others that nobody asked for."""
    await it.reply(it.body)
    while True:
        await it.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 2_000)


def _changed(change: Callable[[dict[str, Any]], None]) -> Fault:
    async def fault(it: Exchange) -> None:
        change(it.message)
        await it.reply(it.body)

    return fault


def _column(message: dict[str, Any], name: str) -> list[Any]:
    column: list[Any] = next(each["data"] for each in message["outputs"] if each["name"] == name)
    return column


def _says(value: object) -> Fault:
    def change(message: dict[str, Any]) -> None:
        probabilities = _column(message, "churn_probability")
        probabilities[:] = [value] * len(probabilities)

    return _changed(change)


def _says_one_more(message: dict[str, Any]) -> None:
    for each in message["outputs"]:
        each["data"] += each["data"][:1]


def _turns_the_interval(message: dict[str, Any]) -> None:
    lower, upper = _column(message, "churn_lower"), _column(message, "churn_upper")
    lower[:], upper[:] = list(upper), list(lower)


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        hangs, slow, resets, closes, closes_after_the_headers, resets_within_the_reply, truncates, sends_half_a_message,
        promises_too_much, promises_too_little, answers_twice, drips, sends_noise, sends_html, redirects, is_broken,
        drains, never_ends, sends_a_gigabyte, sends_headers_without_end, sends_hints_without_end, replies_without_end,
    )
} | {
    "says NaN": _says(float("nan")),
    "says what cannot be": _says(1.01),
    "says something for one customer more": _changed(_says_one_more),
    "turns the interval around": _changed(_turns_the_interval),
    "is another model": _changed(lambda message: message.update(model_name="clv")),
    "is a version that nobody knows": _changed(lambda message: message.update(model_version="9")),
}  # fmt: skip
DOWN = "is down"
DEAF = "takes connections and reads nothing"


@dataclass
class FaultProxy:
    """A running proxy. The counts are of inference requests.

    Attributes:
        fault: what happens to inference: a name in `FAULTS`, `DOWN` or `DEAF`; None for nothing.
        n_asked: that came in.
        n_spoiled: that the fault was done to.
        n_under_way: that wait for their reply.
        most_at_once: the most that did at the same time since it was last set to 0.
    """

    target: str
    elsewhere: str
    url: str = ""
    fault: str | None = None
    n_asked: int = 0
    n_spoiled: int = 0
    most_at_once: int = 0
    n_under_way: int = 0
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None

    def begin(self, fault: str) -> None:
        """From now on; every connection of before is gone when it is down or deaf."""
        self._run(self._begin(fault))

    def end(self) -> None:
        """From now on all is well."""
        self._run(self._end())

    def _run(self, change: Awaitable[None]) -> None:
        async def changed() -> None:
            await change

        asyncio.run_coroutine_threadsafe(changed(), self._loop).result(10)

    async def _begin(self, fault: str) -> None:
        self.fault, self.n_asked, self.n_spoiled = fault, 0, 0
        if fault in (DOWN, DEAF):
            self._hang_up()
        if fault == DOWN:
            assert self._server is not None
            self._server.close()
            self._server = None

    async def _end(self) -> None:
        was, self.fault = self.fault, None
        if was in FAULTS or was == DEAF:
            self._hang_up()
        if self._server is None:
            await self._listen()

    def _hang_up(self) -> None:
        for connection in self._connections:
            connection.cancel()

    async def _listen(self) -> None:
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            if self.fault == DEAF:
                self.n_spoiled += 1
                await asyncio.Event().wait()
            while not writer.is_closing():
                await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request = head + await reader.readexactly(_length(head))
        if not head.startswith(b"POST "):
            writer.write(b"".join(await self._asked(request)))
            return
        self.n_asked += 1
        self.n_under_way += 1
        self.most_at_once = max(self.most_at_once, self.n_under_way)
        try:
            fault = FAULTS.get(self.fault or "")
            answer_head, answer = await self._asked(request)
            if fault is None:
                writer.write(answer_head + answer)
            else:
                self.n_spoiled += 1
                await fault(Exchange(reader, writer, json.loads(answer), self.elsewhere))
        finally:
            self.n_under_way -= 1

    async def _asked(self, request: bytes) -> tuple[bytes, bytes]:
        """The service's reply: head and body."""
        target = urlsplit(self.target)
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            return head, await reader.readexactly(_length(head))
        finally:
            writer.close()

    async def close(self) -> None:
        """Listen no more."""
        self._hang_up()
        if self._server is not None:
            self._server.close()
        while self._connections:
            await asyncio.sleep(0)


def _length(head: bytes) -> int:
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lengths[0].partition(b":")[2]) if lengths else 0


@contextmanager
def fault_proxy(target: str, elsewhere: str) -> Iterator[FaultProxy]:
    """A proxy in front of the service at this address.

    Args:
        elsewhere: where it sends its clients when it redirects them.
    """
    proxy = FaultProxy(target, elsewhere)
    loop = proxy._loop
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        proxy._run(proxy._listen())
        yield proxy
    finally:
        proxy._run(proxy.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
