"""`python -m bench.relay`: the least that a gateway can do, so that what is left over is ours to spend.

It validates the body in one go, asks two services that answer a constant, and answers a constant. A connection to each,
on which those who ask meanwhile go together; with BENCH_OVER_HTTPX=1 the gateway's own exchange over httpx instead. It
decides, checks, stores, logs and counts nothing, has no deadline, and what a service would compute is left out, unless
BENCH_QUESTION has what a model service is to be asked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

from bench.echo import REPLY
from bench.serving import bare_app, serve
from telelink_gateway.upstream.http import Http, open_http
from telelink_shared.customer import Customer
from telelink_shared.web.direct_routes import DirectRoutes

_CUSTOMER = TypeAdapter(Customer)
# About as long as the question about one customer.
_BODY = b"x" * 1300
_QUESTION = b"POST / HTTP/1.1\r\nhost: service\r\ncontent-length: 1300\r\n\r\n" + _BODY
_END_OF_REPLY = b"{}"
_ASKED = os.environ.get("BENCH_QUESTION", "").encode() or _BODY


class _Service(Protocol):
    def ask(self) -> asyncio.Future[None]: ...


class _OverHttpx:
    """One exchange at a time; whoever asks while it is under way waits for the next."""

    def __init__(self, http: Http, url: str) -> None:
        self._http = http
        self._url = url
        self._waiting: list[asyncio.Future[None]] = []
        self._call: asyncio.Task[None] | None = None

    def ask(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        self._waiting.append(answered)
        if self._call is None:
            self._call = loop.create_task(self._exchange())
        return answered

    async def _exchange(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            await self._http.call("POST", self._url, {"content-type": "application/json"}, _ASKED, limit_bytes=65_536)
            for each in asked:
                if not each.done():
                    each.set_result(None)
        self._call = None


class _OverASocket(asyncio.Protocol):
    """One question at a time; whoever asks while it is under way waits for the next."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._asked: list[asyncio.Future[None]] = []

    # override: a TCP connection's transport is always of this kind.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def ask(self) -> asyncio.Future[None]:
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append(answered)
        if not self._asked:
            self._send()
        return answered

    def _send(self) -> None:
        self._asked, self._waiting = self._waiting, []
        if self._asked:
            self._transport.write(_QUESTION)

    def data_received(self, data: bytes) -> None:
        if data.endswith(_END_OF_REPLY):
            answered = self._asked
            self._send()
            for each in answered:
                if not each.done():
                    each.set_result(None)


async def _over_a_socket(url: str) -> _OverASocket:
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, service = await loop.create_connection(_OverASocket, address.hostname, address.port)
    return service


def create_app() -> DirectRoutes:
    """One route."""
    services: list[_Service] = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(open_http()) if os.environ.get("BENCH_OVER_HTTPX") else None
            for url in (os.environ["BENCH_CHURN_URL"], os.environ["BENCH_CLV_URL"]):
                services.append(await _over_a_socket(url) if http is None else _OverHttpx(http, url))
            yield

    async def predict(request: Request) -> Response:
        _CUSTOMER.validate_json(await request.body())
        churn, clv = (service.ask() for service in services)
        await churn
        await clv
        return JSONResponse(REPLY)

    app = bare_app()
    app.router.lifespan_context = lifespan
    return DirectRoutes(app, {"/predict": predict})


if __name__ == "__main__":
    serve(create_app())
