"""Whatever a network or a model service can do becomes an answer or ModelUnavailable."""

import asyncio
import inspect
import json
from datetime import UTC, datetime

import aiohttp
import httpx
import pytest

from support.upstream import ask, hang, problem_of, raises
from telelink_gateway.upstream.status import quantile_ms
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN

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
    assert client.service.latest_metadata is None
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


async def test_a_version_that_was_described_before_is_not_asked_about_again(client, service):
    await ask(client)
    service.describe = raises(httpx.ConnectError("gone"))
    assert (await ask(client)).version == "1"


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
