"""Security headers of what the gateway itself answers. The page's own are nginx's, except where no nginx runs."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from telelink_shared.web.envelope import Headers

# The same as in frontend/nginx/snippets/security-headers.conf; a test compares them.
PAGE_CSP: Final = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
# Swagger UI and ReDoc set styles from script; their scripts are files of ours all the same.
DOCS_CSP: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
API_CSP: Final = "default-src 'none'; frame-ancestors 'none'"

_COMMON: Final = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_DOCS: Final = frozenset({"/docs", "/redoc"})


def _with(csp: str) -> tuple[tuple[bytes, bytes], ...]:
    return (*_COMMON, (b"content-security-policy", csp.encode()))


_OF_DOCS: Final = _with(DOCS_CSP)
_OF_API: Final = _with(API_CSP)
_OF_PAGE: Final = _with(PAGE_CSP)


def security_headers(scope: Scope, headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    """The headers to add to a reply, with the policy that fits what is sent."""
    if scope["path"] in _DOCS:
        return _OF_DOCS
    # Only the page consists of other things than JSON and problem documents.
    for name, value in headers:
        if name == b"content-type":
            return _OF_API if b"json" in value else _OF_PAGE
    return _OF_PAGE
