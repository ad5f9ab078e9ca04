"""The reply to what does not become a request, made by the server itself."""

from __future__ import annotations

import json
from http import HTTPStatus

import structlog

from telelink_shared.problem import MEDIA_TYPE, Problem
from telelink_shared.web.request_id import new_id

log = structlog.get_logger()


def refusal(problem: Problem) -> bytes:
    """All of it, and the log's line: the address and the id are not known, or not trusted."""
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
