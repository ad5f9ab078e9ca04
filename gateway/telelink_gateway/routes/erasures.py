"""POST /v1/erasures: the history forgets one customer. Files of jobs go by age, or with the job."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from telelink_gateway.resources import resources_of
from telelink_gateway.routes.predictions import PROBLEM, SINGLE_LIMIT_BYTES
from telelink_shared.customer import CustomerId
from telelink_shared.web.json_body import Shape, read_body, validate_json
from telelink_shared.web.openapi import json_body_of

router = APIRouter(prefix="/v1", tags=["history"])


class ErasureRequest(BaseModel):
    """Whose predictions. In the body, since addresses are logged on the way."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    customer_id: CustomerId = Field(description="As it was sent with the predictions", examples=["c-1024"])


class ErasureReply(BaseModel):
    """Nothing of them is left, nor of the replies that were kept for an `Idempotency-Key`."""

    erased: int = Field(description="Predictions that were removed; 0 when there were none")


_REQUEST: Final = Shape(TypeAdapter(ErasureRequest), lambda _request: 1, max_values=8)


@router.post(
    "/erasures",
    response_model=ErasureReply,
    responses={
        400: {"description": "The body is not JSON", **PROBLEM},
        413: {"description": "The body is too large", **PROBLEM},
        422: {"description": "The customer id is not valid", **PROBLEM},
        503: {"description": "The history cannot be changed; ask again for what may be left", **PROBLEM},
    },
    openapi_extra=json_body_of(ErasureRequest),
)
async def erase(request: Request) -> Response:
    """Remove a customer's predictions from the history. Safe to repeat."""
    asked = validate_json(_REQUEST, await read_body(request, limit_bytes=SINGLE_LIMIT_BYTES))
    n_erased = await resources_of(request).history.erase(asked.customer_id)
    return JSONResponse({"erased": n_erased}, headers={"Cache-Control": "no-store"})
