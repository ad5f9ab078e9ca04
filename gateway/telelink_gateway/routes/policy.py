"""GET /v1/policy: the limits that decisions are made by; GET /problems: what the error codes mean."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from telelink_gateway.predicting import policy_in_force
from telelink_gateway.resources import Uses
from telelink_shared.problem import NotFound, catalogue

router = APIRouter()


class PolicyReply(BaseModel):
    """Limits of the tiers and of high value. A null limit is not known as long as the value model is out."""

    version: str
    medium_from: float
    high_from: float
    high_value_from_usd: float | None
    top_value_from_usd: float | None


class ProblemReply(BaseModel):
    """A kind of error."""

    type: str
    title: str
    status: int
    description: str = Field(description="When it happens")


@router.get("/v1/policy", tags=["decisions"])
async def policy(uses: Uses) -> PolicyReply:
    """The policy in force."""
    if uses.models.clv.client.service.latest_metadata is None:
        await uses.models.clv.client.status()
    return PolicyReply.model_validate(
        policy_in_force(uses.models.policy, uses.models.clv.client.service.latest_metadata), from_attributes=True
    )


@router.get("/problems/{code}", tags=["errors"])
async def problem(code: str) -> ProblemReply:
    """What a problem's `type` means."""
    family = catalogue().get(code)
    if family is None:
        raise NotFound("There is no problem of this name.")
    return ProblemReply(
        type=f"/problems/{code}", title=family.title, status=family.status, description=family.__doc__ or ""
    )
