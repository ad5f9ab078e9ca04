"""Prometheus metrics of an HTTP service, in a registry of its own, and the one log line of each request."""

from __future__ import annotations

import time
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Seconds. A prediction takes milliseconds; the deadlines are 2 and 10 s.
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
# Asked every few seconds by machines: counted, not logged.
_PROBES: Final = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

log = structlog.get_logger()


class HttpMetrics:
    """What is counted about requests.

    Attributes:
        registry: where a service registers further metrics of its own.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("http_requests_total", "Requests answered", labels, registry=self.registry)
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Time from the first byte in to the last byte out",
            ("route",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._in_flight = Gauge("http_requests_in_flight", "Requests being answered", registry=self.registry)

    def begin(self) -> None:
        """A request has come in."""
        self._in_flight.inc()

    def end(self, method: str, route: str, status: int, duration_s: float) -> None:
        """It has been answered."""
        self._in_flight.dec()
        self._requests.labels(method, route, str(status)).inc()
        self._durations.labels(route).observe(duration_s)


async def metrics_endpoint(request: Request) -> Response:
    """The metrics in Prometheus' text format."""
    metrics: HttpMetrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


class Observe:
    """ASGI middleware: counts each request and logs it in one line, by route and never by body or query."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Time the request; the route is known only after the router has run."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.begin()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            duration_s = time.perf_counter() - started
            # Labels must stay few: addresses that no route has share one.
            route = getattr(scope.get("route"), "path", None) or "none"
            self._metrics.end(scope["method"], route, status, duration_s)
            if route not in _PROBES:
                log.info(
                    "request",
                    method=scope["method"],
                    route=route,
                    status=status,
                    duration_ms=round(duration_s * 1e3, 3),
                )
