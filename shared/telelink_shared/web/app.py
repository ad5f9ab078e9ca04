"""The furnished FastAPI application that the gateway and the model-service toolkit both start from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from telelink_shared.web.health import Lifecycle
from telelink_shared.web.metrics import HttpMetrics, Observe, metrics_endpoint
from telelink_shared.web.problem_handlers import install_problem_handlers
from telelink_shared.web.request_id import RequestId

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


def furnished_app(*, title: str, version: str, description: str, lifespan: Lifespan) -> FastAPI:
    """An application with ids, metrics, logs, problem documents and readiness.

    Args:
        lifespan: opens what the service needs and yields the state of its requests; ready from then on.
    """
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

    app = FastAPI(
        title=title,
        version=version,
        description=description,
        lifespan=ready_while_open,
        docs_url=None,
        redoc_url=None,
        # Traces are an extra of the gateway's; without a collector they would only cost time on each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    install_problem_handlers(app)
    app.add_route("/metrics", metrics_endpoint, include_in_schema=False)
    app.add_middleware(Observe, metrics=metrics)
    app.add_middleware(RequestId)
    return app
