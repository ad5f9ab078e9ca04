"""Whatever a network or a model service can do becomes an answer or ModelUnavailable."""

import asyncio
import inspect
import json
from collections.abc import Callable

import aiohttp
import httpx
import pytest
from prometheus_client import CollectorRegistry

from support.stub_model import StubModel
from telelink_gateway.predicting import CLV_OUTPUTS
from telelink_gateway.upstream.answer import Answer, Inputs
from telelink_gateway.upstream.client import ModelClient, UpstreamMetrics
from telelink_gateway.upstream.http import Http
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
        labels = {"service": "clv-service", "outcome": outcome}
        return self.registry.get_sample_value("upstream_calls_total", labels) or 0.0


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def client(service):
    return ModelClient(
        "clv-service",
        "clv",
        "http://127.0.0.1:8002",
        Http(httpx.MockTransport(service.handle)),
        UpstreamMetrics(service.registry),
        input_schema_hash(ELEVEN),
        CLV_OUTPUTS,
    )


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
