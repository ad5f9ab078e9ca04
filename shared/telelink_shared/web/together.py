"""Sends in one go what is written to a connection in one turn of the event loop.

The server writes the head of a reply, then its body. Sent apart, they cost a system call more, and whoever reads them
wakes up twice.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary


class _Turn:
    """Sends what nobody has sent by the end of a turn of the event loop: one callback for all connections."""

    def __init__(self) -> None:
        self._written: list[Together] = []

    def note(self, transport: Together) -> None:
        if not self._written:
            asyncio.get_running_loop().call_soon(self._end)
        self._written.append(transport)

    def _end(self) -> None:
        try:
            while self._written:
                self._written.pop().send()
        finally:
            if self._written:  # one that fails must not keep the others from it
                asyncio.get_running_loop().call_soon(self._end)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turn] = WeakKeyDictionary()


class Together:
    """A transport; what is not here, it has from the one that it is made of."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._turn = _turns.setdefault(loop, _Turn())
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send it when `send` is called, or when this turn of the loop is over."""
        if not self._parts:
            self._turn.note(self)
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
