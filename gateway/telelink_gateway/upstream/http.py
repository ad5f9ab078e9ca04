"""HTTP to model services: one exchange at a time, and one kind of error for all that can go wrong with it.

The only module that imports httpx. It calls the transport itself: what httpx's client adds (redirects, cookies, proxies
of the environment, decoding) is not wanted here, and takes as long as the exchange.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from telelink_gateway.upstream.failure import Failure, FailureCode
from telelink_gateway.upstream.one_reply import take_one_reply
from telelink_shared.inference import HEADER_LENGTH

# More than can ever be under way: a call never waits for a connection.
_MAX_CONNECTIONS: Final = 1024
_KEEPALIVE_S: Final = 30.0
# The deadline around each call ends it; these only bound what goes wrong below it.
_TIMEOUTS_S: Final = {"connect": 1.0, "read": 300.0, "write": 300.0, "pool": 1.0}
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
_NO_CONNECTION: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    httpx.ConnectError,
    httpx.ConnectTimeout,
)
_CONNECTION_ENDED: Final = (
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientPayloadError,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    OSError,
)
_url = lru_cache(maxsize=64)(httpx.URL)

# A machine that dies closes no connection. As long as for a new connection, what was sent may go without the other
# kernel's word that it is there (the kernel's own patience is 15 minutes); a process that is only slow does not count.
_UNHEARD_MS: Final = 1000
# And who has nothing to send asks once a second, so that a reply that will never come is not waited for either.
_SOCKET_OPTIONS: Final = (
    (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNHEARD_MS),
    )
    if sys.platform == "linux"
    else ()
)


class Reply(NamedTuple):
    """A whole reply.

    Attributes:
        is_draining: a process that is about to stop has sent the request away.
        head_bytes: how much of the body is JSON, where tensors follow as bytes; as the peer wrote it.
    """

    status: int
    body: bytes
    is_draining: bool
    head_bytes: str | None = None


class Http:
    """Exchanges over one pool of connections. Use `open_http`."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        limit_bytes: int,
        tls_name: str | None = None,
    ) -> Reply:
        """Send and receive. Redirects are replies like any other.

        Args:
            limit_bytes: the connection is given up when the reply has more.
            tls_name: whom the certificate must name, where the address does not tell.

        Raises:
            Failure: the connection, the protocol or the size of the reply.
        """
        extensions: dict[str, Any] = {"timeout": _TIMEOUTS_S}
        if tls_name is not None:
            extensions["sni_hostname"] = tls_name
        try:
            request = httpx.Request(
                method,
                _url(url),
                headers={"accept-encoding": "identity", **headers},
                content=content,
                extensions=extensions,
            )
            # Else httpx finds out by decoding all of them.
            request.headers.encoding = "ascii"
            response = await self._transport.handle_async_request(request)
            response.headers.encoding = "latin-1"
            try:
                body = await _body(response, limit_bytes)
                status = response.status_code
                is_draining = status == HTTPStatus.SERVICE_UNAVAILABLE and response.headers.get("connection") == "close"
                return Reply(status, body, is_draining, response.headers.get(HEADER_LENGTH))
            finally:
                await response.aclose()
        except _ERRORS as error:
            raise _failure(error) from error


def _failure(error: Exception) -> Failure:
    # The transport takes a connection that ended for one that timed out: what it was is in the cause.
    cause = error.__cause__ or error
    code: FailureCode = "protocol"
    if isinstance(cause, _NO_CONNECTION):
        code = "connect"
    elif isinstance(cause, _CONNECTION_ENDED):
        code = "reset"
    # The kind alone: texts of libraries may hold anything.
    return Failure(code, type(cause).__name__)


async def _body(response: httpx.Response, limit_bytes: int) -> bytes:
    parts = []
    size = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for part in response.stream:
        size += len(part)
        if size > limit_bytes:
            raise Failure("too_large", f"the reply has more than {limit_bytes:,} bytes")
        parts.append(part)
    return b"".join(parts)


def made_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices when the machine at its other end has died."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    for option in _SOCKET_OPTIONS:
        made.setsockopt(*option)
    return made


@asynccontextmanager
async def open_http() -> AsyncIterator[Http]:
    """Exchanges over aiohttp's connections, which cost half of httpcore's (CPU of a call: 290 us against 580)."""
    connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEPALIVE_S, socket_factory=made_socket)
    take_one_reply(connector, asyncio.get_running_loop())
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    async with AiohttpTransport(client=session) as transport:
        yield Http(transport)
