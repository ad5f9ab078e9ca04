"""Whatever a network or a model service can do becomes an answer or ModelUnavailable."""

import asyncio
import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp
import httpx
import pytest
from prometheus_client import CollectorRegistry

from support.stub_model import StubModel
from telelink_gateway.predicting import CLV_OUTPUTS
from telelink_gateway.upstream import breaker
from telelink_gateway.upstream.answer import Answer, Inputs
from telelink_gateway.upstream.client import ModelClient, Refused
from telelink_gateway.upstream.http import Http
from telelink_gateway.upstream.metrics import UpstreamMetrics
from telelink_gateway.upstream.status import quantile_ms
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN
from telelink_shared.problem import ModelUnavailable

Handler = Callable[[httpx.Request], httpx.Response]
INPUTS = Inputs(b'[{"name":"account_length","shape":[1],"datatype":"FP64","data":[1.0]}]', 1)
FAILURES = [
    error
    for error in (getattr(httpx, name) for name in httpx.__all__)
    if isinstance(error, type) and issubclass(error, Exception)
]
# What the transport hands on as it is.
UNTRANSLATED = [
    aiohttp.ClientError("secret-host"),
    aiohttp.ClientPayloadError("secret-host"),
    aiohttp.InvalidURL("secret-host"),
    ConnectionResetError("secret-host"),
    ValueError("secret-host"),
]


class Service:
    """A lifetime-value service behind a transport; a test changes what it answers."""

    def __init__(self):
        self.stub = StubModel("clv")
        self.registry = CollectorRegistry()
        self.infer: Handler = lambda request: self.reply(self.stub.valid_infer(json.loads(request.content))[2])
        self.describe: Handler = lambda _: self.reply(json.dumps(self.stub.metadata()).encode())
        self.ready: Handler = lambda _: self.reply(b'{"ready": true}')

    @staticmethod
    def reply(body):
        return httpx.Response(200, content=body)

    async def handle(self, request):
        if request.url.path.endswith("/ready"):
            answer = self.ready(request)
        else:
            answer = (self.infer if request.method == "POST" else self.describe)(request)
        return await answer if inspect.isawaitable(answer) else answer

    def calls(self, outcome):
        return self.counted("upstream_calls_total", outcome=outcome)

    def counted(self, name, **labels):
        return self.registry.get_sample_value(name, {"service": "clv-service"} | labels) or 0.0


@pytest.fixture
def service():
    return Service()


@pytest.fixture
async def open_client(service):
    """Makes a client of the service at an address."""
    clients = []
    metrics = UpstreamMetrics(service.registry)

    def open_at(url="http://127.0.0.1:8002", **how):
        http = Http(httpx.MockTransport(service.handle))
        clients.append(
            ModelClient("clv-service", "clv", url, http, metrics, input_schema_hash(ELEVEN), CLV_OUTPUTS, **how)
        )
        return clients[-1]

    yield open_at
    for each in clients:
        await each.close()


@pytest.fixture
def client(open_client):
    return open_client()


async def ask(client, *, within_s=10.0) -> Answer:
    return await client.infer(INPUTS, headers={}, deadline=asyncio.get_running_loop().time() + within_s)


async def problem_of(client, **how):
    with pytest.raises(ModelUnavailable) as raised:
        await ask(client, **how)
    return raised.value


def raises(error):
    def handler(_request):
        raise error

    return handler


def made(error):
    """An instance of any of httpx's exceptions, saying something that no client may read."""
    known = {"message": "secret-host", "request": None, "response": None}
    return error(**{name: known[name] for name in inspect.signature(error).parameters})


async def test_a_valid_reply_is_an_answer_with_its_version_and_metadata(client, service):
    answer = await ask(client)
    assert (answer.model, answer.version) == ("clv", "1")
    assert answer.columns == {
        "estimated_clv": [12_000.0],
        "clv_lower": [10_500.0],
        "clv_upper": [13_500.0],
        "monthly_revenue": [60.0],
        "variant": ["usage"],
    }
    assert answer.invalid == frozenset()
    assert answer.metadata.versions == ["1"]
    assert service.calls("ok") == 1


def test_every_family_of_the_librarys_errors_is_walked():
    assert {httpx.ConnectError, httpx.ReadTimeout, httpx.InvalidURL, httpx.StreamClosed} <= set(FAILURES)


@pytest.mark.parametrize("where", ["infer", "describe"])
@pytest.mark.parametrize("error", FAILURES)
async def test_every_error_of_the_library_becomes_our_problem_and_tells_no_detail(client, service, error, where):
    setattr(service, where, raises(made(error)))
    problem = await problem_of(client)
    assert problem.retry_after_s is not None
    assert problem.retry_after_s > 0
    assert "secret-host" not in problem.detail
    assert "clv-service" in problem.detail


@pytest.mark.parametrize("error", UNTRANSLATED, ids=lambda error: type(error).__name__)
async def test_what_the_transport_does_not_translate_becomes_our_problem_too(client, service, error):
    service.infer = raises(error)
    assert "secret-host" not in (await problem_of(client)).detail


@pytest.mark.parametrize("where", ["ready", "describe"])
@pytest.mark.parametrize("error", FAILURES)
async def test_with_every_error_of_the_library_the_state_is_still_told(client, service, error, where):
    setattr(service, where, raises(made(error)))
    status = await client.status()
    assert not status.is_ready
    assert status.last_error


async def test_after_a_failure_the_next_answer_counts_again(client, service):
    healthy, service.infer = service.infer, raises(httpx.ConnectError("refused"))
    await problem_of(client)
    service.infer = healthy
    assert (await ask(client)).version == "1"


async def test_no_answer_by_the_deadline_is_our_problem(client, service):
    async def hang(_request):
        await asyncio.Event().wait()

    service.infer = hang
    problem = await problem_of(client, within_s=0.01)
    assert problem.retry_after_s
    assert service.calls("timeout") == 1


async def test_a_caller_that_gives_up_is_not_told_that_the_model_is_out(client, service):
    asked = asyncio.Event()

    async def hang(_request):
        asked.set()
        await asyncio.Event().wait()

    service.infer = hang
    waiting = asyncio.create_task(ask(client))
    await asked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("version", ["\x00", "..", "1?x=1", "1#x", "2"])
async def test_a_version_that_the_service_does_not_describe_is_not_believed(client, service, version):
    service.infer = lambda request: service.reply(
        service.stub.valid_infer(json.loads(request.content), model_version=version)[2]
    )
    await problem_of(client)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"versions": []},
        {"versions": ["2"]},
        {"parameters": {}},
        {"parameters": None},
        {"parameters": {"input_schema_hash": "0" * 64}},
        *(
            {"parameters": {"input_schema_hash": input_schema_hash(ELEVEN), **wrong}}
            for wrong in (
                {"quantiles": None},
                {"quantiles": {"estimated_clv": None}},
                {"quantiles": {"estimated_clv": {"0.75": "much"}}},
                {"quantiles": {"estimated_clv": {"0.75": None}}},
                {"notes": 5},
                {"notes": [5]},
                {"variants": None},
                {"variants": ["usage"]},
                {"variants": [{"name": "usage"}]},
                {"variants": [{"name": 5, "needs": []}]},
                {"variants": [{"name": "usage", "needs": [5]}]},
            )
        ),
    ],
    ids=str,
)
async def test_metadata_that_cannot_be_used_makes_the_model_unavailable(client, service, changes):
    service.describe = lambda _: service.reply(json.dumps(service.stub.metadata() | changes).encode())
    await problem_of(client)
    assert client.latest_metadata is None
    if changes != {"versions": ["2"]}:  # asked for no version in particular, that is a fine one
        assert (await client.status()).state == "not ready"


async def test_a_server_that_knows_no_quantiles_and_no_notes_is_used(client, service):
    bare = {"parameters": {"input_schema_hash": input_schema_hash(ELEVEN)}}
    service.describe = lambda _: service.reply(json.dumps(service.stub.metadata() | bare).encode())
    assert (await ask(client)).columns["estimated_clv"] == [12_000.0]
    assert (await client.status()).notes == ()


async def test_a_service_that_says_not_ready_is_not_ready(client, service):
    service.ready = lambda _: httpx.Response(503, content=b'{"ready": false}')
    assert (await client.status()).state == "not ready"


def fails_first(n, error, then):
    """Fails so many times, and answers from then on."""
    left = iter([error] * n)

    def handler(request):
        failure = next(left, None)
        if isinstance(failure, Exception):
            raise failure
        return failure or then(request)

    return handler


DRAINING = httpx.Response(503, headers={"Connection": "close"}, content=b"{}")
WORTH_ANOTHER_TRY = {
    "connect": httpx.ConnectError("refused"),
    "reset": httpx.ReadError("reset"),
    "draining": DRAINING,
}


@pytest.mark.parametrize("code", WORTH_ANOTHER_TRY)
async def test_a_call_that_did_not_reach_the_service_or_lost_its_reply_is_made_once_more(client, service, code):
    service.infer = fails_first(1, WORTH_ANOTHER_TRY[code], service.infer)
    assert (await ask(client)).version == "1"
    assert service.counted("upstream_retries_total", reason=code) == 1
    assert service.calls("ok") == 1


@pytest.mark.parametrize("code", WORTH_ANOTHER_TRY)
async def test_no_call_is_made_a_third_time(client, service, code):
    for _ in range(100):
        await ask(client)
    service.infer = fails_first(2, WORTH_ANOTHER_TRY[code], service.infer)
    await problem_of(client)
    assert service.calls(code) == 1
    assert (await ask(client)).version == "1"
    assert service.counted("upstream_retries_total", reason=code) == 1


@pytest.mark.parametrize(
    "reply",
    [httpx.Response(502), httpx.Response(503), httpx.Response(307, headers={"Location": "/"}), httpx.Response(200)],
    ids=repr,
)
async def test_an_answer_of_whatever_kind_is_not_asked_for_twice(client, service, reply):
    asked = []
    service.infer = lambda request: asked.append(request) or reply
    await problem_of(client)
    assert len(asked) == 1


async def test_of_many_failing_calls_a_tenth_is_made_twice(client, service):
    asked = []

    def answer_in_turn(request):
        # Every other one fails, so that the breaker has its half only after many of them.
        asked.append(request)
        if len(asked) % 3 == 0:
            raise httpx.ReadError("reset")
        return service.reply(service.stub.valid_infer(json.loads(request.content))[2])

    service.infer = answer_in_turn
    n_calls = 0
    for _ in range(100):
        n_calls += 1
        with suppress(ModelUnavailable):
            await ask(client)
    assert service.counted("upstream_retries_total", reason="reset") == len(asked) - n_calls
    assert 5 <= len(asked) - n_calls <= n_calls / 10 + 1


async def test_another_try_goes_to_another_address_and_both_are_told_the_name(open_client, service):
    async def resolve(_host, _port):
        return ["10.0.0.1", "10.0.0.2"]

    client = open_client("http://clv-service:8002", resolve=resolve)
    await ask(client)
    asked, healthy = [], service.infer
    service.infer = lambda request: asked.append(request) or (DRAINING if len(asked) == 1 else healthy(request))
    assert (await ask(client)).version == "1"
    assert {request.url.host for request in asked} == {"10.0.0.1", "10.0.0.2"}
    assert {request.headers["host"] for request in asked} == {"clv-service:8002"}


async def test_one_of_two_addresses_that_hangs_is_left_alone_and_does_not_take_the_other_with_it(open_client, service):
    async def resolve(_host, _port):
        return ["10.0.0.1", "10.0.0.2"]

    client = open_client("http://clv-service:8002", resolve=resolve)
    await ask(client)
    asked, healthy = [], service.infer

    def hangs_at_one(request):
        asked.append(request.url.host)
        return hang(request) if request.url.host == asked[0] else healthy(request)

    service.infer = hangs_at_one
    await problem_of(client, within_s=0.3)
    assert [(await ask(client)).version for _ in range(6)] == ["1"] * 6
    assert asked.count(asked[0]) == 1


async def test_an_address_is_not_left_for_a_deadline_that_the_caller_made_too_short(open_client, service):
    async def resolve(_host, _port):
        return ["10.0.0.1", "10.0.0.2"]

    client = open_client("http://clv-service:8002", resolve=resolve)
    await ask(client)
    asked, healthy = [], service.infer
    service.infer = lambda request: (
        asked.append(request.url.host) or (hang(request) if len(asked) == 1 else healthy(request))
    )
    await problem_of(client, within_s=0.05)
    for _ in range(4):
        await ask(client)
    assert asked.count(asked[0]) == 3


async def test_the_metadata_are_asked_of_the_address_that_answered(open_client, service):
    async def resolve(_host, _port):
        return ["10.0.0.1", "10.0.0.2"]

    client = open_client("http://clv-service:8002", resolve=resolve)
    infer, describe = service.infer, service.describe
    hosts = []
    service.infer = lambda request: hosts.append(request.url.host) or infer(request)
    service.describe = lambda request: hosts.append(request.url.host) or describe(request)
    await ask(client)
    assert len(hosts) == 2
    assert len(set(hosts)) == 1


async def test_the_service_is_told_how_long_the_answer_is_waited_for(client, service):
    told, infer = [], service.infer
    service.infer = lambda request: told.append(int(request.headers["x-deadline-ms"])) or infer(request)
    await ask(client, within_s=5.0)
    assert 0 < told[0] <= 5_000


@pytest.mark.parametrize("wrong", [None, "", "0", "of another call"])
async def test_a_reply_to_another_call_is_none_and_its_connection_is_not_used_again(client, service, wrong):
    await ask(client)
    healthy, kept = service.infer, []
    service.infer = lambda request: service.reply(service.stub.valid_infer(json.loads(request.content), id=wrong)[2])
    await problem_of(client)
    assert service.calls("mixed_up") == 1
    service.infer = lambda request: kept.append(request.headers.get("connection")) or healthy(request)
    await ask(client)
    await ask(client)
    assert kept == ["close", None]


async def test_a_version_that_is_gone_before_it_was_described_costs_no_answer(client, service):
    await ask(client)
    infer = service.infer

    def replaced_twice(request):
        """Answers by version 2, and is replaced by 3 before anyone asks what that was."""
        service.infer, service.stub.version = infer, "3"
        return service.reply(service.stub.valid_infer(json.loads(request.content), model_version="2")[2])

    service.infer = replaced_twice
    service.describe = lambda request: (
        httpx.Response(404)
        if request.url.path.endswith("/2")
        else service.reply(json.dumps(service.stub.metadata()).encode())
    )
    assert (await ask(client)).version == "3"
    assert service.counted("upstream_retries_total", reason="version") == 1


async def test_a_version_that_was_described_before_is_not_asked_about_again(client, service):
    await ask(client)
    service.describe = raises(httpx.ConnectError("gone"))
    assert (await ask(client)).version == "1"


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_customers_that_the_service_refuses_say_nothing_against_it(client, service, status):
    service.infer = lambda _: httpx.Response(status)
    for _ in range(50):
        with pytest.raises(Refused):
            await ask(client)
    assert client.breaker.state == "closed"


async def hang(_request):
    await asyncio.Event().wait()


async def test_a_deadline_that_the_caller_made_too_short_says_nothing_against_the_service(client, service):
    service.infer = hang
    for within_s in (0.0, -1.0, 0.001):
        for _ in range(20):
            await problem_of(client, within_s=within_s)
    assert client.breaker.state == "closed"


async def test_a_call_whose_deadline_has_passed_is_not_made(client, service):
    asked = []
    service.infer = lambda request: asked.append(request) or service.reply(b"")
    await problem_of(client, within_s=0.0)
    assert asked == []


async def test_a_service_that_says_the_deadline_has_passed_has_not_failed(client, service):
    service.infer = lambda _: httpx.Response(504)
    for _ in range(20):
        await problem_of(client, within_s=0.2)
    assert client.breaker.state == "closed"
    assert service.calls("timeout") == 20


async def test_more_work_than_can_be_done_in_time_says_nothing_against_the_service(client, service):
    service.infer = hang
    inputs = Inputs(INPUTS.json, 10)
    deadline = asyncio.get_running_loop().time() + 0.3
    asked = [client.infer(inputs, headers={}, deadline=deadline, with_reasons=True) for _ in range(20)]
    assert {*map(type, await asyncio.gather(*asked, return_exceptions=True))} == {ModelUnavailable}
    assert client.breaker.state == "closed"


async def test_a_service_that_hangs_is_not_asked_any_more(client, service):
    service.infer = hang
    problems = await asyncio.gather(*(problem_of(client, within_s=0.3) for _ in range(8)))
    assert {problem.status for problem in problems} == {503}
    assert client.breaker.state == "open"
    problem = await problem_of(client)
    assert problem.retry_after_s
    assert service.calls("timeout") == 8
    assert service.counted("upstream_not_asked_total") == 1


async def opened(client, service):
    """A client whose service fails, with an open breaker; what the service is asked from then on."""
    asked = []
    service.infer = lambda request: asked.append(json.loads(request.content)) or httpx.Response(500)
    while client.breaker.state == "closed":
        await problem_of(client)
    asked.clear()
    return asked


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_a_made_up_customer_finds_out_when_the_service_is_back(client, service, monkeypatch):
    monkeypatch.setattr(breaker, "OPEN_S", 0.0)
    healthy = service.infer
    asked = await opened(client, service)
    await until(lambda: len(asked) == 3)
    assert asked[0]["inputs"][1]["data"] == ["CA", "CA"]
    service.infer = healthy
    await until(lambda: client.breaker.state == "closed")
    assert (await ask(client)).version == "1"
    assert service.counted("upstream_breaker_changes_total", to="closed") == 1
    assert service.counted("upstream_breaker_changes_total", to="half-open") >= 4
    assert service.counted("upstream_breaker_is_closed") == 1


async def test_however_many_ask_while_the_probe_is_under_way_it_is_the_only_call(client, service, monkeypatch):
    monkeypatch.setattr(breaker, "OPEN_S", 0.0)
    healthy = service.infer
    await opened(client, service)
    asked, go = [], asyncio.Event()

    async def wait(request):
        asked.append(request)
        await go.wait()
        return healthy(request)

    service.infer = wait
    await until(lambda: asked)
    assert client.breaker.state == "half-open"
    for _ in range(50):
        await problem_of(client)
    assert len(asked) == 1
    go.set()
    await until(lambda: client.breaker.state == "closed")
    assert (await ask(client)).version == "1"


async def test_a_probe_that_is_cancelled_leaves_the_way_open_for_the_next(client, service, monkeypatch):
    monkeypatch.setattr(breaker, "OPEN_S", 0.0)
    healthy = service.infer
    await opened(client, service)
    asked = []

    async def wait(request):
        asked.append(asyncio.current_task())
        await asyncio.Event().wait()

    service.infer = wait
    await until(lambda: asked)
    service.infer = healthy
    asked[0].cancel()
    await until(lambda: client.breaker.state == "closed")


async def test_what_went_wrong_last_is_told_as_a_code_and_a_time(client, service):
    service.infer = raises(httpx.ConnectError("secret-host"))
    before = datetime.now(UTC)
    await problem_of(client)
    status = await client.status()
    assert status.last_error == "connect"
    assert before <= status.last_error_at <= datetime.now(UTC)
    assert "secret" not in repr(status)


def test_quantiles_are_times_that_occurred():
    taken_s = [each / 1_000 for each in range(1, 101)]
    assert (quantile_ms(taken_s, 0.5), quantile_ms(taken_s, 0.99)) == (50.0, 99.0)
    assert (quantile_ms(taken_s[:1], 0.5), quantile_ms(taken_s[:1], 0.99), quantile_ms([], 0.5)) == (1.0, 1.0, None)


async def test_the_latency_is_that_of_calls_that_were_answered(open_client, service):
    unlucky, healthy = open_client(), service.infer
    service.infer = raises(httpx.ConnectError("refused"))
    await problem_of(unlucky)
    assert (await unlucky.status()).latency_ms is None
    service.infer = healthy
    lucky = open_client()
    await ask(lucky)
    assert (await lucky.status()).latency_ms > 0
