"""A model service behind a transport, and asking it through the gateway's client."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import httpx
import pytest
from prometheus_client import CollectorRegistry

from support.stub_model import StubModel
from telelink_gateway.upstream.answer import Answer, Inputs
from telelink_gateway.upstream.client import ModelClient
from telelink_shared.problem import ModelUnavailable

Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]
INPUTS = Inputs(b'[{"name":"account_length","shape":[1],"datatype":"FP64","data":[1.0]}]', 1)


class Service:
    """A lifetime-value service behind a transport; a test changes what it answers."""

    def __init__(self) -> None:
        self.stub = StubModel("clv")
        self.registry = CollectorRegistry()
        self.infer: Handler = lambda request: self.reply(self.stub.valid_infer(json.loads(request.content))[2])
        self.describe: Handler = lambda _: self.reply(json.dumps(self.stub.metadata()).encode())
        self.ready: Handler = lambda _: self.reply(b'{"ready": true}')

    @staticmethod
    def reply(body: bytes) -> httpx.Response:
        """One that the service is content with."""
        return httpx.Response(200, content=body)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """What the transport does with a request."""
        if request.url.path.endswith("/ready"):
            answer = self.ready(request)
        else:
            answer = (self.infer if request.method == "POST" else self.describe)(request)
        return await answer if inspect.isawaitable(answer) else answer

    def calls(self, outcome: str) -> float:
        """How many calls came out so."""
        return self.counted("upstream_calls_total", outcome=outcome)

    def counted(self, name: str, **labels: str) -> float:
        """A figure of the client's about this service."""
        return self.registry.get_sample_value(name, {"service": "clv-service"} | labels) or 0.0


async def ask(client: ModelClient, *, within_s: float = 10.0) -> Answer:
    """Ask about one customer."""
    return await client.infer(INPUTS, headers={}, deadline=asyncio.get_running_loop().time() + within_s)


async def problem_of(client: ModelClient, **how: Any) -> ModelUnavailable:
    """What asking ends in."""
    with pytest.raises(ModelUnavailable) as raised:
        await ask(client, **how)
    return raised.value


def raises(error: Exception) -> Handler:
    """Instead of an answer."""

    def handler(_request: httpx.Request) -> NoReturn:
        raise error

    return handler


async def hang(_request: httpx.Request) -> httpx.Response:
    """No answer, for ever."""
    return await asyncio.Future[httpx.Response]()
