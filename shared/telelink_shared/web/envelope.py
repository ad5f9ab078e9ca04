"""What surrounds every request of a service: its ids, its metrics, its one log line, and the headers of its reply.

One layer, and outside of the framework: whatever answers a request, a handler or a last resort, goes through here once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telelink_shared.web.health import Lifecycle
from telelink_shared.web.metrics import HttpMetrics
from telelink_shared.web.request_id import RequestIds

Headers: TypeAlias = list[tuple[bytes, bytes]]
ExtraHeaders: TypeAlias = Callable[[Scope, Headers], Iterable[tuple[bytes, bytes]]]
"""Headers to add to a reply, from the request's scope and the reply's own headers."""

# Asked every few seconds by machines: counted, not logged.
_PROBES: Final = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

CLIENT_GONE: Final = 499
"""What the log and the metrics say of a request whose client did not wait for the reply, as nginx does."""

log = structlog.get_logger()


class Envelope:
    """ASGI middleware.

    Args:
        extra_headers: what a service adds to its replies.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, metrics: HttpMetrics, extra_headers: ExtraHeaders) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._extra_headers = extra_headers
        # Bound once: what `log` stands for is else found out for each line.
        self._log = log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count, time and log by route, never by body or query; the route is known only after the router has run."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        ids = RequestIds.take_in(scope["headers"])
        status = 500

        async def send_in_envelope(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                headers += (*ids.headers, *self._extra_headers(scope, headers))
                if not self._lifecycle.is_ready:
                    # The next request had better find another process, and not a connection that is just being closed.
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        self._metrics.begin()
        try:
            await self._app(scope, receive, send_in_envelope)
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            duration_s = time.perf_counter() - started
            # Labels must stay few: addresses that no route has share one.
            route = scope.get("direct_route") or getattr(scope.get("route"), "path", None) or "none"
            self._metrics.end(scope["method"], route, status, duration_s)
            if route not in _PROBES:
                self._log.info(
                    "request",
                    method=scope["method"],
                    route=route,
                    status=status,
                    duration_ms=round(duration_s * 1e3, 3),
                )
