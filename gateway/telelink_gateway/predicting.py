"""The use case: customers in, both models asked at once, decisions out. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic_core import to_json

from telelink_gateway.upstream.client import Answer, Expected, ModelClient
from telelink_shared.customer import CATEGORIES, COLUMNS, USAGE, Customer
from telelink_shared.decision import Decision, Policy, decide
from telelink_shared.inference import ModelMetadata
from telelink_shared.problem import ModelUnavailable

CHURN_OUTPUTS: Final = (Expected("churn_probability", 0.0, 1.0), Expected("variant"))
CLV_OUTPUTS: Final = (
    Expected("estimated_clv", 0.0, 1e7),
    Expected("monthly_revenue", 0.0, 1e6, may_be_unknown=True),
    Expected("variant"),
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is told about one customer; a missing half is None, never a default."""

    churn_probability: float | None
    estimated_clv: float | None
    monthly_revenue: float | None
    decision: Decision
    churn_variant: str | None
    clv_variant: str | None


@dataclass(frozen=True)
class Outcome:
    """Predictions in the order of the customers, and what they rest on.

    Attributes:
        policy: with the value limits that were in force.
        churn, clv: the answers; None for a model that did not answer.
    """

    predictions: Sequence[Prediction]
    policy: Policy
    churn: Answer | None
    clv: Answer | None

    @property
    def missing(self) -> tuple[str, ...]:
        """Models that did not answer."""
        halves = {"churn": self.churn, "clv": self.clv}
        return tuple(name for name, answer in halves.items() if answer is None)


def inputs_json(customers: Sequence[Customer]) -> bytes:
    """The protocol's `inputs` for these customers: one tensor for each column that any of them has."""
    n_rows = len(customers)
    tensors: list[dict[str, Any]] = []
    for column in COLUMNS:
        values = [getattr(customer, column) for customer in customers]
        if column in USAGE and not any(value is not None for value in values):
            continue
        datatype = "BYTES" if column in CATEGORIES else "FP64"
        tensors.append({"name": column, "shape": [n_rows], "datatype": datatype, "data": values})
    return to_json(tensors)


def policy_in_force(policy: Policy, clv: ModelMetadata | None) -> Policy:
    """The policy with value limits from the value model's training data, where the operator set none."""
    quantiles = clv.parameters.get("quantiles", {}).get("estimated_clv", {}) if clv else {}
    return replace(
        policy,
        high_value_from_usd=quantiles.get("0.75") if policy.high_value_from_usd is None else policy.high_value_from_usd,
        top_value_from_usd=quantiles.get("0.9") if policy.top_value_from_usd is None else policy.top_value_from_usd,
    )


async def _ask(client: ModelClient, inputs: bytes, n_rows: int, deadline: float) -> Answer | ModelUnavailable:
    try:
        return await client.infer(inputs, n_rows=n_rows, deadline=deadline)
    except ModelUnavailable as problem:
        return problem


async def predict(
    customers: Sequence[Customer],
    *,
    churn: ModelClient,
    clv: ModelClient,
    policy: Policy,
    deadline: float,
    is_lenient: bool,
) -> Outcome:
    """Ask both models at once and decide.

    Args:
        customers: at least one.
        deadline: on the event loop's clock, for everything together.
        is_lenient: one missing half is accepted; what it would have said stays None.

    Raises:
        ModelUnavailable: a model did not answer; with `is_lenient`, neither did.
    """
    inputs = inputs_json(customers)
    n_rows = len(customers)
    churn_answer, clv_answer = await asyncio.gather(
        _ask(churn, inputs, n_rows, deadline), _ask(clv, inputs, n_rows, deadline)
    )
    problems = [answer for answer in (churn_answer, clv_answer) if isinstance(answer, ModelUnavailable)]
    if len(problems) > (1 if is_lenient else 0):
        raise problems[0]
    return _merge(
        n_rows,
        None if isinstance(churn_answer, ModelUnavailable) else churn_answer,
        None if isinstance(clv_answer, ModelUnavailable) else clv_answer,
        policy,
    )


def _merge(n_rows: int, churn: Answer | None, clv: Answer | None, policy: Policy) -> Outcome:
    in_force = policy_in_force(policy, clv.metadata if clv else None)
    unknown = [None] * n_rows
    # What is shown is what is decided on: both see the rounded figures.
    probabilities = [round(value, 6) for value in churn.columns["churn_probability"]] if churn else unknown
    values = [round(value, 2) for value in clv.columns["estimated_clv"]] if clv else unknown
    revenues = (
        [None if value is None else round(value, 2) for value in clv.columns["monthly_revenue"]] if clv else unknown
    )
    churn_variants = churn.columns["variant"] if churn else unknown
    clv_variants = clv.columns["variant"] if clv else unknown
    predictions = [
        Prediction(probability, value, revenue, decide(probability, value, in_force), churn_variant, clv_variant)
        for probability, value, revenue, churn_variant, clv_variant in zip(
            probabilities, values, revenues, churn_variants, clv_variants, strict=True
        )
    ]
    return Outcome(predictions, in_force, churn, clv)
