"""Files that come with the gateway: the page where no nginx serves it, and the documentation's assets."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send


class WholeFiles(StaticFiles):
    """Files that are always whole, as nginx serves them: the answer to a wrong range would be no problem document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one, as if no range was asked for (RFC 9110, 14.2)."""
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Called with a file that is there."""
        response = super().file_response(*args, **kwargs)
        if "accept-ranges" in response.headers:
            del response.headers["accept-ranges"]
        return response
