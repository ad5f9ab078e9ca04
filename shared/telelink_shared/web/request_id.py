"""X-Request-ID and traceparent: taken in where they are well formed, given back, and known to every log line."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context, version 00: version, trace id, parent id, flags.
_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")


def current_request_id() -> str:
    """The id of the request that is being answered; empty outside of one."""
    return _request_id.get()


def forwarded_headers() -> dict[str, str]:
    """Headers that tell the next service which request a call belongs to."""
    headers = {"x-request-id": _request_id.get()}
    if traceparent := _traceparent.get():
        headers["traceparent"] = traceparent
    return headers


class RequestId:
    """ASGI middleware: outermost, so that whatever answers carries the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set both ids for the time of the request and add them to the reply."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = traceparent = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                request_id = value
            elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
                traceparent = value
        request_id = request_id or secrets.token_hex(16).encode()
        ours = [(b"x-request-id", request_id)]
        if traceparent:
            ours.append((b"traceparent", traceparent))
        _request_id.set(request_id.decode())
        _traceparent.set(traceparent.decode())

        async def send_with_ids(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        await self._app(scope, receive, send_with_ids)
