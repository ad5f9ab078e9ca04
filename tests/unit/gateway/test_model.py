"""One customer together with others: what happens to one of them harms no other."""

import asyncio
import json

import httpx
import pytest
from prometheus_client import CollectorRegistry

from support.builders import a_customer
from support.stub_model import StubModel, column_of
from telelink_gateway.predicting import CHURN_OUTPUTS
from telelink_gateway.upstream.answer import Answer, inputs_of
from telelink_gateway.upstream.batching import MAX_CALLS, MAX_QUESTIONS_PER_CALL, MAX_WAITING
from telelink_gateway.upstream.breaker import MIN_CALLS
from telelink_gateway.upstream.client import ModelClient, UpstreamMetrics
from telelink_gateway.upstream.http import Http
from telelink_gateway.upstream.model import LastInputs, Model
from telelink_gateway.upstream.service import ModelService
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN, Customer, row_of
from telelink_shared.problem import ModelUnavailable, Overloaded

FULL = MAX_QUESTIONS_PER_CALL


class Service:
    """Answers each customer by the own tenure.

    Attributes:
        calls: the tenures of each call.
        refuses: whether a call with these tenures gets `refusal`.
        says: in place of the answer for a customer of that tenure.
        status: of every reply that is no refusal.
    """

    def __init__(self):
        self.calls = []
        self.refuses = lambda _tenures: False
        self.refusal = 422
        self.says = {}
        self.status = 200
        self.is_open = asyncio.Event()
        self.is_open.set()
        self._stub = StubModel("churn")

    async def handle(self, request):
        if request.method == "GET":
            return httpx.Response(200, json=self._stub.metadata())
        message = json.loads(request.content)
        tenures = column_of(message, "account_length")
        self.calls.append(tenures)
        await self.is_open.wait()
        if self.refuses(tenures):
            return httpx.Response(self.refusal, json={})
        probabilities = [self.says.get(tenure, tenure / 1e4) for tenure in tenures]
        _, _, body = self._stub.valid_infer(message, {"churn_probability": probabilities})
        return httpx.Response(self.status, content=body)


@pytest.fixture
async def service():
    return Service()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
async def model(service, registry):
    http = Http(httpx.MockTransport(service.handle))
    schema_hash = input_schema_hash(ELEVEN)
    metrics = UpstreamMetrics(registry)
    return Model(
        ModelClient(
            ModelService("churn-service", "churn", "http://127.0.0.1:8001", http, schema_hash), metrics, CHURN_OUTPUTS
        )
    )


@pytest.fixture(params=[422, 500])
def refusal(request, service):
    service.refusal = request.param
    return request.param


def calls_for(n_refused, refusal):
    """The most calls that may be made where so many of them are refused: two halves for each but those of one customer.

    After a 500 there is one more, which shows that the service is well.
    """
    return 1 + 2 * n_refused + (n_refused if refusal == 500 else 0)


def row(tenure):
    return row_of(Customer.model_validate(a_customer(accountLength=tenure)))


async def asked(model, tenures, *, within_s=10.0):
    """The answers to customers who are asked about at the same time."""
    deadline = asyncio.get_running_loop().time() + within_s
    return await asyncio.gather(*(model.ask(row(tenure), deadline=deadline) for tenure in tenures))


def told(answer):
    """The probability, or the problem's class."""
    return answer.columns["churn_probability"][answer.first] if isinstance(answer, Answer) else type(answer)


def all_but(tenures, bad, problem=ModelUnavailable):
    """The answers to these customers, with a problem for the bad ones."""
    return [problem if tenure in bad else tenure / 1e4 for tenure in tenures]


async def test_each_customer_of_a_call_gets_the_own_answer(model, service):
    answers = await asked(model, range(FULL))
    assert service.calls == [[*map(float, range(FULL))]]
    assert [*map(told, answers)] == all_but(range(FULL), ())


@pytest.mark.parametrize("poison", [0, 1, 31, 32, FULL - 1])
async def test_a_customer_that_the_service_refuses_or_breaks_on_harms_no_other(model, service, refusal, poison):
    service.refuses = lambda tenures: poison in tenures
    answers = await asked(model, range(FULL))
    assert [*map(told, answers)] == all_but(range(FULL), {poison})
    # 64 customers are halved six times.
    assert len(service.calls) <= calls_for(7, refusal)


@pytest.mark.parametrize("n_customers", [1, 2, 3, FULL])
async def test_a_service_that_refuses_everything_is_asked_twice_for_each_customer_at_most(model, service, n_customers):
    service.refuses = lambda _tenures: True
    answers = await asked(model, range(n_customers))
    assert [*map(told, answers)] == [ModelUnavailable] * n_customers
    assert len(service.calls) <= 2 * n_customers - 1
    assert model.client.breaker.state == "closed"


async def test_a_service_that_breaks_on_every_customer_but_no_probe_is_asked_four_times_for_each_at_most(
    model, service
):
    service.refuses, service.refusal = lambda tenures: min(tenures) < FULL, 500
    answers = await asked(model, range(FULL))
    assert [*map(told, answers)] == [ModelUnavailable] * FULL
    assert len(service.calls) <= 4 * FULL - 2
    assert model.client.breaker.state == "closed"


@pytest.mark.parametrize("poison", [{0, FULL - 1}, {31, 32}, {5, 6}, set(range(0, FULL, 7))], ids=str)
async def test_several_such_customers_harm_no_other_wherever_they_are(model, service, refusal, poison):
    service.refuses = lambda tenures: not poison.isdisjoint(tenures)
    answers = await asked(model, range(FULL))
    assert [*map(told, answers)] == all_but(range(FULL), poison)
    assert len(service.calls) <= min(
        2 * FULL - 1 + (FULL if refusal == 500 else 0), calls_for(7 * len(poison), refusal)
    )


async def test_a_customer_that_the_service_breaks_on_opens_no_breaker_however_often_it_comes(model, service):
    service.refuses, service.refusal = lambda tenures: 7 in tenures, 500
    for customers in ([7], [7, 8], [7], [6, 7, 8, 9]) * 10:
        answers = await asked(model, customers)
        assert [*map(told, answers)] == all_but(customers, {7})
    assert model.client.breaker.state == "closed"


async def test_a_service_that_breaks_on_everybody_is_asked_once_more_for_each_call_and_then_no_longer(model, service):
    service.refuses, service.refusal = lambda _tenures: True, 500
    for _ in range(MIN_CALLS):
        assert model.client.breaker.state == "closed"
        assert {told(answer) for answer in await asked(model, range(FULL))} == {ModelUnavailable}
    assert model.client.breaker.state == "open"
    assert len(service.calls) == 2 * MIN_CALLS
    assert {told(answer) for answer in await asked(model, range(FULL))} == {ModelUnavailable}
    assert len(service.calls) == 2 * MIN_CALLS


async def test_a_service_that_dies_while_the_customer_is_looked_for_is_asked_for_no_more_than_the_halves(
    model, service
):
    service.refuses, service.refusal = lambda tenures: 0 in tenures or len(service.calls) > 6, 500
    answers = await asked(model, range(FULL))
    assert {told(answer) for answer in answers} == {ModelUnavailable}
    # Three pairs that began while it lived; then the halves that were still to come, until the breaker opens.
    assert len(service.calls) <= 6 + 2 * MIN_CALLS
    assert model.client.breaker.state == "open"


async def test_no_half_is_asked_for_after_the_deadline(model, service):
    service.is_open.clear()
    service.refuses = lambda _tenures: True
    answers = asyncio.ensure_future(asked(model, range(FULL), within_s=0.05))
    assert [*map(told, await answers)] == [ModelUnavailable] * FULL
    service.is_open.set()
    await asyncio.sleep(0)
    assert len(service.calls) == 1


@pytest.mark.parametrize("impossible", [None, float("nan"), float("inf"), 1.01, -0.01, "0.5", True, [0.5], 10**400])
async def test_an_impossible_value_for_one_customer_harms_no_other_and_costs_no_call(model, service, impossible):
    service.says = {7: impossible}
    answers = await asked(model, range(FULL))
    assert [*map(told, answers)] == all_but(range(FULL), {7})
    assert len(service.calls) == 1


async def test_many_at_once_are_answered_all_or_none(model, service, refusal):
    deadline = asyncio.get_running_loop().time() + 10
    inputs = inputs_of([row(tenure) for tenure in range(3)])
    answer = await model.ask_many(inputs, deadline=deadline)
    assert answer.columns["churn_probability"] == [0.0, 0.0001, 0.0002]
    service.says = {1: None}
    assert told(await model.ask_many(inputs, deadline=deadline)) is ModelUnavailable
    service.says, service.refuses = {}, lambda tenures: 1 in tenures
    assert told(await model.ask_many(inputs, deadline=deadline)) is ModelUnavailable


async def test_when_the_call_fails_each_customer_has_a_problem_of_the_own(model, service):
    service.status = 500
    problems = await asked(model, range(3))
    assert [*map(type, problems)] == [ModelUnavailable] * 3
    assert len(set(map(id, problems))) == 3
    assert all(problem.retry_after_s for problem in problems)
    assert len(service.calls) == 2


async def test_a_customer_is_answered_by_the_own_deadline_however_long_others_of_the_call_wait(model, service):
    service.is_open.clear()
    patient = asyncio.ensure_future(asked(model, [1]))
    (hasty,) = await asked(model, [2], within_s=0.01)
    assert told(hasty) is ModelUnavailable
    assert [*map(sorted, service.calls)] == [[1.0, 2.0]]
    assert not patient.done()
    service.is_open.set()
    assert [*map(told, await patient)] == [0.0001]


async def test_more_than_can_be_answered_are_told_so_at_once_and_counted(model, service, registry):
    service.is_open.clear()
    deadline = asyncio.get_running_loop().time() + 10
    customer = row(1)
    most = MAX_CALLS * FULL + MAX_WAITING
    replies = []
    while len(replies) < most + 5:
        replies += [model.ask(customer, deadline=deadline) for _ in range(FULL)]
        await asyncio.sleep(0)  # lets a full batch be sent
    refused = [reply for reply in replies if reply.done()]
    assert refused
    assert {type(reply.result()) for reply in refused} == {Overloaded}
    assert (refused[0].result().status, refused[0].result().retry_after_s) == (503, 2)
    assert registry.get_sample_value("upstream_shed_total", {"service": "churn-service"}) == len(refused)
    service.is_open.set()
    assert {told(reply) for reply in await asyncio.gather(*replies)} == {0.0001, Overloaded}


def test_the_same_customers_are_encoded_once_for_both_models():
    encode, rows = LastInputs(), [row(1), row(2)]
    first = encode(rows)
    assert first == inputs_of(rows)
    assert encode(list(rows)) is first


@pytest.mark.parametrize("tenures", [[1], [1, 3], [2, 1], [1, 2, 3]])
def test_other_customers_are_encoded_anew(tenures):
    encode, rows = LastInputs(), [row(1), row(2), row(3)]
    encode(rows[:2])
    others = [rows[tenure - 1] for tenure in tenures]
    assert encode(others) == inputs_of(others)
