"""A short way for the few addresses that most requests are for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from telelink_shared.problem import Problem
from telelink_shared.web.problem_handlers import render_bug, render_problem

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """ASGI middleware: answers these addresses without the framework's layers, which take longer than the answers.

    The same handlers are registered as routes too, which describes them in the OpenAPI document and answers other
    methods.

    Args:
        handlers: by path, for POST.
    """

    def __init__(self, app: ASGIApp, handlers: Mapping[str, Handler]) -> None:
        self._app = app
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        scope["direct_route"] = scope["path"]
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except Problem as problem:
            response = render_problem(request, problem)
        except Exception as error:
            response = render_bug(request, error)
        await response(scope, receive, send)
