"""The furnished FastAPI application that the gateway and the model-service toolkit both start from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from telelink_shared.web.direct_routes import DirectRoutes, Handler
from telelink_shared.web.envelope import Envelope, ExtraHeaders, Headers
from telelink_shared.web.health import Lifecycle
from telelink_shared.web.metrics import HttpMetrics, metrics_endpoint
from telelink_shared.web.problem_handlers import install_problem_handlers

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


def _no_extra_headers(_scope: Scope, _headers: Headers) -> tuple[()]:
    return ()


class FurnishedApp(FastAPI):
    """An application with ids, metrics, logs, problem documents and readiness.

    Args:
        lifespan: opens what the service needs and yields the state of its requests; ready from then on.
        direct: see `DirectRoutes`.
        extra_headers: see `Envelope`.
        guard: stands between the envelope and whatever answers.
        outermost: puts something of a service's own around all of it.
    """

    def __init__(
        self,
        *,
        title: str,
        version: str,
        description: str,
        lifespan: Lifespan,
        direct: Mapping[str, Handler] | None = None,
        extra_headers: ExtraHeaders = _no_extra_headers,
        guard: Callable[[ASGIApp], ASGIApp] | None = None,
        outermost: Callable[[ASGIApp, HttpMetrics], ASGIApp] | None = None,
    ) -> None:
        lifecycle = Lifecycle()
        metrics = HttpMetrics()

        @asynccontextmanager
        async def ready_while_open(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
            async with lifespan(app) as state:
                lifecycle.is_ready = True
                try:
                    yield state
                finally:
                    lifecycle.is_ready = False

        super().__init__(
            title=title,
            version=version,
            description=description,
            lifespan=ready_while_open,
            docs_url=None,
            redoc_url=None,
            # It would send on to an address that is made of the Host header, which anyone can write.
            redirect_slashes=False,
            # Traces are an extra of the gateway's; without a collector they would only cost time on each request.
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        self.state.lifecycle = lifecycle
        self.state.metrics = metrics
        install_problem_handlers(self)
        self.add_route("/metrics", metrics_endpoint, include_in_schema=False)
        answering: ASGIApp = DirectRoutes(super().__call__, direct or {})
        furniture: ASGIApp = Envelope(guard(answering) if guard else answering, lifecycle, metrics, extra_headers)
        self._furniture = furniture if outermost is None else outermost(furniture, metrics)
        # Where the outermost can refuse a request before it is one, the server asks it.
        self.state.refuse_at_once = getattr(self._furniture, "refuse_at_once", None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The furniture stands around the framework, not within it."""
        await self._furniture(scope, receive, send)
