"""What is counted about calls to model services."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from telelink_gateway.upstream.breaker import State
from telelink_shared.web.metrics import BUCKETS_S


class UpstreamMetrics:
    """Calls to all model services.

    Attributes:
        shed: customers refused since too many were waiting.
        not_asked: questions answered at once since the breaker was not closed.
        retries: calls that were made once more, by what had gone wrong.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "upstream_calls_total", "Calls to a model service", ("service", "outcome"), registry=registry
        )
        self._durations = Histogram(
            "upstream_call_duration_seconds",
            "Time of a call to a model service",
            ("service",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.shed = Counter(
            "upstream_shed_total", "Customers refused since too many were waiting", ("service",), registry=registry
        )
        self.not_asked = Counter(
            "upstream_not_asked_total",
            "Questions answered at once since the breaker was not closed",
            ("service",),
            registry=registry,
        )
        self.retries = Counter(
            "upstream_retries_total", "Calls that were made once more", ("service", "reason"), registry=registry
        )
        self._breaker_changes = Counter(
            "upstream_breaker_changes_total", "Changes of a breaker's state", ("service", "to"), registry=registry
        )
        self._breaker_is_closed = Gauge(
            "upstream_breaker_is_closed", "1 while calls go to the service", ("service",), registry=registry
        )
        # Looking a child up by its labels costs as much as all that is done with it.
        self._calls_of = cache(self._calls.labels)
        self._durations_of = cache(self._durations.labels)

    def begin(self, service: str) -> None:
        """This service will be called."""
        self._breaker_is_closed.labels(service).set(1)

    def ended(self, service: str, outcome: str, duration_s: float) -> None:
        """A call has ended."""
        self._calls_of(service, outcome).inc()
        self._durations_of(service).observe(duration_s)

    def breaker_changed(self, service: str, state: State) -> None:
        """A breaker has another state now."""
        self._breaker_changes.labels(service, state).inc()
        self._breaker_is_closed.labels(service).set(state == "closed")
