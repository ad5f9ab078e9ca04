"""X-Request-ID and traceparent: taken in where they are well formed, given back, and known to every log line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Final, NamedTuple, Self

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context, version 00: version, trace id, parent id, flags.
_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


_ID_BYTES: Final = 16
_IDS_AT_ONCE: Final = 256


def _random_ids() -> Iterator[str]:
    # The system is asked for many at once: a call for each takes longer than all else about it.
    while True:
        drawn = os.urandom(_ID_BYTES * _IDS_AT_ONCE).hex()
        yield from (drawn[at : at + 2 * _ID_BYTES] for at in range(0, len(drawn), 2 * _ID_BYTES))


_ids: Final = _random_ids()


def new_id() -> str:
    """Thirty-two hexadecimal digits that nobody else draws. For one thread: that of the event loop."""
    return next(_ids)


def is_request_id(value: bytes) -> bool:
    """Whether an id that a client chose can do no harm in a header, a document or a log."""
    return _REQUEST_ID.fullmatch(value) is not None


class RequestIds(NamedTuple):
    """The ids of one request.

    Attributes:
        headers: that carry them in a reply.
    """

    request_id: str
    headers: tuple[tuple[bytes, bytes], ...]

    def forwarded(self) -> dict[str, str]:
        """Headers that tell the next service which request a call belongs to."""
        return {name.decode(): value.decode() for name, value in self.headers}

    @classmethod
    def take_in(cls, headers: Iterable[tuple[bytes, bytes]]) -> Self:
        """Those that the headers carry, as far as they are well formed; current until the next request of the task."""
        request_id = traceparent = b""
        for name, value in headers:
            if name == b"x-request-id" and is_request_id(value):
                request_id = value
            elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
                traceparent = value
        request_id = request_id or new_id().encode()
        carried: tuple[tuple[bytes, bytes], ...] = ((b"x-request-id", request_id),)
        if traceparent:
            carried = (*carried, (b"traceparent", traceparent))
        ids = cls(request_id.decode(), carried)
        _current.set(ids)
        return ids


_NONE: Final = RequestIds("", ())
_current: ContextVar[RequestIds] = ContextVar("request_ids", default=_NONE)


def current_request_id() -> str:
    """The id of the request that is being answered; empty outside of one."""
    return _current.get().request_id


def current_ids() -> RequestIds:
    """The ids of the request that is being answered; none outside of one."""
    return _current.get()
