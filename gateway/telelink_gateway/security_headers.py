"""Security headers of what the gateway itself answers. The page's own are nginx's, except where no nginx runs."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The same as in frontend/nginx/snippets/security-headers.conf; a test compares them.
PAGE_CSP: Final = (
    "default-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
# Swagger UI and ReDoc set styles from script; their scripts are files of ours all the same.
DOCS_CSP: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
API_CSP: Final = "default-src 'none'; frame-ancestors 'none'"

_COMMON: Final = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_DOCS: Final = frozenset({"/docs", "/redoc"})


def _csp(scope: Scope, content_type: bytes) -> str:
    if scope["path"] in _DOCS:
        return DOCS_CSP
    # Only the page consists of other things than JSON and problem documents.
    return API_CSP if b"json" in content_type else PAGE_CSP


class SecurityHeaders:
    """ASGI middleware: adds the headers to each reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers, with the policy that fits what is sent."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                content_type = next((value for name, value in headers if name.lower() == b"content-type"), b"")
                csp = (b"content-security-policy", _csp(scope, content_type).encode())
                message["headers"] = [*headers, *_COMMON, csp]
            await send(message)

        await self._app(scope, receive, send_with_headers)
