"""The server's HTTP protocol: bounds a head, sends a reply's together with its body, tells when a client has gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, cast

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from telelink_shared.problem import MEDIA_TYPE, BadRequest, HeadTooLarge, Problem
from telelink_shared.web.request_id import new_id
from telelink_shared.web.together import Together

MAX_HEAD_BYTES: Final = 32 * 1024
"""Of a head, and likewise of trailers and of what chunks say about themselves; nginx passes on half of it at most."""

# A head comes in one piece, or in a few.
_HEAD_S: Final = 20.0
# How long after a refusal a client that is still sending has to read it: what it sends to a closed connection makes
# its system forget what it has not read.
_LAST_WORD_S: Final = 2.0

log = structlog.get_logger()

HANG_UP: Final = "hang_up"
"""In the scope of a request: what is to be called when its client has gone before the reply was there."""


def _refusal(problem: Problem) -> bytes:
    """The whole reply to a request that does not become one: its address and its id are not known, or not trusted."""
    request_id = new_id()
    log.info("request refused", code=problem.code, status=problem.status, request_id=request_id)
    body = json.dumps(problem.document(instance="/", request_id=request_id)).encode()
    head = (
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
        f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        f"x-request-id: {request_id}",
        "connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body


class WholeReplies(HttpToolsProtocol):
    """See the module."""

    # Bytes that came in since the parser last made anything of them: of a head or of trailers, not of a body.
    _n_pending_bytes = 0
    _is_within_body = False
    _has_refused = False
    # That of a request which offers an upgrade, without the offer.
    _head_anew = b""
    _head_timer: asyncio.TimerHandle | None = None
    # None while something is asked; on the event loop's clock.
    _idle_since: float | None = None

    # override: a TCP connection's transport is always of this kind, as the server's own signature says too.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        self.together = Together(transport, self.loop)
        # What it does not do itself, it has from the transport.
        super().connection_made(cast("asyncio.Transport", self.together))

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._idle_since = None
        self._n_pending_bytes += len(data)
        if self._n_pending_bytes <= MAX_HEAD_BYTES and not self._has_refused:
            self._feed(data)
        else:
            self._n_pending_bytes -= len(data)
            self._feed_in_pieces(data)
        if self._n_pending_bytes:
            self._expect_end_of_head()

    def _feed_in_pieces(self, data: bytes) -> None:
        """None of them so large that a head which ends within it would be too large."""
        while data and not self._has_refused:
            room = MAX_HEAD_BYTES - self._n_pending_bytes
            if room == 0:
                self._refuse(HeadTooLarge(f"Its request line and headers may have {MAX_HEAD_BYTES:,} bytes together."))
                return
            piece, data = data[:room], data[room:]
            self._n_pending_bytes += len(piece)
            self._feed(piece)

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes what follows for another protocol; it is this request's body, or the next request.
                data = self._head_anew + data[upgrade.args[0] :]
                self._head_anew = b""
                self._begin_parsing()
            except httptools.HttpParserError:
                self._refuse(BadRequest("What was sent is not a request of HTTP/1.1."))
                return

    def _begin_parsing(self) -> None:
        """With a parser that has seen nothing: one that was told `close` with the offer takes no more requests."""
        self.parser = httptools.HttpRequestParser(self)
        # As the server's own.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _expect_end_of_head(self) -> None:
        is_head = not self._is_within_body and not self._has_refused
        if is_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_S, self._end_of_patience)

    def _end_of_patience(self) -> None:
        self._head_timer = None
        if self._is_answering():
            # The rest may well be there, and is not read before the reply is sent.
            self._expect_end_of_head()
        else:
            self.transport.close()

    def _forget_head(self) -> None:
        self._n_pending_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, problem: Problem) -> None:
        """The last reply of this connection, where it is still known to which request it would belong."""
        self._has_refused = True
        self._forget_head()
        cycle = self.cycle
        if self._is_answering() and not self._is_within_body:
            # The reply to the request before this one comes first, and closes the connection.
            cycle.keep_alive = False
            return
        if self._is_within_body:
            # Nobody waits for the rest of the body any more.
            cycle.disconnected = True
            cycle.message_event.set()
        if not self._is_within_body or not (cycle.response_started or self.pipeline):
            self.together.write(_refusal(problem))
        self.flow.resume_reading()
        self.together.end()
        self.loop.call_later(_LAST_WORD_S, self.transport.close)

    def _without_offer(self) -> bytes:
        """The head, for who answers as if no upgrade was offered (RFC 9110, 7.8)."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version), *lines, b"", b""])

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._forget_head()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._head_anew = self._without_offer()
            return
        super().on_headers_complete()
        self._is_within_body = True
        # Trailers are no headers: the application, which has the list, is not to see them among these.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._n_pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._n_pending_bytes = 0
        # Else it is a head that comes once more.
        if self._is_within_body:
            super().on_message_complete()
            self._is_within_body = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._forget_head()
        cycle = self.cycle
        is_waited_for = cycle is not None and not cycle.response_complete
        super().connection_lost(exc)
        # That leaves it running where the connection broke.
        self._unset_keepalive_if_required()
        if is_waited_for and (hang_up := cycle.scope.get(HANG_UP)) is not None:
            cast("Callable[[], None]", hang_up)()

    def on_response_complete(self) -> None:
        """Called by the server, and as uvicorn 0.54's own but for the timer, of which that makes one for each reply."""
        self.together.send()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.await_next()

    def await_next(self) -> None:
        """All is answered: close the connection when nothing more is asked for so long."""
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def _look_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Called by the timer. What was asked meanwhile has not stopped it, which would cost as much as starting it."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._look_after(left_s)
        else:
            super().timeout_keep_alive_handler()
