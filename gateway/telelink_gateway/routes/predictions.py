"""POST /predict and POST /batch-predict: shapes and storage; every decision is made elsewhere."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from telelink_gateway.history.store import HistoryRow
from telelink_gateway.predicting import Outcome, Prediction, predict
from telelink_gateway.resources import Resources, Uses
from telelink_gateway.upstream.client import Answer
from telelink_shared.customer import Customer
from telelink_shared.problem import FieldError, InvalidInput, TooLarge
from telelink_shared.web.json_body import read_body, validate_json
from telelink_shared.web.openapi import json_body_of
from telelink_shared.web.request_id import current_request_id

SINGLE_LIMIT_BYTES: Final = 64 * 1024
# As in the frontend's client_max_body_size.
BATCH_LIMIT_BYTES: Final = 8 * 1024 * 1024
MAX_CUSTOMERS: Final = 10_000
INCLUDES: Final = ("models", "policy", "value_at_risk")

_CUSTOMER: Final = TypeAdapter(Customer)
_CUSTOMERS: Final = TypeAdapter(list[Customer])
_PROBLEM: Final[dict[str, Any]] = {"content": {"application/problem+json": {}}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The body is not JSON", **_PROBLEM},
    413: {"description": "The body is too large", **_PROBLEM},
    422: {"description": "A field is not valid; `errors` points to it", **_PROBLEM},
    503: {"description": "A model service cannot answer; see Retry-After", **_PROBLEM},
}
_PARAMETERS: Final = [
    {
        "name": "include",
        "in": "query",
        "required": False,
        "description": f"Further objects in the reply, separated by commas: {', '.join(INCLUDES)}",
        "schema": {"type": "string", "example": "models,value_at_risk"},
    },
    {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "description": "`handling=lenient` (RFC 7240): when one model service is out, the other half is answered",
        "schema": {"type": "string"},
    },
]

router = APIRouter(tags=["predictions"])


class PredictionReply(BaseModel):
    """What is told about one customer. Null: not known right now (only with `Prefer: handling=lenient`)."""

    churn_probability: float | None = Field(description="Chance of leaving, calibrated, 0 to 1")
    churn_risk: Literal["Low", "Medium", "High"] | None
    estimated_clv: float | None = Field(description="Customer lifetime value in US dollars")
    recommendation: str = Field(description="What to do, beginning with its code word")
    confidence: Literal["Very High", "High", "Moderate", "Low"] | None = Field(description="How sure the tier is")


class BatchReply(BaseModel):
    """Predictions in the order of the customers."""

    predictions: list[PredictionReply]
    count: int


def _includes(request: Request) -> frozenset[str]:
    asked = {name.strip() for value in request.query_params.getlist("include") for name in value.split(",")} - {""}
    if asked - set(INCLUDES):
        message = f"include takes {', '.join(INCLUDES)}"
        raise InvalidInput(
            f"Unknown value of 'include': {message}.", errors=[FieldError("", "unknown_include", message)]
        )
    return frozenset(asked)


def _is_lenient(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).lower().replace(" ", "").replace('"', "")
    return "handling=lenient" in preferences.replace(";", ",").split(",")


def _model(answer: Answer | None, variant: str | None) -> dict[str, Any] | None:
    return None if answer is None else {"name": answer.model, "version": answer.version, "variant": variant}


def _shape(prediction: Prediction, outcome: Outcome, includes: frozenset[str]) -> dict[str, Any]:
    decision = prediction.decision
    reply: dict[str, Any] = {
        "churn_probability": prediction.churn_probability,
        "churn_risk": decision.tier,
        "estimated_clv": prediction.estimated_clv,
        "recommendation": decision.recommendation,
        "confidence": decision.confidence,
    }
    if "models" in includes:
        reply["models"] = {
            "churn": _model(outcome.churn, prediction.churn_variant),
            "clv": _model(outcome.clv, prediction.clv_variant),
        }
    if "policy" in includes:
        reply["policy"] = asdict(outcome.policy)
    if "value_at_risk" in includes:
        reply["value_at_risk"] = {"usd": decision.value_at_risk_usd}
    return reply


def _history_rows(customers: Sequence[Customer], outcome: Outcome, prediction_id: str) -> list[HistoryRow]:
    now_ms = time.time_ns() // 1_000_000
    request_id = current_request_id()
    churn_version = outcome.churn.version if outcome.churn else None
    clv_version = outcome.clv.version if outcome.clv else None
    return [
        HistoryRow(
            prediction_id=prediction_id,
            row_number=number,
            created_at_ms=now_ms,
            request_id=request_id,
            customer_id=customer.customer_id,
            customer_json=customer.model_dump_json(exclude_none=True, exclude={"customer_id"}),
            churn_probability=prediction.churn_probability,
            churn_risk=prediction.decision.tier,
            estimated_clv=prediction.estimated_clv,
            monthly_revenue=prediction.monthly_revenue,
            recommendation=prediction.decision.recommendation,
            confidence=prediction.decision.confidence,
            churn_version=churn_version,
            churn_variant=prediction.churn_variant,
            clv_version=clv_version,
            clv_variant=prediction.clv_variant,
            policy_version=outcome.policy.version,
        )
        for number, (customer, prediction) in enumerate(zip(customers, outcome.predictions, strict=True))
    ]


async def _predict(
    request: Request, uses: Resources, customers: Sequence[Customer], *, deadline_s: float
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Replies in the order of the customers, and the headers that go with them."""
    includes = _includes(request)
    outcome = await predict(
        customers,
        churn=uses.churn,
        clv=uses.clv,
        policy=uses.policy,
        deadline=asyncio.get_running_loop().time() + deadline_s,
        is_lenient=_is_lenient(request),
    )
    headers = {"Cache-Control": "no-store"}
    if outcome.missing:
        headers["X-Degraded"] = ", ".join(outcome.missing)
    prediction_id = uuid.uuid4().hex
    if await uses.history.add(_history_rows(customers, outcome, prediction_id)):
        headers["X-Prediction-Id"] = prediction_id
    return [_shape(prediction, outcome, includes) for prediction in outcome.predictions], headers


@router.post(
    "/predict",
    response_model=PredictionReply,
    responses=_RESPONSES,
    openapi_extra={**json_body_of(Customer), "parameters": _PARAMETERS},
)
async def predict_one(request: Request, uses: Uses) -> Response:
    """Churn risk, lifetime value and advice for one customer.

    `X-Prediction-Id` names the stored prediction; without that header it was not stored.
    """
    customer = validate_json(_CUSTOMER, await read_body(request, limit_bytes=SINGLE_LIMIT_BYTES))
    (reply,), headers = await _predict(request, uses, [customer], deadline_s=uses.settings.deadline_s)
    return Response(to_json(reply), headers=headers, media_type="application/json")


@router.post(
    "/batch-predict",
    response_model=BatchReply,
    responses=_RESPONSES,
    openapi_extra={**json_body_of(Customer, many=True), "parameters": _PARAMETERS},
)
async def predict_batch(request: Request, uses: Uses) -> Response:
    """The same for up to 10,000 customers at once, in their order. `X-Prediction-Id` names the whole batch."""
    customers = validate_json(_CUSTOMERS, await read_body(request, limit_bytes=BATCH_LIMIT_BYTES))
    if len(customers) > MAX_CUSTOMERS:
        raise TooLarge(f"A batch may have at most {MAX_CUSTOMERS:,} customers. Split it into several requests.")
    replies: list[dict[str, Any]] = []
    headers = {"Cache-Control": "no-store"}
    if customers:
        replies, headers = await _predict(request, uses, customers, deadline_s=uses.settings.batch_deadline_s)
    return Response(
        to_json({"predictions": replies, "count": len(replies)}), headers=headers, media_type="application/json"
    )
