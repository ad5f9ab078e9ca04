"""Prometheus metrics of an HTTP service, in a registry of its own."""

from __future__ import annotations

from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

# Seconds. A prediction takes milliseconds; the deadlines are 2 and 10 s.
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


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
        self._n_in_flight = 0
        in_flight = Gauge("http_requests_in_flight", "Requests being answered", registry=self.registry)
        in_flight.set_function(lambda: self._n_in_flight)
        # Looking a child up by its labels costs as much as all that is done with it.
        self._count_of = cache(lambda method, route, status: self._requests.labels(method, route, str(status)))
        self._duration_of = cache(self._durations.labels)

    def begin(self) -> None:
        """A request has come in."""
        self._n_in_flight += 1

    def end(self, method: str, route: str, status: int, duration_s: float) -> None:
        """It has been answered."""
        self._n_in_flight -= 1
        self._count_of(method, route, status).inc()
        self._duration_of(route).observe(duration_s)


async def metrics_endpoint(request: Request) -> Response:
    """The metrics in Prometheus' text format."""
    metrics: HttpMetrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
