"""Renders every error as one problem document."""

from __future__ import annotations

import json
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from telelink_shared.problem import MEDIA_TYPE, FieldError, InternalError, InvalidInput, Problem, problem_for_status
from telelink_shared.web.request_id import current_request_id

log = structlog.get_logger()

# Of a problem document, whatever led to it.
MAX_BYTES: Final = 4 * 1024


def _instance(request: Request) -> str:
    """The address, as far as it is ours: a parameter in it, or an address that nothing answers, is input."""
    route = request.scope.get("direct_route") or getattr(request.scope.get("route"), "path", "")
    return str(route).partition("{")[0] or "/"


def _content(document: dict[str, Any]) -> bytes:
    """As JSON, with as many errors of those that are listed as there is room for."""
    while len(content := json.dumps(document).encode()) > MAX_BYTES and document.get("errors"):
        document["errors"].pop()
    return content


def render(request: Request, problem: Problem) -> Response:
    """The reply for a problem. On the inference protocol's paths it also carries that protocol's `error` member."""
    document = problem.document(instance=_instance(request), request_id=current_request_id())
    if request.url.path.startswith("/v2"):
        document["error"] = problem.detail
    headers = dict(problem.headers)
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="telelink"'
    return Response(_content(document), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def render_problem(request: Request, problem: Problem) -> Response:
    """The reply for a problem that was raised; one of ours is logged."""
    if problem.status >= 500:
        log.warning("problem", code=problem.code, detail=problem.detail)
    return render(request, problem)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return render_problem(request, error)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reply = render(request, problem_for_status(error.status_code))
    for name, value in (error.headers or {}).items():
        reply.headers[name] = value
    return reply


async def _parameters(request: Request, error: Exception) -> Response:
    # Query and path parameters are still read by the framework; its own reply would repeat their values.
    assert isinstance(error, RequestValidationError)
    errors = [FieldError("", each["type"], f"{each['loc'][-1]} is not valid") for each in error.errors()]
    return render(request, InvalidInput("A parameter of the address is not valid.", errors=errors))


def render_bug(request: Request, error: Exception) -> Response:
    """The reply when a handler raised what it should not; the log has all of it, the client none."""
    log.error("unexpected error", exc_info=error)
    return render(request, InternalError("Something went wrong on our side. Please quote the request id."))


async def _bug(request: Request, error: Exception) -> Response:
    return render_bug(request, error)


def install_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer every error as a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(Exception, _bug)
