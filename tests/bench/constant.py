"""`python -m bench.constant`: answers whatever is asked over HTTP/1.1 with the same few bytes."""

from __future__ import annotations

import asyncio
import re

import uvloop

from bench.serving import bound

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class _Constant(asyncio.Protocol):
    # override: a TCP connection's transport is always of this kind.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            self._buffer = self._buffer[whole:]
            self._transport.write(_REPLY)


async def _serve() -> None:
    with bound() as listener:
        server = await asyncio.get_running_loop().create_server(_Constant, sock=listener)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
