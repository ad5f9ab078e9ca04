"""Why a model service gave no valid answer, in words of our own: what peers and libraries say goes nowhere."""

from __future__ import annotations

from typing import Final, Literal

FailureCode = Literal[
    "connect",  # no connection, or no address behind the name
    "reset",  # the connection ended before the reply did
    "draining",  # the service is about to stop and asks for another connection
    "protocol",  # what came is not HTTP, or the address cannot be asked at all
    "too_large",  # more bytes than such a reply can have
    "timeout",  # nothing whole by the deadline
    "status",  # a status that no answer has, a redirect among them
    "mixed_up",  # the reply to another call
    "malformed",  # not a message of the inference protocol
    "model",  # another model answered
    "version",  # the service does not describe the version that answered
    "schema",  # built for another input schema
    "rows",  # an output is missing, or has another number of rows
    "values",  # a value that cannot be
    "refused",  # the service will not take the customers, or breaks on them alone
]

RETRIED: Final[frozenset[FailureCode]] = frozenset({"connect", "reset", "draining", "version"})
"""The service's work was not begun, or its result was lost or came from a version that is gone: worth another try."""


class Failure(Exception):
    """No valid answer.

    Args:
        code: for operators and programs.
        reason: for the log; never holds what a peer sent.
    """

    def __init__(self, code: FailureCode, reason: str) -> None:
        super().__init__(reason)
        self.code: FailureCode = code
