"""The model repository extension of the inference protocol: which versions there are, and which one answers.

For the operator's side of the network only: the gateway never asks for these, and the frontend hands none of them on.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, TypeAdapter

from telelink_shared.inference import RepositoryEntry, RepositoryIndexRequest, RepositoryRequest
from telelink_shared.serving.repository import Repository
from telelink_shared.serving.routes import get_repository, must_be_served
from telelink_shared.web.json_body import Shape, read_body, validate_json
from telelink_shared.web.openapi import json_body_of

_BODY_LIMIT_BYTES = 64 * 1024
_MAX_VALUES = 256

M = TypeVar("M", bound=BaseModel)

router = APIRouter(prefix="/v2/repository")

Versions = Annotated[Repository, Depends(get_repository)]


async def _message(request: Request, message: type[M]) -> M:
    """The body; all of it is optional."""
    body = await read_body(request, limit_bytes=_BODY_LIMIT_BYTES)
    # Asked for now and then: that names are counted closely each time costs nobody anything.
    shape = Shape(TypeAdapter(message), lambda _: 0, max_values=_MAX_VALUES)
    return validate_json(shape, body or b"{}")


@router.post("/index", openapi_extra=json_body_of(RepositoryIndexRequest, required=False))
async def index(request: Request, versions: Versions) -> list[RepositoryEntry]:
    """The versions on disk: which one answers, and why a version does not."""
    wanted = await _message(request, RepositoryIndexRequest)
    return [entry for entry in versions.index() if entry.state == "READY" or not wanted.ready]


@router.post("/models/{name}/load", openapi_extra=json_body_of(RepositoryRequest, required=False))
async def load(request: Request, name: str, versions: Versions) -> RepositoryEntry:
    """Verify a version and let it answer from now on. One that is not whole and right is refused: the old one stays."""
    must_be_served(versions.model, name)
    message = await _message(request, RepositoryRequest)
    return await versions.load(message.parameters.version)


@router.post("/models/{name}/unload", openapi_extra=json_body_of(RepositoryRequest, required=False))
async def unload(request: Request, name: str, versions: Versions) -> dict[str, Any]:
    """Refused for the version that answers: there is always one. Load another one instead."""
    must_be_served(versions.model, name)
    message = await _message(request, RepositoryRequest)
    versions.unload(message.parameters.version)
    return {}
