"""Finds out when a service is back, so that no customer has to wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from telelink_gateway.upstream.breaker import Breaker


class Prober:
    """While a breaker is open, makes one call of its own as soon as one is admitted.

    Args:
        probe: makes the call under the ticket, and records how it ended.
    """

    def __init__(self, breaker: Breaker, probe: Callable[[int], Awaitable[None]]) -> None:
        self._breaker = breaker
        self._probe = probe
        self._timer: asyncio.TimerHandle | None = None
        self._call: asyncio.Task[None] | None = None

    def schedule(self) -> None:
        """To be called whenever the breaker opens."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._breaker.probe_from, self._begin, context=Context())

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        ticket = self._breaker.admit_probe(loop.time())
        if ticket is None:
            if self._breaker.state == "open":  # a clock of whole milliseconds may ring a moment too early
                self._timer = loop.call_later(0.01, self._begin)
            return
        self._call = loop.create_task(self._run(ticket))

    async def _run(self, ticket: int) -> None:
        try:
            await self._probe(ticket)
        finally:
            # Nothing for a probe that was recorded; one that ended in any other way must not be waited for.
            self._breaker.record(ticket, None, asyncio.get_running_loop().time())

    async def close(self) -> None:
        """Make no further call."""
        if self._call is not None:
            self._call.cancel()
            await asyncio.wait({self._call})
        if self._timer is not None:
            self._timer.cancel()
