"""The server's HTTP protocol: sends head and body of a reply together, and tells when a client has hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HANG_UP: Final = "hang_up"
"""In the scope of a request: what is to be called when its client has gone before the reply was there."""


class _Together:
    """A transport that sends at once what is written in one turn of the event loop.

    The server writes the head of a reply, then its body. Sent apart, they cost a system call more, and whoever reads
    them wakes up twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send it when `send` is called, or when this turn of the loop is over."""
        if not self._parts:
            self._loop.call_soon(self.send)
        self._parts.append(data)

    def send(self) -> None:
        """Send what has been written."""
        parts, self._parts = self._parts, []
        if parts and not self.is_closing():
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Send what has been written, and close."""
        self.send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class WholeReplies(HttpToolsProtocol):
    """See the module."""

    # override: a TCP connection's transport is always of this kind, as the server's own signature says too.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        self.together = _Together(transport, self.loop)
        # What it does not do itself, it has from the transport.
        super().connection_made(cast("asyncio.Transport", self.together))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        cycle = self.cycle
        is_waited_for = cycle is not None and not cycle.response_complete
        super().connection_lost(exc)
        if is_waited_for and (hang_up := cycle.scope.get(HANG_UP)) is not None:
            cast("Callable[[], None]", hang_up)()

    def on_response_complete(self) -> None:
        """Called by the server."""
        self.together.send()
        super().on_response_complete()
