"""What counts against a service, and when one that failed is asked again."""

import asyncio
import json

import httpx
import pytest

from support.upstream import INPUTS, ask, hang, problem_of
from telelink_gateway.upstream import breaker
from telelink_gateway.upstream.answer import Inputs
from telelink_gateway.upstream.client import Refused
from telelink_shared.problem import ModelUnavailable


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_customers_that_the_service_refuses_say_nothing_against_it(client, service, status):
    service.infer = lambda _: httpx.Response(status)
    for _ in range(50):
        with pytest.raises(Refused):
            await ask(client)
    assert client.breaker.state == "closed"


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
