"""HTTP to model services: one exchange at a time, and one kind of error for all that can go wrong with it.

The only module that imports httpx. It calls the transport itself: what httpx's client adds (redirects, cookies, proxies
of the environment, decoding) is not wanted here, and takes as long as the exchange.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final, NamedTuple

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

# More than can ever be under way: a call never waits for a connection.
_MAX_CONNECTIONS: Final = 1024
_KEEPALIVE_S: Final = 30.0
# A container that comes back with another address is found again after this.
_NAME_AGE_S: Final = 2
# The deadline around each call ends it; these only bound what goes wrong below it.
_TIMEOUTS_S: Final = {"timeout": {"connect": 1.0, "read": 300.0, "write": 300.0, "pool": 1.0}}
# 10,000 rows of every output have about 2 MB.
_MAX_REPLY_BYTES: Final = 16 * 1024 * 1024
# aiohttp's own are those that its transport for httpx does not translate; the last three of httpx's stand outside its
# tree of errors; a ValueError is an address or a header that cannot be sent.
_ERRORS: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.CookieConflict,
    aiohttp.ClientError,
    OSError,
    ValueError,
)
_url = lru_cache(maxsize=64)(httpx.URL)


class CallFailed(Exception):
    """No whole reply came. The message is for the log."""


class Reply(NamedTuple):
    """A whole reply."""

    status: int
    body: bytes


class Http:
    """Exchanges over one pool of connections. Use `open_http`."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def call(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None) -> Reply:
        """Send and receive. Redirects are replies like any other.

        Raises:
            CallFailed: the connection, the protocol or the size of the reply.
        """
        try:
            request = httpx.Request(
                method,
                _url(url),
                headers={"accept-encoding": "identity", **headers},
                content=content,
                extensions=_TIMEOUTS_S,
            )
            response = await self._transport.handle_async_request(request)
            try:
                return Reply(response.status_code, await _body(response))
            finally:
                await response.aclose()
        except _ERRORS as error:
            # The kind alone: it is told to operators over HTTP, and texts of libraries may hold anything.
            raise CallFailed(type(error).__name__) from error


async def _body(response: httpx.Response) -> bytes:
    parts = []
    size = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for part in response.stream:
        size += len(part)
        if size > _MAX_REPLY_BYTES:
            raise CallFailed(f"the reply has more than {_MAX_REPLY_BYTES:,} bytes")
        parts.append(part)
    return b"".join(parts)


@asynccontextmanager
async def open_http() -> AsyncIterator[Http]:
    """Exchanges over aiohttp's connections, which cost half of httpcore's (CPU of a call: 290 us against 580)."""
    connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=_NAME_AGE_S)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    async with AiohttpTransport(client=session) as transport:
        yield Http(transport)
