"""Refusing a request as its bytes come in: a tenth of the work of handing it to an application that refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from telelink_shared.web.protocol import WholeReplies

Refuse: TypeAlias = Callable[[bytes], bytes | None]
"""From what came in where a request begins to the whole reply, or to None: it takes the usual way."""


class Head(NamedTuple):
    """What is read of a request that is there as a whole.

    Attributes:
        path: without its query.
        request_id: as it was sent, empty where it was not.
    """

    path: bytes
    request_id: bytes


def whole_post(data: bytes) -> Head | None:
    """The head of one plain POST request with all of its body, and nothing but that; None for anything else.

    Whatever is unusual about a request is for the server's parser to judge.
    """
    end = data.find(b"\r\n\r\n") + 4
    line_end = data.find(b" HTTP/1.1\r\n")
    if not data.startswith(b"POST /") or end < 4 or not 0 < line_end < end:
        return None
    head = data[:end].lower()
    length = _value(head, head, b"\r\ncontent-length:")
    # Whoever traces is given back what they sent, as in any other reply.
    unusual = (b"\r\ntransfer-encoding:", b"\r\nconnection: close", b"\r\ntraceparent:")
    is_plain = not any(each in head for each in unusual)
    if not is_plain or not length.isdigit() or len(length) > 8 or end + int(length) != len(data):
        return None
    return Head(data[5:line_end].partition(b"?")[0], _value(head, data, b"\r\nx-request-id:"))


def _value(head: bytes, data: bytes, name: bytes) -> bytes:
    at = head.find(name)
    return b"" if at < 0 else data[at + len(name) : head.index(b"\r\n", at + 2)].strip()


def shedding_protocol(refuse: Refuse) -> type[WholeReplies]:
    """The server's protocol, which asks `refuse` first wherever a request may begin."""

    class Shedding(WholeReplies):
        is_within_request = False

        def on_message_begin(self) -> None:
            self.is_within_request = True
            super().on_message_begin()

        def on_message_complete(self) -> None:
            self.is_within_request = False
            super().on_message_complete()

        def data_received(self, data: bytes) -> None:
            is_free = self.cycle is None or self.cycle.response_complete
            if self.is_within_request or not is_free or (reply := refuse(data)) is None:
                super().data_received(data)
                return
            self.together.write(reply)
            self.together.send()
            self.await_next()

    return Shedding
