"""/v1/session: signing in and out at the page. Without API keys there is nothing to sign in to."""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from telelink_gateway.api_keys.guard import COOKIE, is_from_elsewhere, session_token
from telelink_gateway.api_keys.keys import SCOPES, ApiKey, Scope
from telelink_gateway.api_keys.sessions import LIFETIME_S
from telelink_gateway.resources import resources_of
from telelink_shared.problem import Forbidden, Unauthenticated
from telelink_shared.web.json_body import Shape, read_body, validate_json
from telelink_shared.web.openapi import json_body_of

_BODY_LIMIT_BYTES: Final = 1024
_PROBLEM: Final[dict[str, Any]] = {"content": {"application/problem+json": {}}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "No API key, or one that is not known", **_PROBLEM},
    403: {"description": "Asked by a page of another origin", **_PROBLEM},
}

router = APIRouter(prefix="/v1/session", tags=["access"])


class SignIn(BaseModel):
    """An API key."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(min_length=1, max_length=128, description="An API key of this system")


class SessionReply(BaseModel):
    """What whoever asks may do."""

    mode: Literal["demo", "keys"] = Field(description="demo: no API keys are in use, and everybody may do everything")
    name: str | None = Field(description="Whose key it is; null in demo mode")
    scopes: list[Scope]


_SIGN_IN: Final = Shape(TypeAdapter(SignIn), lambda sign_in: len(sign_in.model_fields_set), max_values=16)


def _reply(key: ApiKey | None) -> Response:
    scopes = [scope for scope in SCOPES if key is None or scope in key.scopes]
    reply = SessionReply(mode="demo" if key is None else "keys", name=None if key is None else key.name, scopes=scopes)
    return Response(to_json(reply), headers={"Cache-Control": "no-store"}, media_type="application/json")


@router.get("", response_model=SessionReply, responses={401: _RESPONSES[401]})
async def who_am_i(request: Request) -> Response:
    """What the key, or the session, of this request may do."""
    access = resources_of(request).access
    return _reply(None if access is None else access.key_of("GET", dict(request.scope["headers"])))


@router.post("", response_model=SessionReply, responses=_RESPONSES, openapi_extra=json_body_of(SignIn))
async def sign_in(request: Request) -> Response:
    """Sign in with an API key: the reply sets a cookie for twelve hours, which only the page itself can use."""
    access = resources_of(request).access
    asked = validate_json(_SIGN_IN, await read_body(request, limit_bytes=_BODY_LIMIT_BYTES))
    if access is None:
        return _reply(None)
    if is_from_elsewhere(dict(request.scope["headers"])):
        raise Forbidden("Only the page itself may sign in.")
    key = access.keyring.find(asked.key.encode())
    if key is None:
        raise Unauthenticated("This API key is not known here.")
    reply = _reply(key)
    reply.set_cookie(
        COOKIE,
        access.sessions.open(key.id, key.sha256),
        max_age=LIFETIME_S,
        path="/",
        httponly=True,
        samesite="strict",
        # nginx says how it was asked; a cookie that is marked so is not taken over plain HTTP.
        secure=request.headers.get("x-forwarded-proto") == "https",
    )
    return reply


@router.delete("", status_code=204, responses={403: _RESPONSES[403]})
async def sign_out(request: Request) -> Response:
    """End the session, if there is one."""
    access, headers = resources_of(request).access, dict(request.scope["headers"])
    reply = Response(status_code=204)
    if access is not None:
        if is_from_elsewhere(headers):
            raise Forbidden("Only the page itself may use its session.")
        token = session_token(headers)
        if token is not None:
            access.sessions.close(token)
        reply.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return reply
