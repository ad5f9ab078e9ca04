"""POST /v1/what-if: what a change would do, or which change would do."""

from __future__ import annotations

import asyncio
from typing import Final, Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError, to_json
from starlette.responses import Response

from telelink_gateway import predicting
from telelink_gateway.idempotency import is_lenient
from telelink_gateway.resources import resources_of
from telelink_gateway.routes.predictions import (
    MAX_VALUES,
    PARAMETER_PREFER,
    RESPONSES,
    SINGLE_LIMIT_BYTES,
    PredictionReply,
    n_members_of,
    shape,
)
from telelink_gateway.what_if import Changes, candidates, changed, smallest
from telelink_shared.customer import Customer
from telelink_shared.web.json_body import Shape, read_body, validate_json
from telelink_shared.web.openapi import json_body_of

MAX_SUGGESTIONS: Final = 3

router = APIRouter(prefix="/v1", tags=["predictions"])


class WhatIfRequest(BaseModel):
    """A customer, and either changes to try or a tier to reach."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    customer: Customer
    changes: Changes | None = Field(default=None, description="Try these")
    goal: Literal["Low", "Medium"] | None = Field(default=None, description="Find the smallest changes to this tier")

    @model_validator(mode="after")
    def _has_one_of_both(self) -> Self:
        if (self.changes is None) == (self.goal is None):
            raise PydanticCustomError("changes_or_goal", "needs either changes or a goal")
        return self


class Trial(BaseModel):
    """Changes, and the prediction with them."""

    changes: Changes
    words: str = Field(description="The changes as advice")
    prediction: PredictionReply


class WhatIfReply(BaseModel):
    """Nothing of it is stored. An empty list: the goal is reached already, or no combination of the levers does it."""

    prediction: PredictionReply = Field(description="As the customer is now")
    trials: list[Trial] = Field(description="The changes that were asked for, or the smallest that reach the goal")


def _n_members(asked: WhatIfRequest) -> int:
    n_changes = 0 if asked.changes is None else len(asked.changes.model_fields_set)
    return len(asked.model_fields_set) + n_members_of(asked.customer) + n_changes


_REQUEST: Final = Shape(TypeAdapter(WhatIfRequest), _n_members, max_values=MAX_VALUES)


@router.post(
    "/what-if",
    response_model=WhatIfReply,
    responses=RESPONSES,
    openapi_extra={**json_body_of(WhatIfRequest), "parameters": [PARAMETER_PREFER]},
)
async def what_if(request: Request) -> Response:
    """What would become of a customer with some changes, or the smallest changes that lead to a tier.

    Every suggestion has been asked of the models like any customer. That a change would *cause* what the models then
    say is an assumption: they know what goes with leaving, not why people leave.
    """
    uses = resources_of(request)
    asked = validate_json(_REQUEST, await read_body(request, limit_bytes=SINGLE_LIMIT_BYTES))
    tried = [asked.changes] if asked.changes is not None else candidates(asked.customer)
    outcome = await predicting.predict_many(
        [asked.customer, *(changed(asked.customer, changes) for changes in tried)],
        uses.models,
        deadline=asyncio.get_running_loop().time() + uses.settings.deadline_s,
        # A tier is searched for by the risk alone: without it there is nothing to tell.
        is_lenient=asked.goal is None and is_lenient(request),
    )
    chosen = list(range(len(tried)))
    if asked.goal is not None:
        # No change is the smallest of all: where it does, nothing is suggested.
        decisions = [
            (changes, prediction.decision)
            for changes, prediction in zip([Changes(), *tried], outcome.predictions, strict=True)
        ]
        chosen = [position - 1 for position in smallest(decisions, asked.goal, most=MAX_SUGGESTIONS) if position]
    reply = {
        "prediction": shape(0, outcome),
        "trials": [
            {
                "changes": tried[position].model_dump(by_alias=True, exclude_none=True),
                "words": tried[position].words,
                "prediction": shape(position + 1, outcome),
            }
            for position in chosen
        ],
    }
    headers = {"Cache-Control": "no-store"}
    if outcome.missing:
        headers["X-Degraded"] = ", ".join(outcome.missing)
    return Response(to_json(reply), headers=headers, media_type="application/json")
