"""`python -m bench.relay`: the least that a gateway can do, so that what is left over is ours to spend.

It validates the body in one go, asks two services that answer a constant, and answers a constant. No HTTP library
stands between it and them: a connection each, on which those who ask meanwhile go together. It decides, checks, stores,
logs and counts nothing, has no deadline, and what a service would compute is left out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

from bench.echo import REPLY
from bench.serving import bare_app, serve
from telelink_shared.customer import Customer
from telelink_shared.web.direct_routes import DirectRoutes

_CUSTOMER = TypeAdapter(Customer)
# About as long as the question about one customer.
_QUESTION = b"POST / HTTP/1.1\r\nhost: service\r\ncontent-length: 1300\r\n\r\n" + b"x" * 1300
_END_OF_REPLY = b"{}"


class _Service(asyncio.Protocol):
    """One question at a time; whoever asks while it is under way waits for the next."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._asked: list[asyncio.Future[None]] = []

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


def create_app() -> DirectRoutes:
    """One route."""
    services: list[_Service] = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        for url in (os.environ["BENCH_CHURN_URL"], os.environ["BENCH_CLV_URL"]):
            address = urlsplit(url)
            _, service = await loop.create_connection(_Service, address.hostname, address.port)
            services.append(service)
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
