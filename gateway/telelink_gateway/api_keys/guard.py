"""Asks every request for what its address needs. An address of the API that nobody thought of needs `admin`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from telelink_gateway.api_keys.keyring import Keyring
from telelink_gateway.api_keys.keys import ApiKey, Scope
from telelink_gateway.api_keys.sessions import Sessions
from telelink_shared.problem import Forbidden, Problem, Unauthenticated
from telelink_shared.web.problem_handlers import render_problem

COOKIE: Final = "telelink_session"
_COOKIE: Final = f"{COOKIE}=".encode()
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_OF_PATHS: Final[dict[str, Scope]] = {"/predict": "predict", "/batch-predict": "predict", "/stats": "history"}
# By the first name behind /v1. None: anybody.
_OF_V1: Final[dict[str, Scope | None]] = {
    "what-if": "predict",
    "jobs": "predict",
    "models": "predict",
    "policy": "predict",
    "portfolio": "history",
    "services": "predict",
    "erasures": "admin",
    "session": None,
}


def scope_needed(path: str) -> Scope | None:
    """What a request needs; None for what anybody may see: the page, the documentation, probes, what errors mean."""
    if path in _OF_PATHS:
        return _OF_PATHS[path]
    if path != "/v1" and not path.startswith("/v1/"):
        return None
    return _OF_V1.get(path[4:].partition("/")[0], "admin")


def _known_part(path: str) -> str:
    """The address as far as it is ours, for metrics and the reply."""
    if path in _OF_PATHS:
        return path
    name = path[4:].partition("/")[0]
    return f"/v1/{name}" if name in _OF_V1 else "/v1"


def is_from_elsewhere(headers: dict[bytes, bytes]) -> bool:
    """Whether a page of another origin made the browser send this. Another port of this host is another origin too."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        return True
    origin = headers.get(b"origin")
    try:
        return origin is not None and urlsplit(origin).netloc != headers.get(b"host", b"")
    except ValueError:  # no browser sends what is no address
        return True


def session_token(headers: dict[bytes, bytes]) -> bytes | None:
    """What the cookie holds."""
    for each in headers.get(b"cookie", b"").split(b";"):
        if each.strip().startswith(_COOKIE):
            return each.strip()[len(_COOKIE) :]
    return None


@dataclass(frozen=True)
class Access:
    """The keys and the sessions in force."""

    keyring: Keyring
    sessions: Sessions

    def key_of(self, method: str, headers: dict[bytes, bytes]) -> ApiKey:
        """The key that a request carries, or that its session stands for.

        Raises:
            Unauthenticated, Forbidden
        """
        authorization = headers.get(b"authorization")
        if authorization is not None:
            kind, _, text = authorization.partition(b" ")
            key = self.keyring.find(text.strip()) if kind.lower() == b"bearer" else None
            if key is None:
                raise Unauthenticated("This API key is not known here.")
            return key
        token = session_token(headers)
        key = None if token is None else self._key_of_session(token)
        if key is None:
            raise Unauthenticated("Send an API key as 'Authorization: Bearer', or sign in at the page.")
        if method not in _SAFE_METHODS and is_from_elsewhere(headers):
            raise Forbidden("Only the page itself may use its session. Send an API key instead.")
        return key

    def _key_of_session(self, token: bytes) -> ApiKey | None:
        found = self.sessions.find(token)
        key = None if found is None else self.keyring.with_id(found[0])
        # Of another key under the same id nobody has shown anything.
        return key if key is not None and found is not None and key.sha256 == found[1] else None


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Hand on what has the scope that it needs."""
        needed = scope_needed(scope["path"]) if scope["type"] == "http" else None
        if needed is not None:
            try:
                key = self._access.key_of(scope["method"], dict(scope["headers"]))
                if needed not in key.scopes:
                    raise Forbidden(f"This API key lacks the scope '{needed}'.")
                scope["caller"] = key.name
            except Problem as problem:
                scope["direct_route"] = _known_part(scope["path"])
                response = render_problem(Request(scope, receive), problem)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
