"""Structured logs: one JSON object a line on standard output, with the request id where there is one."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
from datetime import UTC, datetime
from typing import Any, BinaryIO

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict

from telelink_shared.web.request_id import current_request_id


class _LinesTogether:
    """Writes in one go the lines that one turn of the event loop makes, and at once where no loop runs.

    A system call for each line takes longer than all else about it: requests that are answered together have one.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: list[bytes] = []

    def msg(self, line: bytes) -> None:
        """Take a line."""
        self._lines.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write()
            return
        if len(self._lines) == 1:
            loop.call_soon(self.write)

    debug = info = warning = error = critical = msg

    def write(self) -> None:
        """Write what has been taken."""
        lines, self._lines = self._lines, []
        if lines:
            self._file.write(b"\n".join([*lines, b""]))
            self._file.flush()


def _rendered(_logger: Any, _method: str, event: EventDict) -> bytes:
    return to_json(event, fallback=repr)


def configure_logging(service: str, level: str) -> None:
    """Send our own logs and those of the libraries through one JSON renderer.

    Args:
        service: name that each line carries.
        level: least level that is logged.
    """

    def add_context(logger: Any, method: str, event: EventDict) -> EventDict:
        event["service"] = service
        if "request_id" not in event and (request_id := current_request_id()):
            event["request_id"] = request_id
        event["level"] = method
        event["timestamp"] = datetime.now(UTC).isoformat()
        return structlog.processors.format_exc_info(logger, method, event) if "exc_info" in event else event

    # One step, not one for each member: every request has a line.
    shared: list[structlog.typing.Processor] = [add_context]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    lines = _LinesTogether(sys.stdout.buffer)
    atexit.register(lines.write)
    structlog.configure(
        processors=[*shared, _rendered],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_names: lines,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # The libraries tell about each connection and call at 'info'; our own lines cover that.
    root.setLevel(max(threshold, logging.WARNING))
