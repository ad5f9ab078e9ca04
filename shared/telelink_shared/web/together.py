"""Sends in one go what is written to a connection in one turn of the event loop.

The server writes the head of a reply, then its body. Sent apart, they cost a system call more, and whoever reads them
wakes up twice.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Together:
    """A transport; what is not here, it has from the one that it is made of."""

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
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not self.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Send what has been written, and close."""
        self.send()
        self._transport.close()

    def end(self) -> None:
        """Send what has been written, and nothing any more; what comes in is still read."""
        self.send()
        if not self.is_closing():
            self._transport.write_eof()
            self.is_closing = lambda: True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
