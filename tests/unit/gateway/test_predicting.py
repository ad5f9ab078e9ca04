"""The use case, with models that answer what a test says."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from support.builders import a_customer, with_usage
from support.stub_model import StubModel
from telelink_gateway.predicting import (
    CHURN_OUTPUTS,
    CLV_OUTPUTS,
    ROWS_PER_CALL,
    Models,
    policy_in_force,
    predict_many,
    predict_one,
)
from telelink_gateway.upstream.answer import Answer, inputs_of
from telelink_shared.customer import CATEGORIES, ELEVEN, MINUTES, Customer, row_of
from telelink_shared.decision import Policy
from telelink_shared.inference import ModelMetadata
from telelink_shared.problem import ModelUnavailable


def customers(*requests):
    return [Customer.model_validate(request) for request in requests]


def tensors(*requests):
    return {
        tensor["name"]: tensor for tensor in json.loads(inputs_of([row_of(each) for each in customers(*requests)]).json)
    }


def metadata(model="clv", **parameters: Any) -> ModelMetadata:
    described = StubModel(model).metadata()
    return ModelMetadata.model_validate(described | {"parameters": described["parameters"] | parameters})


def as_checked(columns):
    """The columns as a client hands them on."""
    expected = {output.name: output for output in (*CHURN_OUTPUTS, *CLV_OUTPUTS)}
    return {name: expected[name].rounded(values) for name, values in columns.items()}


@dataclass
class FakeModel:
    """Answers with these columns, also one customer at a time; without any it is out."""

    model: str
    columns: dict[str, list[Any]] | None

    async def ask_many(self, inputs, *, deadline, with_reasons=False):
        if self.columns is None:
            return ModelUnavailable(f"The {self.model}-service cannot answer.", retry_after_s=2)
        return Answer(self.model, "1", metadata(self.model), as_checked(self.columns))

    def ask(self, row, *, deadline):
        return asyncio.ensure_future(self._ask(row, deadline))

    async def _ask(self, row, deadline):
        answer = await self.ask_many(inputs_of([row]), deadline=deadline)
        return answer if self.columns is None else answer.of_row(0)


CHURN = {
    "churn_probability": [0.25, 0.123_456_789],
    "churn_lower": [0.2, 0.1],
    "churn_upper": [0.28, 0.123_456_789],
    "variant": ["eleven", "usage"],
}
CLV = {
    "estimated_clv": [12_000.006, 16_000.0],
    "clv_lower": [10_000.0, 14_000.0],
    "clv_upper": [14_000.006, 18_000.0],
    "monthly_revenue": [None, 60.126],
    "variant": ["eleven", "usage"],
}


def models(churn, clv, policy=None):
    return Models(churn, clv, policy or Policy())


async def predicted(churn, clv, *, is_lenient=False, policy=None):
    return await predict_many(
        customers(a_customer(), with_usage()),
        models(FakeModel("churn", churn), FakeModel("clv", clv), policy),
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
    assert (first.churn_interval, first.clv_interval) == ((0.2, 0.28), (10_000.0, 14_000.01))
    assert (second.churn_interval, second.clv_interval) == ((0.1, 0.123_457), (14_000.0, 18_000.0))
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


@pytest.mark.parametrize(("churn", "clv"), [(CHURN, CLV), (None, CLV), (CHURN, None)])
async def test_one_customer_is_answered_as_in_a_batch(churn, clv):
    both = models(FakeModel("churn", churn), FakeModel("clv", clv))
    alone = await predict_one(*customers(a_customer()), both, deadline=0.0, is_lenient=True)
    batch = await predicted(churn, clv, is_lenient=True)
    assert [*alone.predictions] == [*batch.predictions[:1]]
    assert (alone.missing, alone.versions, alone.policy) == (batch.missing, batch.versions, batch.policy)


async def test_a_broken_client_is_a_bug_and_not_a_missing_half():
    class Broken:
        async def ask_many(self, *_arguments, **_named):
            raise ZeroDivisionError

        def ask(self, *_arguments, **_named):
            return asyncio.ensure_future(self.ask_many())

    both = models(Broken(), FakeModel("clv", CLV))
    with pytest.raises(ZeroDivisionError):
        await predict_many(customers(a_customer(), a_customer()), both, deadline=0.0, is_lenient=True)
    with pytest.raises(ZeroDivisionError):
        await predict_one(*customers(a_customer()), both, deadline=0.0, is_lenient=True)


class Scripted:
    """Answers each customer by the own tenure, as its script says call by call: a version, or None for out."""

    def __init__(self, model, outputs, *script):
        self.model = model
        self.sizes = []
        self._outputs = outputs
        self._script = list(script)

    async def ask_many(self, inputs, *, deadline, with_reasons=False):
        self.sizes.append(inputs.n_rows)
        version = self._script.pop(0)
        if version is None:
            return ModelUnavailable(f"The {self.model}-service cannot answer.", retry_after_s=2)
        (tenures,) = (each["data"] for each in json.loads(inputs.json) if each["name"] == "account_length")
        figures = {name: [tenure / 1e4 for tenure in tenures] for name in self._outputs}
        return Answer(
            self.model, version, metadata(self.model), as_checked(figures | {"variant": [version] * inputs.n_rows})
        )


N_PARTS = 3
MANY = customers(*(a_customer(accountLength=number) for number in range((N_PARTS - 1) * ROWS_PER_CALL + 1)))
PARTS = [ROWS_PER_CALL, ROWS_PER_CALL, 1]


def scripted(churn, clv):
    return models(
        Scripted("churn", ("churn_probability", "churn_lower", "churn_upper"), *churn),
        Scripted("clv", ("estimated_clv", "clv_lower", "clv_upper", "monthly_revenue"), *clv),
    )


async def answered(both, *, is_lenient=True):
    return await predict_many(MANY, both, deadline=0.0, is_lenient=is_lenient)


async def test_a_large_batch_is_asked_for_in_parts_and_answered_in_one_order():
    both = scripted("111", "111")
    outcome = await answered(both, is_lenient=False)
    assert both.churn.sizes == both.clv.sizes == PARTS
    assert [each.churn_probability for each in outcome.predictions] == [number / 1e4 for number in range(len(MANY))]
    assert [row[0] for row in outcome.rows] == [*range(len(MANY))]


@pytest.mark.parametrize("out", [(None, "1", "1"), ("1", None, "1"), ("1", "1", None), (None, None, "1")])
async def test_what_is_missing_in_one_part_is_missing_in_all(out):
    both = scripted(out, "111")
    outcome = await answered(both)
    assert outcome.missing == ("churn",)
    assert {each.churn_probability for each in outcome.predictions} == {None}
    assert [each.estimated_clv for each in outcome.predictions] == [
        round(number / 1e4, 2) for number in range(len(MANY))
    ]
    assert both.clv.sizes == PARTS


@pytest.mark.parametrize("is_lenient", [True, False])
async def test_where_each_half_is_missing_in_another_part_nothing_is_answered(is_lenient):
    with pytest.raises(ModelUnavailable):
        await answered(scripted((None, "1", "1"), ("1", "1", None)), is_lenient=is_lenient)


async def test_a_half_that_is_missing_in_one_part_is_no_answer_without_leave():
    with pytest.raises(ModelUnavailable, match="clv-service"):
        await answered(scripted("111", ("1", None, "1")), is_lenient=False)


@pytest.mark.parametrize("versions", ["112", "121", "122", "123"])
async def test_a_batch_is_answered_by_one_version_though_the_model_is_replaced_meanwhile(versions):
    both = scripted(versions + "9", "111")
    outcome = await answered(both)
    assert both.churn.sizes == [*PARTS, len(MANY)]
    assert both.clv.sizes == PARTS
    assert outcome.versions == ("9", "1")
    assert {each.churn_variant for each in outcome.predictions} == {"9"}
    assert [each.churn_probability for each in outcome.predictions] == [number / 1e4 for number in range(len(MANY))]


async def test_when_both_models_are_replaced_meanwhile_each_is_asked_once_more():
    both = scripted("1129", "1228")
    assert (await answered(both)).versions == ("9", "8")


async def test_a_model_that_is_out_when_it_is_asked_once_more_is_missing():
    outcome = await answered(scripted(("1", "2", "2", None), "111"))
    assert outcome.versions == (None, "1")
