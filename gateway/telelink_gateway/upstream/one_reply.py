"""One reply for one request: a connection on which more comes is given up before it costs anything.

HTTP lets a server send interim replies (1xx) ahead of its answer, as many as it likes, and bytes when nobody has asked.
aiohttp skips the former without an end and keeps the latter for whoever asks next: either would take the event loop and
the memory of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

# A read has up to 256 KiB, and the parser makes a message of every reply in it before anyone is asked: 25 ms of work
# on each connection. As much as this at a time takes half a millisecond.
_PIECE_BYTES: Final = 8 * 1024


class OneReply(ResponseHandler):
    """aiohttp's side of a connection, which takes a single, final reply to each request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._reply: StreamReader | None = None
        self._is_given_up = False

    def set_response_params(self, **how: Any) -> None:
        """What aiohttp begins an exchange with."""
        self._reply = None
        super().set_response_params(**how)

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer; or none, when aiohttp has room again for what it has put aside."""
        if not data:
            super().data_received(data)
        for start in range(0, len(data), _PIECE_BYTES):
            if self._reply is not None and self._reply.is_eof():
                self._give_up("more than one reply")
            if self._is_given_up:
                return
            super().data_received(data[start : start + _PIECE_BYTES])

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """A reply whose head is whole."""
        message, body = data
        # We never send `Expect: 100-continue` or ask for another protocol, so no interim reply is due.
        if self._reply is not None or message.code < 200:
            self._give_up("more than one reply" if self._reply is not None else "an interim reply")
        if self._is_given_up:
            return
        self._reply = body
        super().feed_data(data, size)

    def _give_up(self, why: str) -> None:
        if not self._is_given_up and self.transport is not None:
            self._is_given_up = True
            self.transport.abort()
            self.set_exception(HttpProcessingError(message=why))


def take_one_reply(connector: aiohttp.BaseConnector, loop: asyncio.AbstractEventLoop) -> None:
    """Let a connector make its connections so.

    aiohttp has no public place to say it; where another version of it no longer heeds this one, the tests of the faults
    that it is for fail.
    """
    # Its declared type is that of aiohttp's own, to which a subclass is none.
    make: Callable[[asyncio.AbstractEventLoop], ResponseHandler] = OneReply
    connector._factory = partial(make, loop)
