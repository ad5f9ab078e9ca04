"""Runs a service: binds, serves, drains on SIGTERM; a start that fails ends with one line."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TypeVar

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telelink_shared.web.health import Lifecycle
from telelink_shared.web.logging import configure_logging
from telelink_shared.web.protocol import WholeReplies
from telelink_shared.web.settings import ServiceSettings
from telelink_shared.web.shedding import shedding_protocol
from telelink_shared.web.startup import StartupError

log = structlog.get_logger()

# What a request makes is freed by its reference count. Looking for cycles among the ten thousand customers of a batch
# every 700 objects doubles the time that it takes to read them.
_GC_THRESHOLDS = (50_000, 20, 50)

S = TypeVar("S", bound=ServiceSettings)

# Connections that wait to be accepted: room for a burst, within the kernel's usual limit of 4,096.
_BACKLOG = 2048
# Longer than nginx (60 s) and the gateway (30 s) keep an idle connection: whoever sends is the one who closes, or a
# request would now and then meet a connection that is just being closed.
_KEEPALIVE_S = 75
# After a drain, how long who connected at its very end has to say what for.
_LAST_WORD_S = 1.0


class _DrainingServer(uvicorn.Server):
    """Goes on serving for a while after the first signal, not ready any more; the second signal ends it at once.

    The drain is for whoever sends requests here to notice: by the probe, by the `Connection: close` of every reply, or
    by the name that leads to another process. At its end nobody can connect any more, and only then are connections
    closed: one that was just opened would otherwise be cut before its request has come.
    """

    def __init__(self, config: uvicorn.Config, *, lifecycle: Lifecycle, drain_s: float) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_s = drain_s
        self._exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal: leave the pool of ready services now, stop after the drain time."""
        self._lifecycle.is_ready = False
        if self._exit_at is None:
            self._exit_at = time.monotonic() + self._drain_s
        else:
            self._drain_s = 0.0
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called by the server's main loop ten times a second."""
        if self._exit_at is not None and time.monotonic() >= self._exit_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by the server once it is to exit."""
        if self._drain_s > 0 and self.started:
            for listener in (*self.servers, *(sockets or ())):
                listener.close()
            await asyncio.sleep(_LAST_WORD_S)
        await super().shutdown(sockets)


def _one_line_on_failed_start(app: ASGIApp) -> ASGIApp:
    """A StartupError in the lifespan is logged as a line; the server would print its trace twice."""

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_trace(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                message = {**message, "message": ""}
            await send(message)

        try:
            await app(scope, receive, send_without_trace)
        except StartupError as error:
            log.error("cannot start", reason=str(error))

    # No coroutine of its own: each request would pay for it.
    def wrapped(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return (lifespan if scope["type"] == "lifespan" else app)(scope, receive, send)

    return wrapped


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot listen at {host} port {port}: {error.strerror}; choose another TELELINK_PORT"
        ) from error
    return listener


def _serve(service: str, settings_type: type[S], create_app: Callable[[S], FastAPI]) -> int:
    settings = settings_type.load()
    configure_logging(service, settings.log_level)
    app = create_app(settings)
    with _bind(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        config = uvicorn.Config(
            _one_line_on_failed_start(app),
            # Not told, it takes a function that is no coroutine for ASGI 2.
            interface="asgi3",
            http=shedding_protocol(refuse) if (refuse := app.state.refuse_at_once) else WholeReplies,
            ws="none",
            log_config=None,
            access_log=False,
            # Nobody asks for the client's address; nginx knows it.
            proxy_headers=False,
            server_header=False,
            date_header=False,
            lifespan="on",
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEPALIVE_S,
            timeout_graceful_shutdown=10,
        )
        server = _DrainingServer(config, lifecycle=app.state.lifecycle, drain_s=settings.drain_s)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        log.info("starting", host=host, port=port)
        server.run(sockets=[listener])
    return 0 if server.started else 3


def main(service: str, settings_type: type[S], create_app: Callable[[S], FastAPI]) -> None:
    """Run a service until it is told to stop, and exit: 0 after a stop, 1 for settings, 3 for a failed start."""
    try:
        sys.exit(_serve(service, settings_type, create_app))
    except StartupError as error:
        configure_logging(service, "info")
        log.error("cannot start", reason=str(error))
        sys.exit(1)
