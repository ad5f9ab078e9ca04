"""Health of the system and of each service."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from telelink_gateway.resources import Uses

router = APIRouter(tags=["health"])

API_VERSION: Literal["2.0.0"] = "2.0.0"


class HealthReply(BaseModel):
    """Answered with 200 in either state."""

    status: Literal["healthy", "degraded"] = Field(description="Degraded: a model is missing, or nothing is stored")
    churn_model: Literal["loaded", "not loaded"]
    clv_model: Literal["loaded", "not loaded"]
    api_version: str
    history: Literal["storing", "not storing"] | None = Field(
        default=None, description="With `?include=history`: whether predictions are stored"
    )


class ServiceReply(BaseModel):
    """One model service as the gateway sees it."""

    name: str
    state: Literal["ready", "not ready", "unreachable"]
    address: str
    model: str
    version: str | None
    latency_ms: float | None = Field(description="Median of the last calls that were answered")
    latency_p99_ms: float | None = Field(description="99th percentile of the same")
    n_calls: int = Field(description="How many calls these are: the last 1,000 at most")
    breaker: Literal["closed", "open", "half-open"] = Field(
        description="closed: it is asked; otherwise one call a second finds out when it is back, and nobody waits"
    )
    last_error: str | None = Field(description="What went wrong last, as a code")
    last_error_at: datetime | None
    notes: tuple[str, ...]


class ServicesReply(BaseModel):
    """Every model service."""

    services: list[ServiceReply]


@router.get("/health", response_model_exclude_none=True)
async def health(
    uses: Uses, include: Annotated[Literal["history"] | None, Query(description="Adds a member of that name")] = None
) -> HealthReply:
    """Whether both models can answer and predictions are stored."""
    churn, clv, is_storing = await asyncio.gather(
        uses.models.churn.client.status(), uses.models.clv.client.status(), uses.history.check()
    )
    return HealthReply(
        status="healthy" if churn.is_ready and clv.is_ready and is_storing else "degraded",
        churn_model="loaded" if churn.is_ready else "not loaded",
        clv_model="loaded" if clv.is_ready else "not loaded",
        api_version=API_VERSION,
        history=("storing" if is_storing else "not storing") if include == "history" else None,
    )


@router.get("/v1/services")
async def services(uses: Uses) -> ServicesReply:
    """State, address, model version, latency, breaker and last error of each model service."""
    statuses = await asyncio.gather(uses.models.churn.client.status(), uses.models.clv.client.status())
    return ServicesReply(services=[ServiceReply.model_validate(status, from_attributes=True) for status in statuses])


@router.get("/livez")
async def livez() -> dict[str, bool]:
    """Whether this process answers."""
    return {"live": True}


@router.get("/readyz", response_model=dict[str, bool])
async def readyz(request: Request) -> Response:
    """200 when requests are welcome; 503 while the gateway stops. Says nothing about the model services."""
    is_ready = request.app.state.lifecycle.is_ready
    return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)
