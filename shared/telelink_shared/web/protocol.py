"""The server's HTTP protocol: bounds what comes in, in size and in time, and tells when a client has gone.

A request is handed to the application once its body is there: until then it takes nobody's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from telelink_shared.problem import BadRequest, HeadTooLarge, Problem, RequestTimeout
from telelink_shared.web.patience import Patience
from telelink_shared.web.refusal import refusal
from telelink_shared.web.together import Together

MAX_HEAD_BYTES: Final = 32 * 1024
"""Of a head, and likewise of trailers and of what chunks say about themselves; nginx passes on half of it at most."""

# A head comes in one piece, or in a few; a body likewise, or so much of it at least in each such time: 13 kbit/s, which
# the slowest of mobile lines have.
_PATIENCE_S: Final = 20.0
_LEAST_BYTES: Final = 32 * 1024
# So many requests that are sent ahead are read: who does not read does not see either that a client has gone.
_MOST_AHEAD: Final = 16
# How long after a refusal a client that is still sending has to read it: what it sends to a closed connection makes
# its system forget what it has not read.
_LAST_WORD_S: Final = 2.0

HANG_UP: Final = "hang_up"
"""In the scope of a request: what is to be called when its client has gone before the reply was there."""


class WholeReplies(HttpToolsProtocol):
    """See the module."""

    # Bytes that came in since the parser last made anything of them: of a head or of trailers, not of a body.
    _n_pending_bytes = 0
    _is_within_head = _is_within_body = False
    # Since patience with the rest of a body began.
    _n_body_bytes = 0
    # The latest request that was handed to the application; `cycle` is the latest of which the head is there. None
    # before the first, which that one's type does not say either.
    _running: RequestResponseCycle = None  # type: ignore[assignment]
    # What is sent once all before it is answered; nothing is read any more from when it is known.
    _last_word: bytes | None = None
    # That of a request which offers an upgrade, without the offer.
    _head_anew = b""

    # override: a TCP connection's transport is always of this kind, as the server's own signature says too.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        self.together = Together(transport, self.loop)
        # What it does not do itself, it has from the transport.
        super().connection_made(cast("asyncio.Transport", self.together))
        self._idle = Patience(self.loop, self.timeout_keep_alive, self._is_idle_too_long)
        self._rest = Patience(self.loop, _PATIENCE_S, self._rest_is_overdue)
        self.await_next()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._last_word is not None:
            return
        self._n_pending_bytes += len(data)
        if self._n_pending_bytes <= MAX_HEAD_BYTES:
            self._feed(data)
        else:
            self._n_pending_bytes -= len(data)
            self._feed_in_pieces(data)
        if (self._is_within_head or self._is_within_body) and not self._rest.is_waiting:
            self._await_rest()

    def _feed_in_pieces(self, data: bytes) -> None:
        """None of them so large that a head which ends within it would be too large."""
        while data and self._last_word is None:
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

    def _await_rest(self) -> None:
        if self._last_word is None:
            self._rest.begin()

    def _rest_is_overdue(self) -> None:
        is_coming = self._n_body_bytes >= _LEAST_BYTES and not self.cycle.response_complete
        # What is there and not read yet is not the client's fault, nor is that it waits for us to ask for the body.
        is_ours = self.flow.read_paused or (self._is_within_body and self.cycle.waiting_for_100_continue)
        if is_coming or is_ours:
            self._n_body_bytes = 0
            self._await_rest()
        else:
            self._refuse(RequestTimeout("The rest of the request did not come in time."))

    def _is_answering(self) -> bool:
        cycle = self._running
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    def _refuse(self, problem: Problem) -> None:
        """The last reply of this connection, once the requests before it are answered."""
        self._last_word = refusal(problem)
        self._rest.end()
        if self._is_within_body:
            self._give_up()
        if not self._is_answering():
            self._say_last_word()

    def _give_up(self) -> None:
        """The request whose body is being read."""
        if self.pipeline:
            self.pipeline.popleft()
            self.cycle = self._running
            return
        # Nobody waits for the rest of the body any more.
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if self.cycle.response_started:
            self._last_word = b""

    def _say_last_word(self) -> None:
        if self._last_word:
            self.together.write(self._last_word)
        self.flow.resume_reading()
        self.together.end()
        self.loop.call_later(_LAST_WORD_S, self.transport.close)

    def _without_offer(self) -> bytes:
        """The head, for who answers as if no upgrade was offered (RFC 9110, 7.8)."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version), *lines, b"", b""])

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._is_within_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._is_within_head = False
        self._n_pending_bytes = 0
        self._rest.end()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._head_anew = self._without_offer()
            return
        super().on_headers_complete()
        self._is_within_body = True
        self._n_body_bytes = 0
        # Trailers are no headers: the application, which has the list, is not to see them among these.
        self.headers = []
        if len(self.pipeline) <= _MOST_AHEAD:
            self.flow.resume_reading()
        if self.expect_100_continue:
            self._begin_next()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Called by the server with a head that has no other before it."""
        self.pipeline.append((cycle, app))

    def _begin_next(self) -> None:
        """Hand on the next request, if its body is there, or so much of it that no more is to be kept."""
        if not self.pipeline or self._is_answering():
            return
        cycle, app = self.pipeline[-1]
        if not cycle.more_body or len(cycle.body) > HIGH_WATER_LIMIT:
            self.pipeline.pop()
            self._idle.end()
            self._running = cycle
            super()._start_asgi_task(cycle, app)
        elif cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.together.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._await_rest()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._n_pending_bytes = 0
        self._n_body_bytes += len(body)
        super().on_body(body)
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self._begin_next()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._n_pending_bytes = 0
        # Else it is a head that comes once more.
        if self._is_within_body:
            super().on_message_complete()
            self._is_within_body = False
            self._rest.end()
            self._begin_next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._idle.forget()
        self._rest.forget()
        self.pipeline.clear()
        # The server's own tells the latest of which the head is there that the client has gone.
        cycle = self.cycle = self._running
        is_waited_for = cycle is not None and not cycle.response_complete
        super().connection_lost(exc)
        if is_waited_for and (hang_up := cycle.scope.get(HANG_UP)) is not None:
            cast("Callable[[], None]", hang_up)()

    def on_response_complete(self) -> None:
        """Called by the server, and as uvicorn 0.54's own but for the timer, of which that makes one for each reply."""
        self.together.send()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if len(self.pipeline) <= _MOST_AHEAD:
            self.flow.resume_reading()
        if self.pipeline:
            self._begin_next()
        elif self._last_word is not None:
            self._say_last_word()
        else:
            self.await_next()

    def await_next(self) -> None:
        """All is answered: close the connection when nothing more is asked for so long."""
        self._idle.begin()
        if self._is_within_body:
            # From the reply on, this has an end however fast it comes.
            self._await_rest()

    def _is_idle_too_long(self) -> None:
        if self._rest.is_waiting:
            # Something is being asked, for which there is a limit of its own.
            self._idle.begin()
        else:
            self.transport.close()
