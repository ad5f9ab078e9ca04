"""Load that comes whether or not it is answered: requests begin by the clock, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        latencies_s: by status, from the moment that a request was due; status 0: the connection broke, or another could
            not be opened.
        without_retry_after: refusals that do not say when to come back.
        n_unasked: requests that were due while every connection was waiting; the load was less than was meant.
    """

    duration_s: float = 0.0
    latencies_s: dict[int, list[float]] = field(default_factory=dict)
    without_retry_after: int = 0
    n_unasked: int = 0

    def rate(self, status: int = 200) -> float:
        """Answers with this status, a second."""
        return len(self.latencies_s.get(status, ())) / self.duration_s

    def quantile_s(self, share: float, *statuses: int) -> float:
        """Of the latencies of these statuses; 0 where there are none."""
        values = sorted(value for status in statuses for value in self.latencies_s.get(status, ()))
        return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class _Connection(asyncio.Protocol):
    """One kept connection; it asks one thing at a time."""

    def __init__(self, load: _Load, source: str) -> None:
        self._load = load
        self.source = source
        self.due = 0.0
        self._left = b""

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
        self._transport = transport

    def ask(self, due: float) -> None:
        self.due = due
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._left += data
        end = self._left.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._left[:end].lower()
        at = head.index(b"\r\ncontent-length:") + 17
        length = int(head[at : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None])
        if len(self._left) < end + 4 + length:
            return
        self._left = b""
        status = int(head[9:12])
        if status in (429, 503) and b"\r\nretry-after:" not in head:
            self._load.outcome.without_retry_after += 1
        self._load.answered(self, status, is_last=b"\r\nconnection: close" in head)

    def connection_lost(self, _error: Exception | None) -> None:
        self._load.lost(self)

    def close(self) -> None:
        self._transport.close()


class _Load:
    def __init__(self, url: str, path: str, body: bytes, sources: list[str], most: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._sources = sources
        self._most = most
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.request = head.encode() + body
        self.outcome = Outcome()
        self._free: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_over = False
        self.closed_loop = False

    async def _open_again(self, source: str) -> None:
        try:
            await self._open(source)
        except OSError:
            self._broken(time.monotonic())

    def _broken(self, due: float) -> None:
        self.outcome.latencies_s.setdefault(0, []).append(time.monotonic() - due)

    def _replace(self, connection: _Connection) -> None:
        self._all.discard(connection)
        opening = asyncio.get_running_loop().create_task(self._open_again(connection.source))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def connect(self) -> None:
        for number in range(self._most):
            await self._open(self._sources[number % len(self._sources)])

    async def _open(self, source: str) -> None:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self, source), *self._address, local_addr=(source, 0)
        )
        self._all.add(connection)
        self._next(connection)

    def _next(self, connection: _Connection) -> None:
        if self.closed_loop and not self._is_over:
            connection.ask(time.monotonic())
        else:
            self._free.append(connection)

    def answered(self, connection: _Connection, status: int, *, is_last: bool) -> None:
        self.outcome.latencies_s.setdefault(status, []).append(time.monotonic() - connection.due)
        if is_last:  # a server lets each connection have so many requests
            self._replace(connection)
        else:
            self._next(connection)

    def lost(self, connection: _Connection) -> None:
        if connection not in self._all:
            return
        if connection in self._free:  # the server closes idle ones when it needs room
            self._free.remove(connection)
            self._replace(connection)
        else:
            self._all.discard(connection)
            self._broken(connection.due)

    async def _until_answered(self) -> None:
        deadline = time.monotonic() + 15
        while (self._opening or len(self._free) < len(self._all)) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    async def _be_accepted(self) -> None:
        """Have each connection answered once: it is open before the server, which takes one in a turn, has it."""
        while self._free:
            self._free.popleft().ask(time.monotonic())
        await self._until_answered()
        self.outcome = Outcome()

    async def run(self, rate: float | None, seconds: float, seed: int) -> Outcome:
        await self.connect()
        await self._be_accepted()
        started = now = time.monotonic()
        if rate is None:
            self.closed_loop = True
            for each in list(self._free):
                self._free.remove(each)
                each.ask(now)
            await asyncio.sleep(seconds)
        else:
            chance = random.Random(seed)
            due = started + chance.expovariate(rate)
            while due < started + seconds:
                now = time.monotonic()
                while due <= now:
                    if self._free:
                        self._free.popleft().ask(due)
                    else:
                        self.outcome.n_unasked += 1
                    due += chance.expovariate(rate)
                await asyncio.sleep(max(0.0, min(due - time.monotonic(), 0.002)))
        self.outcome.duration_s = time.monotonic() - started
        self._is_over = True
        await self._until_answered()
        ended, self._all = self._all, set()
        for each in ended:
            each.close()
        return self.outcome


def _drive(queue, *arguments) -> None:  # type: ignore[no-untyped-def]
    url, path, body, sources, most, rate, seconds, seed = arguments
    load = _Load(url, path, body, sources, most)
    queue.put(uvloop.run(load.run(rate, seconds, seed)))


def drive(
    url: str,
    path: str,
    body: bytes,
    *,
    rate: float | None,
    seconds: float,
    connections: int,
    sources: tuple[str, ...] = ("127.0.0.1",),
    seed: int = 1,
) -> Outcome:
    """Load from a process of its own.

    Args:
        rate: of requests a second, at moments that are drawn; None: each connection asks again once it is answered.
        connections: as many as there may be requests under way.
        sources: addresses of the clients that it seems to come from.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = (url, path, body, list(sources), connections, rate, seconds, seed)
    process = context.Process(target=_drive, args=(queue, *arguments))
    process.start()
    try:
        outcome: Outcome = queue.get(timeout=seconds + 60)
    finally:
        process.join(timeout=10)
    return outcome
