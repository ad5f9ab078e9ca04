"""Which calls are made once more, how often, and at which address."""

import json
from contextlib import suppress

import httpx
import pytest

from support.upstream import ask, hang, problem_of
from telelink_shared.problem import ModelUnavailable


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
