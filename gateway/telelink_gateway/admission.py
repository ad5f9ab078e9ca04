"""How many requests at once. Whatever comes on top is told so at once, for a small part of what serving it costs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.types import ASGIApp, Receive, Scope, Send

from telelink_gateway.security_headers import security_headers
from telelink_shared.problem import MEDIA_TYPE, Overloaded
from telelink_shared.web.envelope import Headers
from telelink_shared.web.protocol import HANG_UP
from telelink_shared.web.request_id import RequestIds, is_request_id, new_id
from telelink_shared.web.shedding import whole_post

# From here the cap starts, and to here it comes back by itself. Two seconds of a hanging model service fit in it.
USUAL: Final = 256
# So many are let in whatever it takes. As requests_of_all in the frontend's server.conf.template: behind it nothing is
# refused here that was let in there, which would cost both of them.
LEAST: Final = 160
MOST: Final = 1024
# A cap that keeps this latency serves all that can be served: more in flight wait longer and are no more.
USUAL_TARGET_S: Final = 0.1
# Where even an idle system takes longer, this many times its latency is the target.
_TIMES_FLOOR: Final = 2.0
# The least latency seen counts less as it ages: a system that has become slower is known as that after minutes.
_FLOOR_DOUBLES_S: Final = 60.0
_WINDOW: Final = 32
_STEP: Final = 8.0
_BACK_OFF: Final = 0.8
# Of all batches in flight together: two of the largest.
BATCH_BYTES: Final = 16 * 1024 * 1024
_UNKNOWN_BYTES: Final = 8 * 1024 * 1024

# What machines ask, also those that decide whether this process is to be ended: always answered.
EXEMPT: Final = frozenset({"/livez", "/readyz", "/health", "/metrics"})
# Their latency is what the cap follows.
_SINGLE: Final = frozenset({"/predict", "/v1/what-if"})
_BATCH: Final = "/batch-predict"
_SINGLE_BYTES: Final = frozenset(path.encode() for path in _SINGLE)
# Whoever is refused comes back some time between these; batches later, as they are let in later.
_RETRY_AFTER_S: Final = {"single": (1, 3), "batch": (2, 8)}
_LOG_EVERY_S: Final = 1.0

log = structlog.get_logger()


class Limit:
    """The cap: additive increase while it holds requests off and latency is in order, else multiplicative decrease.

    Half of a window of requests decides, and only requests that began under the cap that is judged: one that is slow
    for a reason of its own changes nothing, and where requests take seconds, so does a change.

    Attributes:
        value: how many may be in flight.
        floor_s: the least latency seen, aged; infinite before the first.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.value = float(USUAL)
        self.floor_s = float("inf")
        self.was_reached = False
        self._floor_at = self._changed_at = clock()
        self._n = self._n_slow = 0

    @property
    def target_s(self) -> float:
        """The latency that is in order."""
        return max(USUAL_TARGET_S, _TIMES_FLOOR * self.floor_s) if self.floor_s != float("inf") else USUAL_TARGET_S

    def note(self, started: float) -> None:
        """A request that began then has just been answered."""
        now = self._clock()
        latency_s = now - started
        if latency_s < self.floor_s:
            self.floor_s, self._floor_at = latency_s, now
        if started < self._changed_at:
            return
        self._n += 1
        self._n_slow += latency_s > self.target_s
        if self._n >= _WINDOW:
            self._decide(now)

    def _decide(self, now: float) -> None:
        if 2 * self._n_slow > self._n:
            self.value = max(float(LEAST), self.value * _BACK_OFF)
        elif self.was_reached or self.value < USUAL:
            self.value = min(float(MOST), self.value + _STEP)
        self.floor_s *= 2 ** ((now - self._floor_at) / _FLOOR_DOUBLES_S)
        self.was_reached = False
        self._floor_at = self._changed_at = now
        self._n = self._n_slow = 0


class Admission:
    """ASGI middleware, outermost: lets in as many as the limit says, batches only while half of it is free.

    Args:
        chance: spreads the moments at which those who were refused come back.
    """

    def __init__(
        self,
        app: ASGIApp,
        registry: CollectorRegistry,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Random | None = None,
    ) -> None:
        self._app = app
        self._clock = clock
        self._chance = chance or Random()
        self.limit = Limit(clock)
        self.in_flight = 0
        self.batch_bytes = 0
        refused = Counter("http_requests_refused_total", "Requests beyond the limit", ("kind",), registry=registry)
        self._refused = {kind: refused.labels(kind) for kind in ("single", "batch")}
        Gauge("http_requests_limit", "Requests let in at once", registry=registry).set_function(
            lambda: self.limit.value
        )
        self._n_unlogged = 0
        self._logged_at = -_LOG_EVERY_S
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
        self._headers = [*headers, *security_headers({"path": "/"}, headers)]
        self._bodies = {path: _body_around_id(path) for path in (*_SINGLE, _BATCH, "/")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, or refuse."""
        if scope["type"] != "http" or scope["path"] in EXEMPT:
            await self._app(scope, receive, send)
        elif scope["path"] == _BATCH:
            await self._batch(scope, receive, send)
        elif self.in_flight < self.limit.value:
            started = self._clock()
            self.in_flight += 1
            try:
                await self._answer(scope, receive, send)
            finally:
                self.in_flight -= 1
                if scope["path"] in _SINGLE:
                    self.limit.note(started)
        else:
            await self._refuse(scope, send, "single")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """For as long as somebody waits for it: what nobody waits for any more takes nobody's place."""
        has_hung_up = False
        task = asyncio.current_task()
        assert task is not None

        def hang_up() -> None:
            nonlocal has_hung_up
            has_hung_up = True
            task.cancel()

        scope[HANG_UP] = hang_up
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not has_hung_up:
                raise

    async def _batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        n_bytes = _n_bytes(scope)
        has_room = self.batch_bytes == 0 or self.batch_bytes + n_bytes <= BATCH_BYTES
        if not has_room or self.in_flight >= self.limit.value / 2:
            await self._refuse(scope, send, "batch")
            return
        self.in_flight += 1
        self.batch_bytes += n_bytes
        try:
            await self._answer(scope, receive, send)
        finally:
            self.in_flight -= 1
            self.batch_bytes -= n_bytes

    async def _refuse(self, scope: Scope, send: Send, kind: str) -> None:
        ids = RequestIds.take_in(scope["headers"])
        headers, body = self._reply(kind, scope["path"], ids.request_id.encode())
        await send({"type": "http.response.start", "status": Overloaded.status, "headers": [*headers, *ids.headers]})
        await send({"type": "http.response.body", "body": body})

    def refuse_at_once(self, data: bytes) -> bytes | None:
        """The reply to a request for one prediction, whole as it came in, where there is no room for it."""
        if self.in_flight < self.limit.value:
            return None
        head = whole_post(data)
        if head is None or head.path not in _SINGLE_BYTES:
            return None
        request_id = head.request_id if is_request_id(head.request_id) else new_id().encode()
        headers, body = self._reply("single", head.path.decode(), request_id)
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return b"HTTP/1.1 503 Service Unavailable\r\n%bx-request-id: %b\r\n\r\n%b" % (lines, request_id, body)

    def _reply(self, kind: str, path: str, request_id: bytes) -> tuple[Headers, bytes]:
        """The headers, but for the ids, and the body; counted."""
        if kind == "single":
            self.limit.was_reached = True
        self._refused[kind].inc()
        self._n_unlogged += 1
        now = self._clock()
        if now - self._logged_at >= _LOG_EVERY_S:
            # One line for all of them: writing one for each is work that there is no time for.
            log.warning("requests refused", count=self._n_unlogged, limit=int(self.limit.value))
            self._n_unlogged, self._logged_at = 0, now
        least, most = _RETRY_AFTER_S[kind]
        retry_after_s = least + int(self._chance.random() * (most - least + 1))
        before, after = self._bodies.get(path) or self._bodies["/"]
        body = b"%b%b%b" % (before, request_id, after)
        return [
            *self._headers,
            (b"retry-after", b"%d" % retry_after_s),
            (b"content-length", b"%d" % len(body)),
        ], body


def _n_bytes(scope: Scope) -> int:
    """What a body is announced to have."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and len(value) < 9:
            return min(int(value), _UNKNOWN_BYTES)
    return _UNKNOWN_BYTES


def _body_around_id(path: str) -> tuple[bytes, bytes]:
    problem: dict[str, Any] = Overloaded(
        "More requests come in than can be answered. Try again after the seconds that Retry-After names."
    ).document(instance=path, request_id="%")
    before, after = json.dumps(problem).encode().split(b"%")
    return before, after
