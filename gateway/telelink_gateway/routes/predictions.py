"""POST /predict and POST /batch-predict: shapes and storage; every decision is made elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from telelink_gateway import predicting
from telelink_gateway.history.store import HistoryRow
from telelink_gateway.idempotency import MAX_LENGTH, RequestKey, is_lenient, request_key
from telelink_gateway.predicting import Outcome
from telelink_gateway.resources import Resources, resources_of
from telelink_gateway.unknown_fields import would_help
from telelink_gateway.upstream.answer import Answer
from telelink_gateway.wall_clock import now_ms
from telelink_shared.customer import COLUMNS, Customer, Row
from telelink_shared.problem import FieldError, InvalidInput, TooLarge
from telelink_shared.reasons import GROUP_NAMES, RISK, VALUE, Effect, sentence
from telelink_shared.web.json_body import Shape, read_body, validate_json, validate_large_json
from telelink_shared.web.json_reply import JsonReply
from telelink_shared.web.openapi import json_body_of
from telelink_shared.web.request_id import current_request_id, new_id

SINGLE_LIMIT_BYTES: Final = 64 * 1024
# As in the frontend's client_max_body_size.
BATCH_LIMIT_BYTES: Final = 8 * 1024 * 1024
MAX_CUSTOMERS: Final = 10_000
# A customer has twenty fields.
MAX_MEMBERS: Final = 24
# A stored prediction is worth so much waiting beyond the deadline.
HISTORY_GRACE_S: Final = 0.1
# A history that is busier than this is not asked about a key: the commit finds out.
RECALL_S: Final = 0.5
INCLUDES: Final = ("interval", "models", "policy", "reasons", "value_at_risk")
# 512 answers of each model for every customer.
MAX_EXPLAINED: Final = 1_000

# More than any request for one customer has, with room for what is wrong in it.
MAX_VALUES: Final = 256


def n_members_of(customer: Customer) -> int:
    """How many fields were given."""
    return len(customer.model_fields_set)


_CUSTOMER: Final = Shape(TypeAdapter(Customer), n_members_of, max_values=MAX_VALUES)
# The first customer that is not valid ends it: a list of all that is wrong in 10,000 of them would take seconds.
_CUSTOMERS: Final[Shape[list[Customer]]] = Shape(
    TypeAdapter(Annotated[list[Customer], Field(max_length=MAX_CUSTOMERS, fail_fast=True)]),
    lambda customers: sum(map(n_members_of, customers)),
    max_values=MAX_CUSTOMERS * MAX_MEMBERS,
    max_members=MAX_MEMBERS,
)
PROBLEM: Final[dict[str, Any]] = {"content": {"application/problem+json": {}}}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The body is not JSON, or a header not well formed", **PROBLEM},
    401: {"description": "API keys are in use, and there is none, or one that is not known", **PROBLEM},
    403: {"description": "The API key lacks the scope `predict`", **PROBLEM},
    413: {"description": "The body is too large", **PROBLEM},
    422: {"description": "A field is not valid; `errors` points to it", **PROBLEM},
    503: {"description": "A model service cannot answer; see Retry-After", **PROBLEM},
}
PARAMETER_PREFER: Final[dict[str, Any]] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`handling=lenient` (RFC 7240): when one model service is out, the other half is answered",
    "schema": {"type": "string"},
}
_PARAMETERS: Final = [
    {
        "name": "include",
        "in": "query",
        "required": False,
        "description": f"Further objects in the reply, separated by commas: {', '.join(INCLUDES)}",
        "schema": {"type": "string", "example": "models,value_at_risk"},
    },
    PARAMETER_PREFER,
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": f"One to {MAX_LENGTH} characters, drawn anew for each request. Who repeats a request under its"
        " key gets the first reply again, and it is stored once",
        "schema": {"type": "string", "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'},
    },
]

_NOT_KEPT: Final = (b"cache-control", b"no-store")
# Nothing is asked, stored or kept for it.
_NOBODY: Final = b'{"predictions":[],"count":0}'

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
    if not request.scope["query_string"]:
        return frozenset()
    asked = {name.strip() for value in request.query_params.getlist("include") for name in value.split(",")} - {""}
    if asked - set(INCLUDES):
        message = f"include takes {', '.join(INCLUDES)}"
        raise InvalidInput(
            f"Unknown value of 'include': {message}.", errors=[FieldError("", "unknown_include", message)]
        )
    return frozenset(asked)


def _model(answer: Answer | None, variant: str | None, row: Row) -> dict[str, Any] | None:
    if answer is None or variant is None:
        return None
    variants = answer.metadata.parameters.get("variants", ())
    return {
        "name": answer.model,
        "version": answer.version,
        "variant": variant,
        "would_help": would_help(variants, variant, row),
    }


def _reasons(answer: Answer | None, position: int, row: Row, effect: Effect) -> dict[str, Any] | None:
    if answer is None:
        return None
    customer = dict(zip(COLUMNS, row, strict=True))
    n_groups = len(GROUP_NAMES)
    values = answer.columns["reasons"][position * n_groups : (position + 1) * n_groups]
    contributions = sorted(zip(GROUP_NAMES, values, strict=True), key=lambda each: -abs(each[1]))
    return {
        "baseline": answer.columns["reasons_baseline"][position],
        "contributions": [
            {"group": group, "contribution": value, "phrase": sentence(group, customer, value, effect)}
            for group, value in contributions
        ],
    }


def shape(position: int, outcome: Outcome, includes: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What is told about one of the customers: `PredictionReply`, and the objects that were asked for."""
    prediction = outcome.predictions[position]
    decision = prediction.decision
    reply: dict[str, Any] = {
        "churn_probability": prediction.churn_probability,
        "churn_risk": decision.tier,
        "estimated_clv": prediction.estimated_clv,
        "recommendation": decision.recommendation,
        "confidence": decision.confidence,
    }
    if not includes:
        return reply
    row = outcome.rows[position]
    if "interval" in includes:
        reply["interval"] = {
            "churn_probability": prediction.churn_interval,
            "estimated_clv": prediction.clv_interval,
        }
    if "models" in includes:
        reply["models"] = {
            "churn": _model(outcome.churn, prediction.churn_variant, row),
            "clv": _model(outcome.clv, prediction.clv_variant, row),
        }
    if "policy" in includes:
        reply["policy"] = asdict(outcome.policy)
    if "reasons" in includes:
        reply["reasons"] = {
            "churn": _reasons(outcome.churn, position, row, RISK),
            "clv": _reasons(outcome.clv, position, row, VALUE),
        }
    if "value_at_risk" in includes:
        reply["value_at_risk"] = {"usd": decision.value_at_risk_usd}
    return reply


def _history_rows(
    customers: Sequence[Customer], outcome: Outcome, prediction_id: str, created_at_ms: int
) -> list[HistoryRow]:
    request_id = current_request_id()
    churn_version, clv_version = outcome.versions
    policy_version = outcome.policy.version
    return [
        HistoryRow(
            prediction_id,
            number,
            created_at_ms,
            request_id,
            customer.customer_id,
            prediction.churn_probability,
            prediction.decision.tier,
            prediction.estimated_clv,
            prediction.monthly_revenue,
            prediction.decision.recommendation,
            prediction.decision.confidence,
            churn_version,
            prediction.churn_variant,
            clv_version,
            prediction.clv_variant,
            policy_version,
            row,
        )
        for number, (customer, prediction, row) in enumerate(
            zip(customers, outcome.predictions, outcome.rows, strict=True)
        )
    ]


async def _replay(uses: Resources, key: RequestKey) -> Response | None:
    kept = await uses.history.recall(key.key, deadline=asyncio.get_running_loop().time() + RECALL_S)
    return None if kept is None else key.replay(kept)


async def _respond(
    uses: Resources,
    customers: Sequence[Customer],
    outcome: Outcome,
    includes: frozenset[str],
    key: RequestKey | None,
    *,
    deadline: float,
    is_batch: bool,
) -> Response:
    """The reply to whoever asked about these customers, stored; or the one that their key already has."""
    created_at_ms = now_ms()
    # Ids of one time lie together in the index of the history: a commit rewrites one page of it, not one for each id.
    prediction_id = f"{created_at_ms:012x}{new_id()[12:]}"
    rows = _history_rows(customers, outcome, prediction_id, created_at_ms)
    replies = [shape(position, outcome, includes) for position in range(len(customers))]
    body = to_json({"predictions": replies, "count": len(replies)} if is_batch else replies[0])
    degraded = ", ".join(outcome.missing) or None
    deadline += HISTORY_GRACE_S
    if key is None:
        is_stored = await uses.history.add(rows, deadline=deadline)
    else:
        reply = key.reply(
            body,
            prediction_id=prediction_id,
            degraded=degraded,
            created_at_ms=created_at_ms,
            lifetime_hours=uses.settings.idempotency_hours,
        )
        kept = await uses.history.add_once(rows, reply, deadline=deadline)
        if kept is not None and kept is not reply:
            return key.replay(kept)
        is_stored = kept is not None
    headers = [_NOT_KEPT]
    if degraded is not None:
        headers.append((b"x-degraded", degraded.encode()))
    if is_stored:
        headers.append((b"x-prediction-id", prediction_id.encode()))
    return JsonReply(body, headers)


@router.post(
    "/predict",
    response_model=PredictionReply,
    responses=RESPONSES,
    openapi_extra={**json_body_of(Customer), "parameters": _PARAMETERS},
)
async def predict_one(request: Request) -> Response:
    """Churn risk, lifetime value and advice for one customer.

    `X-Prediction-Id` names the stored prediction; without that header it was not stored.
    """
    uses = resources_of(request)
    body = await read_body(request, limit_bytes=SINGLE_LIMIT_BYTES)
    # From here on it is our time and not the client's.
    deadline = asyncio.get_running_loop().time() + uses.settings.deadline_s
    key = request_key(request, body)
    if key is not None and (earlier := await _replay(uses, key)) is not None:
        return earlier
    customer = validate_json(_CUSTOMER, body)
    includes, lenient = _includes(request), is_lenient(request)
    if "reasons" in includes:
        outcome = await predicting.predict_many(
            [customer], uses.models, deadline=deadline, is_lenient=lenient, with_reasons=True
        )
    else:
        outcome = await predicting.predict_one(customer, uses.models, deadline=deadline, is_lenient=lenient)
    return await _respond(uses, [customer], outcome, includes, key, deadline=deadline, is_batch=False)


@router.post(
    "/batch-predict",
    response_model=BatchReply,
    responses=RESPONSES,
    openapi_extra={**json_body_of(Customer, many=True), "parameters": _PARAMETERS},
)
async def predict_batch(request: Request) -> Response:
    """The same for up to 10,000 customers at once, in their order. `X-Prediction-Id` names the whole batch."""
    uses = resources_of(request)
    body = await read_body(request, limit_bytes=BATCH_LIMIT_BYTES)
    deadline = asyncio.get_running_loop().time() + uses.settings.batch_deadline_s
    key = request_key(request, body)
    if key is not None and (earlier := await _replay(uses, key)) is not None:
        return earlier
    customers = await validate_large_json(_CUSTOMERS, body)
    includes, lenient = _includes(request), is_lenient(request)
    if not customers:
        return JsonReply(_NOBODY, [_NOT_KEPT])
    with_reasons = "reasons" in includes
    if with_reasons and len(customers) > MAX_EXPLAINED:
        raise TooLarge(f"Reasons are told for at most {MAX_EXPLAINED:,} customers at once. Split the batch.")
    outcome = await predicting.predict_many(
        customers, uses.models, deadline=deadline, is_lenient=lenient, with_reasons=with_reasons
    )
    return await _respond(uses, customers, outcome, includes, key, deadline=deadline, is_batch=True)
