"""How many are let in, with a clock that the test moves."""

import asyncio
import heapq
import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from telelink_gateway.admission import BATCH_BYTES, EXEMPT, LEAST, MOST, USUAL, USUAL_TARGET_S, Admission, Limit
from telelink_shared.problem import MEDIA_TYPE
from telelink_shared.web.protocol import HANG_UP
from telelink_shared.web.shedding import Head, whole_post


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1), st.booleans()), max_size=600))
def test_the_limit_stays_within_its_bounds_whatever_the_latencies(steps):
    clock = Clock()
    limit = Limit(clock)
    for latency_s, pause_s, was_reached in steps:
        clock.now += pause_s
        limit.was_reached |= was_reached
        limit.note(clock.now - latency_s)
        assert LEAST <= limit.value <= MOST
        assert limit.target_s >= USUAL_TARGET_S


def simulated(limit, clock, *, arrivals_a_second, service_s, seconds, idle_s=0.003):
    """One server behind the limit: those let in wait in its queue. Returns how many were served, and latencies."""
    leaving, free_at, in_flight, served, latencies = [], clock.now, 0, 0, []
    end, due = clock.now + seconds, clock.now
    while due < end:
        due += 1 / arrivals_a_second
        while leaving and leaving[0][0] <= due:
            clock.now, started = heapq.heappop(leaving)
            in_flight -= 1
            served += 1
            latencies.append(clock.now - started)
            limit.note(started)
        clock.now = due
        if in_flight >= limit.value:
            limit.was_reached = True
            continue
        in_flight += 1
        free_at = max(free_at, due) + service_s
        heapq.heappush(leaving, (max(free_at, due + idle_s), due))
    return served, latencies


@settings(max_examples=25, deadline=None)
@given(capacity=st.integers(300, 4_000), times=st.integers(2, 10))
def test_in_an_overload_all_that_can_be_served_is_and_it_does_not_wait_long(capacity, times):
    clock = Clock()
    limit = Limit(clock)
    load = {"arrivals_a_second": times * capacity, "service_s": 1 / capacity}
    simulated(limit, clock, **load, seconds=5)
    served, latencies = simulated(limit, clock, **load, seconds=5)
    assert served >= 0.9 * 5 * capacity
    # Twice the target is overshoot; what the least limit makes wait is beyond its power.
    assert max(latencies[-200:]) <= max(2 * USUAL_TARGET_S, 2 * LEAST / capacity)


def test_after_an_overload_the_limit_comes_back_within_ten_seconds():
    clock = Clock()
    limit = Limit(clock)
    simulated(limit, clock, arrivals_a_second=4_000, service_s=1 / 400, seconds=20)
    assert limit.value == LEAST
    _, latencies = simulated(limit, clock, arrivals_a_second=100, service_s=1 / 400, seconds=10)
    assert limit.value >= USUAL
    assert max(latencies[-100:]) < USUAL_TARGET_S


def test_a_system_that_is_slow_when_idle_is_not_taken_for_an_overloaded_one():
    clock = Clock()
    limit = Limit(clock)
    simulated(limit, clock, arrivals_a_second=200, service_s=0.001, idle_s=0.4, seconds=20)
    assert limit.value == USUAL
    assert limit.target_s == pytest.approx(0.8, rel=0.3)


def test_requests_that_take_seconds_for_a_reason_of_their_own_change_the_limit_only_as_often():
    clock = Clock()
    limit = Limit(clock)
    simulated(limit, clock, arrivals_a_second=1_000, service_s=0.0001, seconds=1)
    assert limit.value == USUAL
    # A model service hangs, forty a second wait for it until their deadline.
    simulated(limit, clock, arrivals_a_second=40, service_s=0.0001, idle_s=2.0, seconds=10)
    assert limit.value > 2 * 40


def a_scope(path, *, method="POST", **headers):
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": pairs}


class Inner:
    """An application whose requests end when they are told to."""

    def __init__(self):
        self.waiting = []

    async def __call__(self, scope, receive, send):
        ended = asyncio.get_running_loop().create_future()
        self.waiting.append(ended)
        await ended


class Door:
    def __init__(self):
        self.inner = Inner()
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.admission = Admission(self.inner, self.registry, clock=self.clock, chance=Random(1))
        self.tasks = []

    async def ask(self, scope):
        """The messages of the reply, or None while the request is within."""
        sent = []

        async def send(message):
            sent.append(message)

        task = asyncio.create_task(self.admission(scope, None, send))
        self.tasks.append(task)
        await asyncio.sleep(0)
        return sent or None

    async def end(self):
        for each in self.inner.waiting:
            if not each.done():
                each.set_result(None)
        await asyncio.gather(*self.tasks)
        assert (self.admission.in_flight, self.admission.batch_bytes) == (0, 0)

    def refused(self, kind):
        return self.registry.get_sample_value("http_requests_refused_total", {"kind": kind})


def headers_of(sent):
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def test_beyond_the_limit_requests_are_refused_with_a_problem_and_a_moment_to_come_back():
    door = Door()
    for _ in range(USUAL):
        assert await door.ask(a_scope("/predict")) is None
    told = set()
    for _ in range(30):
        sent = await door.ask(a_scope("/predict", x_request_id="mine"))
        assert sent[0]["status"] == 503
        headers, problem = headers_of(sent), json.loads(sent[1]["body"])
        assert headers["content-type"] == MEDIA_TYPE
        assert headers["content-security-policy"]
        assert headers["x-request-id"] == problem["request_id"] == "mine"
        assert (problem["code"], problem["status"], problem["instance"]) == ("overloaded", 503, "/predict")
        assert int(headers["content-length"]) == len(sent[1]["body"])
        told.add(headers["retry-after"])
    assert told == {"1", "2", "3"}
    assert (door.refused("single"), door.refused("batch")) == (30, 0)
    door.inner.waiting[0].set_result(None)
    await asyncio.sleep(0)
    assert await door.ask(a_scope("/predict")) is None
    await door.end()


@pytest.mark.parametrize("path", sorted(EXEMPT))
async def test_probes_are_let_in_when_nothing_else_is(path):
    door = Door()
    for _ in range(USUAL):
        await door.ask(a_scope("/predict"))
    assert await door.ask(a_scope("/stats", method="GET")) is not None
    assert await door.ask(a_scope(path, method="GET")) is None
    await door.end()


async def test_batches_are_refused_from_half_the_limit_on_and_leave_room_for_single_requests():
    door = Door()
    for _ in range(USUAL // 2 - 1):
        await door.ask(a_scope("/predict"))
    assert await door.ask(a_scope("/batch-predict", content_length="1000")) is None
    sent = await door.ask(a_scope("/batch-predict", content_length="1000"))
    assert sent[0]["status"] == 503
    assert 2 <= int(headers_of(sent)["retry-after"]) <= 8
    assert await door.ask(a_scope("/predict")) is None
    assert door.refused("batch") == 1
    await door.end()


async def test_batches_together_have_at_most_so_many_bytes_but_one_of_any_size_is_let_in():
    door = Door()
    assert await door.ask(a_scope("/batch-predict", content_length=str(BATCH_BYTES // 2))) is None
    assert await door.ask(a_scope("/batch-predict")) is None  # of a length that is not told: as large as can be
    assert await door.ask(a_scope("/batch-predict", content_length="1")) is not None
    assert await door.ask(a_scope("/predict")) is None
    await door.end()
    assert await door.ask(a_scope("/batch-predict", content_length="9" * 30)) is None
    await door.end()


async def test_a_request_that_fails_or_is_given_up_gives_its_place_back():
    async def fail(_scope, _receive, _send):
        raise RuntimeError

    admission = Admission(fail, CollectorRegistry())
    for path in ("/predict", "/batch-predict", "/stats"):
        with pytest.raises(RuntimeError):
            await admission(a_scope(path), None, None)
    door = Door()
    await door.ask(a_scope("/predict"))
    door.tasks.pop().cancel()
    await asyncio.sleep(0)
    assert (admission.in_flight, door.admission.in_flight) == (0, 0)


@pytest.mark.parametrize("path", ["/predict", "/batch-predict", "/stats"])
async def test_whoever_hangs_up_gives_the_place_back_at_once_and_without_an_error(path):
    door = Door()
    scope = a_scope(path)
    await door.ask(scope)
    (task,) = door.tasks
    scope[HANG_UP]()
    await asyncio.gather(task)
    assert door.inner.waiting[0].cancelled()
    await door.end()


async def test_what_is_no_request_is_handed_on():
    door = Door()
    assert await door.ask({"type": "lifespan"}) is None
    assert door.admission.in_flight == 0
    await door.end()


def post(path=b"/predict", body=b"{}", **headers):
    lines = {b"Host": b"x", b"Content-Length": b"%d" % len(body)} | {
        name.replace("_", "-").encode(): value for name, value in headers.items()
    }
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (path, b"".join(b"%b: %b\r\n" % each for each in lines.items()), body)


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (post(), Head(b"/predict"[1:], b"")),
        (post(b"/predict?include=models", b"", X_REQUEST_ID=b"Mine"), Head(b"predict", b"Mine")),
        (post(body=b"\r\n\r\nPOST / HTTP/1.1\r\n"), Head(b"predict", b"")),
    ],
)
def test_a_whole_request_is_read(data, head):
    assert whole_post(data) == Head(b"/" + head.path, head.request_id)


@pytest.mark.parametrize(
    "data",
    [
        post(traceparent=b"00-1"),
        post() + b"x",
        post() + post(),
        post()[:-1],
        post()[:-3],
        b"x" + post(),
        post().replace(b"POST", b"GET "),
        post().replace(b"HTTP/1.1", b"HTTP/1.0"),
        post(Transfer_Encoding=b"chunked"),
        post(Connection=b"close"),
        post().replace(b"Content-Length: 2", b"X: 2"),
        post().replace(b"Content-Length: 2", b"Content-Length: +2"),
        post().replace(b"Content-Length: 2", b"Content-Length: 2, 2"),
        post(Expect=b"100-continue")[:-2],
        b"",
        b"POST /predict",
        b"POST /predict\r\n\r\n HTTP/1.1\r\n",
    ],
)
def test_anything_unusual_takes_the_usual_way(data):
    assert whole_post(data) is None


async def test_a_request_is_refused_as_its_bytes_come_in_only_where_there_is_no_room():
    door = Door()
    refuse = door.admission.refuse_at_once
    assert refuse(post()) is None
    for _ in range(USUAL):
        await door.ask(a_scope("/predict"))
    assert refuse(post(b"/livez")) is refuse(post(b"/batch-predict")) is refuse(post()[:-1]) is None
    head, _, body = refuse(post(X_Request_ID=b"mine")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nx-request-id: mine" in head
    assert b"\r\ncontent-length: %d" % len(body) in head
    assert json.loads(body)["request_id"] == "mine"
    forged = refuse(post(X_Request_ID=b'"}\rcanary'))
    assert b"canary" not in forged
    assert door.refused("single") == 2
    await door.end()
