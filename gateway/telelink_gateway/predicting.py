"""The use case: customers in, both models asked at once, decisions out. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from telelink_gateway.upstream.answer import Answer, Expected, inputs_of
from telelink_gateway.upstream.model import AnswerOrProblem, Model
from telelink_shared.customer import Customer, Row, row_of
from telelink_shared.decision import Decision, Interval, Policy, decide, with_value_limits
from telelink_shared.inference import ModelMetadata
from telelink_shared.problem import Unavailable

# What is shown is what is decided on: both see the rounded figures.
CHURN_OUTPUTS: Final = (
    Expected("churn_probability", 0.0, 1.0, digits=6, between=("churn_lower", "churn_upper")),
    Expected("churn_lower", 0.0, 1.0, digits=6),
    Expected("churn_upper", 0.0, 1.0, digits=6),
    Expected("variant"),
)
CLV_OUTPUTS: Final = (
    Expected("estimated_clv", 0.0, 1e7, digits=2, between=("clv_lower", "clv_upper")),
    Expected("clv_lower", 0.0, 1e7, digits=2),
    Expected("clv_upper", 0.0, 1e7, digits=2),
    Expected("monthly_revenue", 0.0, 1e6, may_be_unknown=True, digits=2),
    Expected("variant"),
)

_MISSING: Final[Mapping[tuple[bool, bool], tuple[str, ...]]] = {
    (False, False): (),
    (True, False): ("churn",),
    (False, True): ("clv",),
    (True, True): ("churn", "clv"),
}

Asked = asyncio.Future[AnswerOrProblem]

# Small enough that both sides of a call have something to do at the same time, large enough that calls cost nothing.
ROWS_PER_CALL: Final = 2_500
# What is done with the answers takes 12 us a row here, and three times as long on a small machine: of ten seconds for
# 10,000 customers, the models have 9.6.
FINISHING_S_PER_ROW: Final = 40e-6


class Prediction(NamedTuple):
    """What is told about one customer; a missing half is None, never a default.

    Attributes:
        churn_interval, clv_interval: lower and upper end.
        churn_variant, clv_variant: which variant of each model answered.
    """

    churn_probability: float | None
    churn_interval: Interval | None
    estimated_clv: float | None
    clv_interval: Interval | None
    monthly_revenue: float | None
    decision: Decision
    churn_variant: str | None
    clv_variant: str | None


class Outcome(NamedTuple):
    """Predictions in the order of the customers, and what they rest on.

    Attributes:
        rows: the customers' values.
        policy: with the value limits that were in force.
        churn, clv: who answered; None for a model that did not.
    """

    rows: Sequence[Row]
    predictions: Sequence[Prediction]
    policy: Policy
    churn: Answer | None
    clv: Answer | None

    @property
    def versions(self) -> tuple[str | None, str | None]:
        """Of the churn and the value model; None for one that did not answer."""
        return self.churn.version if self.churn else None, self.clv.version if self.clv else None

    @property
    def missing(self) -> tuple[str, ...]:
        """Models that did not answer."""
        return _MISSING[self.churn is None, self.clv is None]


def policy_in_force(policy: Policy, clv: ModelMetadata | None) -> Policy:
    """The policy with value limits from the value model's training data, where the operator set none."""
    return with_value_limits(policy, clv.parameters.get("quantiles", {}).get("estimated_clv", {}) if clv else {})


@dataclass(frozen=True)
class Models:
    """Who is asked, and by which limits it is decided."""

    churn: Model
    clv: Model
    policy: Policy


async def predict_one(customer: Customer, models: Models, *, deadline: float, is_lenient: bool) -> Outcome:
    """Ask both models at once about one customer, together with whoever else asks now, and decide.

    Args:
        deadline: on the event loop's clock, for everything together.
        is_lenient: one missing half is accepted; what it would have said stays None.

    Raises:
        Unavailable: a model did not answer; with `is_lenient`, neither did.
    """
    row = row_of(customer)
    churn, clv = models.churn.ask(row, deadline=deadline), models.clv.ask(row, deadline=deadline)
    return _decided([row], await churn, await clv, models.policy, is_lenient=is_lenient)


async def predict_many(
    customers: Sequence[Customer],
    models: Models,
    *,
    deadline: float,
    is_lenient: bool,
    with_reasons: bool = False,
) -> Outcome:
    """The same for several customers, asked for by themselves: all of them or none.

    The services work on one part while the next is made ready for them and the one before is decided on. They have a
    little less time than there is, so that what follows is still within the deadline.
    """
    rows = [row_of(customer) for customer in customers]
    deadline -= len(rows) * FINISHING_S_PER_ROW
    parts = [rows[start : start + ROWS_PER_CALL] for start in range(0, len(rows), ROWS_PER_CALL)]
    calls: list[tuple[Asked, Asked]] = []
    try:
        for part in parts:
            inputs = inputs_of(part)
            churn, clv = (
                asyncio.ensure_future(model.ask_many(inputs, deadline=deadline, with_reasons=with_reasons))
                for model in (models.churn, models.clv)
            )
            calls.append((churn, clv))
            await asyncio.sleep(0)  # lets them be sent
        outcomes = [
            _decided(part, await churn, await clv, models.policy, is_lenient=is_lenient)
            for part, (churn, clv) in zip(parts, calls, strict=True)
        ]
        if len({outcome.versions for outcome in outcomes}) == 1:
            predictions = [prediction for outcome in outcomes for prediction in outcome.predictions]
            return outcomes[0]._replace(rows=rows, predictions=predictions)
        # A model failed, or was replaced, between two parts.
        churn_answer, clv_answer = await asyncio.gather(
            _whole(models.churn, [await churn for churn, _ in calls], rows, deadline=deadline),
            _whole(models.clv, [await clv for _, clv in calls], rows, deadline=deadline),
        )
        return _decided(rows, churn_answer, clv_answer, models.policy, is_lenient=is_lenient)
    finally:
        for call in chain.from_iterable(calls):
            call.cancel()


async def _whole(
    model: Model, answers: Sequence[AnswerOrProblem], rows: Sequence[Row], *, deadline: float
) -> AnswerOrProblem:
    """One answer of one version out of those to the parts; what is missing in one part is missing in all."""
    whole: list[Answer] = []
    for answer in answers:
        if isinstance(answer, Unavailable):
            return answer
        whole.append(answer)
    if len({answer.version for answer in whole}) > 1:
        return await model.ask_many(inputs_of(rows), deadline=deadline)
    columns = {name: list(chain.from_iterable(each.columns[name] for each in whole)) for name in whole[0].columns}
    return whole[0]._replace(columns=columns)


def _decided(
    rows: Sequence[Row], churn: AnswerOrProblem, clv: AnswerOrProblem, policy: Policy, *, is_lenient: bool
) -> Outcome:
    problems = [answer for answer in (churn, clv) if isinstance(answer, Unavailable)]
    if len(problems) > (1 if is_lenient else 0):
        raise problems[0]
    return _merge(
        rows,
        None if isinstance(churn, Unavailable) else churn,
        None if isinstance(clv, Unavailable) else clv,
        policy,
    )


def _merge(rows: Sequence[Row], churn: Answer | None, clv: Answer | None, policy: Policy) -> Outcome:
    in_force = policy_in_force(policy, clv.metadata if clv else None)
    return Outcome(rows, [_prediction(churn, clv, at, in_force) for at in range(len(rows))], in_force, churn, clv)


def _prediction(churn: Answer | None, clv: Answer | None, position: int, policy: Policy) -> Prediction:
    probability = churn_interval = churn_variant = value = clv_interval = revenue = clv_variant = None
    if churn is not None:
        columns, at = churn.columns, churn.first + position
        probability, churn_variant = columns["churn_probability"][at], columns["variant"][at]
        churn_interval = columns["churn_lower"][at], columns["churn_upper"][at]
    if clv is not None:
        columns, at = clv.columns, clv.first + position
        value, clv_variant = columns["estimated_clv"][at], columns["variant"][at]
        clv_interval = columns["clv_lower"][at], columns["clv_upper"][at]
        revenue = columns["monthly_revenue"][at]
    decision = decide(probability, churn_interval, value, policy)
    return Prediction(probability, churn_interval, value, clv_interval, revenue, decision, churn_variant, clv_variant)
