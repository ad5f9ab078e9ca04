"""The use case, with model clients that answer what a test says."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from support.builders import a_customer, with_usage
from support.stub_model import StubModel
from telelink_gateway.predicting import inputs_json, policy_in_force, predict
from telelink_gateway.upstream.client import Answer
from telelink_shared.customer import CATEGORIES, ELEVEN, MINUTES, Customer
from telelink_shared.decision import Policy
from telelink_shared.inference import ModelMetadata
from telelink_shared.problem import ModelUnavailable


def customers(*requests):
    return [Customer.model_validate(request) for request in requests]


def tensors(*requests):
    return {tensor["name"]: tensor for tensor in json.loads(inputs_json(customers(*requests)))}


def metadata(model="clv", **parameters: Any) -> ModelMetadata:
    described = StubModel(model).metadata()
    return ModelMetadata.model_validate(described | {"parameters": described["parameters"] | parameters})


@dataclass
class FakeClient:
    """Answers with these columns; without any it is out."""

    model: str
    columns: dict[str, list[Any]] | None

    async def infer(self, inputs_json, *, n_rows, deadline):
        if self.columns is None:
            raise ModelUnavailable(f"The {self.model}-service cannot answer.", retry_after_s=2)
        return Answer(self.model, "1", metadata(self.model), self.columns)


CHURN = {"churn_probability": [0.25, 0.123_456_789], "variant": ["eleven", "usage"]}
CLV = {"estimated_clv": [12_000.006, 16_000.0], "monthly_revenue": [None, 60.126], "variant": ["eleven", "usage"]}


async def predicted(churn, clv, *, is_lenient=False, policy=None):
    return await predict(
        customers(a_customer(), with_usage()),
        churn=FakeClient("churn", churn),
        clv=FakeClient("clv", clv),
        policy=policy or Policy(),
        deadline=0.0,
        is_lenient=is_lenient,
    )


def test_there_is_one_tensor_for_each_column_in_the_order_of_the_customers():
    sent = tensors(a_customer(accountLength=1, state="oh"), a_customer(accountLength=2, state="NJ"))
    assert list(sent) == list(ELEVEN)
    assert sent["account_length"] == {
        "name": "account_length",
        "shape": [2],
        "datatype": "FP64",
        "data": [1.0, 2.0],
    }
    assert sent["state"]["data"] == ["OH", "NJ"]
    assert {name for name, tensor in sent.items() if tensor["datatype"] == "BYTES"} == set(CATEGORIES)


def test_a_usage_column_that_nobody_has_is_left_out():
    assert set(tensors(with_usage())) == {*ELEVEN, *MINUTES}
    sent = tensors(a_customer(totalDayCharge=30.5), a_customer(totalDayMinutes=0))
    assert set(sent) == {*ELEVEN, "total_day_charge", "total_day_minutes"}


def test_what_one_customer_has_is_null_for_those_who_have_it_not():
    sent = tensors(a_customer(), with_usage(totalDayMinutes=180.5), a_customer(totalDayMinutes=0))
    assert sent["total_day_minutes"]["data"] == [None, 180.5, 0.0]
    assert sent["total_eve_minutes"]["data"] == [None, 200.1, None]


def test_value_limits_come_from_the_value_model_where_the_operator_set_none():
    policy = policy_in_force(Policy(), metadata())
    assert (policy.high_value_from_usd, policy.top_value_from_usd) == (15_000.0, 18_000.0)


@pytest.mark.parametrize("limits", [{"high_value_from_usd": 1.0}, {"top_value_from_usd": 0.0}])
def test_an_operators_limit_stands_and_the_other_one_still_comes_from_the_model(limits):
    in_force = policy_in_force(Policy(**limits), metadata())
    wanted = {"high_value_from_usd": 15_000.0, "top_value_from_usd": 18_000.0} | limits
    assert {name: getattr(in_force, name) for name in wanted} == wanted


@pytest.mark.parametrize("clv", [None, metadata(quantiles={}), metadata(quantiles={"estimated_clv": {}})])
def test_limits_that_nobody_knows_stay_unknown(clv):
    in_force = policy_in_force(Policy(), clv)
    assert (in_force.high_value_from_usd, in_force.top_value_from_usd) == (None, None)
    assert policy_in_force(Policy(high_value_from_usd=5.0), clv).high_value_from_usd == 5.0


async def test_both_halves_are_merged_in_the_order_of_the_customers():
    outcome = await predicted(CHURN, CLV)
    first, second = outcome.predictions
    assert (first.churn_probability, first.decision.tier, first.churn_variant) == (0.25, "Medium", "eleven")
    assert (second.churn_probability, second.decision.tier, second.clv_variant) == (0.123_457, "Low", "usage")
    assert outcome.missing == ()
    assert outcome.policy.high_value_from_usd == 15_000.0


async def test_what_is_shown_is_what_is_decided_on():
    outcome = await predicted(
        {**CHURN, "churn_probability": [0.299_999_9, 0.149_999_9]}, {**CLV, "estimated_clv": [14_999.996, 17_999.994]}
    )
    high, medium = outcome.predictions
    assert (high.churn_probability, high.decision.tier, high.estimated_clv) == (0.3, "High", 15_000.0)
    assert high.decision.recommendation.startswith("CRITICAL")
    assert (medium.churn_probability, medium.decision.tier, medium.estimated_clv) == (0.15, "Medium", 17_999.99)


async def test_an_unknown_revenue_stays_unknown():
    outcome = await predicted(CHURN, CLV)
    assert [each.monthly_revenue for each in outcome.predictions] == [None, 60.13]


async def test_a_missing_value_is_none_and_the_risk_is_told_all_the_same():
    outcome = await predicted(CHURN, None, is_lenient=True)
    assert (outcome.missing, outcome.clv) == (("clv",), None)
    for prediction, tier in zip(outcome.predictions, ("Medium", "Low"), strict=True):
        assert (prediction.estimated_clv, prediction.monthly_revenue, prediction.clv_variant) == (None, None, None)
        assert prediction.decision.value_at_risk_usd is None
        assert prediction.decision.tier == tier
        assert "value is not known" in prediction.decision.recommendation
    assert outcome.policy.high_value_from_usd is None


async def test_a_missing_risk_is_none_and_the_value_is_told_all_the_same():
    outcome = await predicted(None, CLV, is_lenient=True)
    assert outcome.missing == ("churn",)
    assert [each.estimated_clv for each in outcome.predictions] == [12_000.01, 16_000.0]
    for prediction in outcome.predictions:
        decision = prediction.decision
        assert (prediction.churn_probability, prediction.churn_variant) == (None, None)
        assert (decision.tier, decision.confidence, decision.value_at_risk_usd) == (None, None, None)
        assert "risk is not known" in decision.recommendation


@pytest.mark.parametrize(
    ("churn", "clv", "is_lenient", "who"),
    [
        (None, CLV, False, "churn"),
        (CHURN, None, False, "clv"),
        (None, None, False, "churn"),
        (None, None, True, "churn"),
    ],
)
async def test_without_leave_to_miss_a_half_or_without_either_nothing_is_answered(churn, clv, is_lenient, who):
    with pytest.raises(ModelUnavailable, match=f"{who}-service"):
        await predicted(churn, clv, is_lenient=is_lenient)


async def test_a_broken_client_is_a_bug_and_not_a_missing_half():
    class Broken:
        async def infer(self, *_arguments, **_named):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await predict(
            customers(a_customer(), a_customer()),
            churn=Broken(),
            clv=FakeClient("clv", CLV),
            policy=Policy(),
            deadline=0.0,
            is_lenient=True,
        )
