"""Every fault of a model service, made to happen by a proxy in front of it, and a ledger of what was answered."""

import asyncio
import json
import os
import random
import socket
import sqlite3
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from support.builders import a_customer
from support.fault_proxy import DEAF, DOWN, FAULTS, fault_proxy
from support.servers import gateway, system, wait_until
from support.stub_model import column_of, stub_model
from telelink_gateway.predicting import CHURN_OUTPUTS
from telelink_gateway.upstream.answer import Answer
from telelink_gateway.upstream.batching import MAX_CALLS
from telelink_gateway.upstream.client import ModelClient
from telelink_gateway.upstream.failure import RETRIED
from telelink_gateway.upstream.http import made_socket, open_http
from telelink_gateway.upstream.metrics import UpstreamMetrics
from telelink_gateway.upstream.model import Model
from telelink_gateway.upstream.service import ModelService
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN, Customer, row_of

DEADLINE_S = 1.0
# What the promises add to the deadline.
SLACK_S = 0.2
N_CALLERS = 8
WHOLE_AGAIN_S = 5.0
# The promise is about the 99th percentile, which on a machine that does other things too says more of those.
OPEN_S = 0.3
# How the gateway calls what it met.
CODES = {
    "hangs": "timeout",
    "slow": "timeout",
    "resets": "reset",
    "closes": "reset",
    "closes_after_the_headers": "reset",
    "resets_within_the_reply": "reset",
    "truncates": "reset",
    "sends_half_a_message": "malformed",
    "promises_too_much": "timeout",
    "promises_too_little": "malformed",
    "drips": "timeout",
    "sends_noise": "protocol",
    "sends_html": "malformed",
    "redirects": "status",
    "is_broken": "status",
    "drains": "draining",
    "never_ends": "too_large",
    "sends_a_gigabyte": "too_large",
    "sends_headers_without_end": "protocol",
    "sends_hints_without_end": "protocol",
    "says NaN": "values",
    "says what cannot be": "values",
    "says something for one customer more": "rows",
    "turns the interval around": "values",
    "is another model": "model",
    "is a version that nobody knows": "version",
    DOWN: "connect",
    DEAF: "timeout",
}
# The bytes that were not promised may be met by the next call on that connection first.
ALSO = {"promises_too_little": "protocol"}
# Of the clients, and the gateway's to each service.
IDLE_CONNECTIONS = N_CALLERS + 2 * MAX_CALLS
# Room for what an allocator keeps.
MEMORY_KIB = 32 * 1024


@dataclass(frozen=True)
class Entry:
    """A reply, as its client saw it."""

    request_id: str
    is_lenient: bool
    reply: httpx.Response


def descriptors(pid):
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


class Setting:
    """A gateway over a stub behind a proxy, and another stub."""

    def __init__(self, front, proxy, churn, decoy, history, http):
        self.front, self.proxy, self.churn, self.decoy = front, proxy, churn, decoy
        self.history, self.http = history, http
        self.ledger = []

    def ask(self, *, is_lenient):
        request_id = uuid.uuid4().hex
        headers = {"X-Request-ID": request_id} | ({"Prefer": "handling=lenient"} if is_lenient else {})
        entry = Entry(request_id, is_lenient, self.http.post("/predict", json=a_customer(), headers=headers))
        self.ledger.append(entry)
        return entry

    def ask_many(self, n):
        """From several clients at once, every other one lenient; what they were told."""
        with ThreadPoolExecutor(N_CALLERS) as pool:
            return list(pool.map(lambda number: self.ask(is_lenient=number % 2 == 0), range(n)))

    def metric(self, name, **labels):
        """The sum over all children with these labels."""
        wanted = [f'{label}="{value}"' for label, value in ({"service": "churn-service"} | labels).items()]
        lines = self.http.get("/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith(name + "{") and all(each in line for each in wanted)
        )

    def told(self):
        """What /v1/services says of the service behind the proxy."""
        return next(each for each in self.http.get("/v1/services").json()["services"] if each["model"] == "churn")

    def durations_s(self, entries):
        """The time that the gateway itself took, by its log: a busy machine may keep a reply from its client."""
        wanted = {entry.request_id for entry in entries}

        def logged():
            seen = {}
            for line in list(self.front.lines):
                if '"event":"request"' in line and (told := json.loads(line)).get("request_id") in wanted:
                    seen[told["request_id"]] = told["duration_ms"] / 1e3
            return seen if seen.keys() == wanted else None

        return sorted(wait_until(logged, what="the log lines").values())

    def be_whole(self):
        """Wait until a strict client is answered again."""
        wait_until(lambda: self.ask(is_lenient=False).reply.status_code == 200, what="whole answers", timeout_s=20)

    @property
    def n_descriptors(self):
        return descriptors(self.front.process.pid)

    def memory_kib(self, what):
        """VmRSS: now. VmHWM: the most since `forget_the_most`."""
        status = Path(f"/proc/{self.front.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(what + ":")).split()[1])

    def forget_the_most(self):
        Path(f"/proc/{self.front.process.pid}/clear_refs").write_text("5")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    history = tmp_path_factory.mktemp("faults") / "history.db"
    with (
        stub_model("churn") as churn,
        stub_model("churn") as decoy,
        stub_model("clv") as clv,
        fault_proxy(churn.url, decoy.url) as proxy,
        gateway(proxy.url, clv.url, history, DEADLINE_S=str(DEADLINE_S)) as front,
        httpx.Client(base_url=front.url, trust_env=False, timeout=20) as http,
    ):
        yield Setting(front, proxy, churn, decoy, history, http)


@pytest.fixture
def setting(started):
    """All is well, and forgotten what was before."""
    started.proxy.end()
    started.be_whole()
    started.ask_many(N_CALLERS * 4)
    wait_until(lambda: started.told()["breaker"] == "closed", what="a closed breaker")
    started.ledger.clear()
    yield started
    started.proxy.end()


def check(setting):
    """What must be true of every reply, whatever happened."""
    for entry in setting.ledger:
        reply = entry.reply
        assert reply.status_code in ({200} if entry.is_lenient else {200, 503}), reply.text
        if reply.status_code == 503:
            assert reply.json()["code"] == "model_unavailable"
            assert int(reply.headers["Retry-After"]) >= 1
            continue
        said = reply.json()
        assert said["estimated_clv"] == 12_000.0
        is_degraded = reply.headers.get("X-Degraded") == "churn"
        assert said["churn_probability"] == (None if is_degraded else 0.25)
        assert (said["churn_risk"] is None) == is_degraded
        assert entry.is_lenient or not is_degraded
    assert max(setting.durations_s(setting.ledger)) <= DEADLINE_S + SLACK_S
    ours = json.dumps([entry.request_id for entry in setting.ledger])
    with closing(sqlite3.connect(setting.history)) as history:
        stored = history.execute(
            "SELECT DISTINCT churn_probability, estimated_clv FROM predictions"
            " WHERE request_id IN (SELECT value FROM json_each(?))",
            (ours,),
        ).fetchall()
    assert set(stored) <= {(0.25, 12_000.0), (None, 12_000.0)}


def must_be_left_alone(setting):
    """The breaker has opened: from now on there is one call a second, and never a second one beside it."""
    proxy = setting.proxy
    wait_until(
        lambda: setting.ask(is_lenient=True) and setting.told()["breaker"] != "closed", what="the breaker to open"
    )
    wait_until(lambda: proxy.n_under_way <= 1, what="the calls of before to end")
    assert setting.metric("upstream_breaker_is_closed") == 0
    not_asked = setting.metric("upstream_not_asked_total")
    probes = setting.metric("upstream_breaker_changes_total", to="half-open")
    n_asked, since = proxy.n_asked, time.monotonic()
    proxy.most_at_once = 0
    entries = setting.ask_many(100)
    wait_until(lambda: setting.metric("upstream_breaker_changes_total", to="half-open") > probes, what="a probe")
    assert proxy.most_at_once <= 1
    assert proxy.n_asked - n_asked <= time.monotonic() - since + 1
    assert setting.metric("upstream_not_asked_total") - not_asked == 100
    return entries


@pytest.mark.parametrize("fault", CODES)
def test_a_fault_of_one_service(setting, fault):
    proxy = setting.proxy
    n_descriptors, memory_kib = setting.n_descriptors, setting.memory_kib("VmRSS")
    setting.forget_the_most()

    proxy.begin(fault)
    assert {entry.reply.status_code for entry in setting.ask_many(60)} <= {200, 503}
    assert proxy.n_spoiled > 0 or fault == DOWN
    assert setting.metric("upstream_calls_total", outcome=CODES[fault]) > 0 or CODES[fault] == "values"
    if CODES[fault] == "values":
        # The service is well; what it says of these customers is not, which is their fate alone.
        unharmed = setting.ask_many(100)
        assert setting.told()["breaker"] == "closed"
    else:
        unharmed = must_be_left_alone(setting)
    durations_s = setting.durations_s(unharmed)
    print(f"{fault}: p50 {durations_s[49] * 1e3:.0f} ms, p99 {durations_s[98] * 1e3:.0f} ms")
    assert durations_s[89] <= OPEN_S
    degraded = [entry for entry in setting.ledger if "X-Degraded" in entry.reply.headers]
    assert len(degraded) >= 50
    assert setting.told()["last_error"] in (CODES[fault], ALSO.get(fault))

    proxy.end()
    ended = time.monotonic()
    setting.be_whole()
    assert time.monotonic() - ended <= WHOLE_AGAIN_S

    check(setting)
    assert setting.decoy.calls == []
    retries = setting.metric("upstream_retries_total")
    assert retries <= setting.metric("upstream_calls_total") / 10 + 1
    assert setting.metric("upstream_retries_total", reason=CODES[fault]) > 0 or CODES[fault] not in RETRIED
    setting.ask_many(N_CALLERS * 4)
    wait_until(lambda: setting.n_descriptors <= n_descriptors + IDLE_CONNECTIONS, what="closed connections")
    assert setting.memory_kib("VmHWM") <= memory_kib + MEMORY_KIB


def test_every_fault_is_covered():
    assert CODES.keys() == {*FAULTS, DOWN, DEAF} - {"answers_twice", "replies_without_end"}


def test_whoever_says_more_than_was_asked_is_hung_up_on(setting):
    memory_kib = setting.memory_kib("VmRSS")
    setting.forget_the_most()
    setting.proxy.begin("replies_without_end")
    setting.ask_many(60)
    assert setting.proxy.n_spoiled > 0
    # Each of them goes on until its connection is closed.
    wait_until(lambda: setting.proxy.n_under_way == 0, what="closed connections", timeout_s=2 * DEADLINE_S)
    check(setting)
    assert setting.memory_kib("VmHWM") <= memory_kib + MEMORY_KIB


def test_a_reply_that_is_left_over_is_told_of_no_other_customer(setting):
    setting.churn.infer = lambda request: setting.churn.valid_infer(
        request, {"churn_probability": [tenure / 1e3 for tenure in column_of(request, "account_length")]}
    )
    setting.proxy.begin("answers_twice")
    replies = {}
    try:
        for tenure in range(60):
            replies[tenure] = setting.http.post("/predict", json=a_customer(accountLength=tenure))
    finally:
        setting.churn.infer = None
    assert setting.metric("upstream_calls_total", outcome="mixed_up") > 0
    whole = {tenure: reply.json()["churn_probability"] for tenure, reply in replies.items() if reply.status_code == 200}
    assert len(whole) > 5
    assert whole == {tenure: tenure / 1e3 for tenure in whole}


def test_a_service_that_is_late_but_in_time_is_asked_and_answered(setting):
    def late(request):
        time.sleep(DEADLINE_S / 4)
        return setting.churn.valid_infer(request)

    setting.churn.infer = late
    try:
        entries = setting.ask_many(40)
    finally:
        setting.churn.infer = None
    assert {entry.reply.status_code for entry in entries} == {200}
    assert not any("X-Degraded" in entry.reply.headers for entry in entries)
    assert setting.told()["breaker"] == "closed"
    check(setting)


async def hangs_up(address, request, after_s):
    """Whether a client that waits so long was gone before its reply came."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    try:
        return not await asyncio.wait_for(reader.read(1), after_s)
    except TimeoutError:
        return True
    finally:
        writer.transport.abort()


def test_clients_that_hang_up_take_nothing_from_those_who_stay(tmp_path):
    """500 that wait for 5 to 40 ms at the same time, and 50 others right after them."""
    body = json.dumps(a_customer()).encode()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    chance = random.Random(7)

    async def all_hang_up(port):
        patience_s = [chance.uniform(0.005, 0.04) for _ in range(500)]
        return await asyncio.gather(*(hangs_up(("127.0.0.1", port), request, each) for each in patience_s))

    with system(tmp_path) as running, httpx.Client(base_url=running.url, trust_env=False, timeout=20) as http:
        pid = running.gateway.process.pid
        n_before = descriptors(pid)
        assert sum(asyncio.run(all_hang_up(running.gateway.port))) > 100
        with ThreadPoolExecutor(N_CALLERS) as pool:
            replies = list(pool.map(lambda _: http.post("/predict", json=a_customer()), range(50)))
        assert [reply.status_code for reply in replies] == [200] * 50
        assert len({reply.text for reply in replies}) == 1
        wait_until(lambda: descriptors(pid) <= n_before + IDLE_CONNECTIONS, what="closed connections")


@pytest.fixture
async def open_client():
    """Makes a client of a service whose name means what a test says."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_http())

        def open_at(url, resolve):
            metrics, schema_hash = UpstreamMetrics(CollectorRegistry()), input_schema_hash(ELEVEN)
            service = ModelService("churn-service", "churn", url, http, schema_hash, resolve)
            client = ModelClient(service, metrics, CHURN_OUTPUTS)
            stack.push_async_callback(client.close)
            return Model(client)

        yield open_at


async def answered(model):
    customer = row_of(Customer.model_validate(a_customer()))
    return isinstance(await model.ask(customer, deadline=asyncio.get_running_loop().time() + 10), Answer)


def n_infer(stub):
    return sum(path.endswith("/infer") for path in stub.calls)


@pytest.mark.parametrize("is_old_gone", [True, False])
async def test_a_service_that_is_back_at_another_address_is_used_within_three_seconds(open_client, is_old_gone):
    addresses = ["127.0.0.1"]

    async def resolve(_host, _port):
        return list(addresses)

    with ExitStack() as stack:
        old = stack.enter_context(old_stack := ExitStack()).enter_context(stub_model("churn"))
        port = old.url.rpartition(":")[2]
        new = stack.enter_context(stub_model("churn", host="127.0.0.2", port=int(port)))
        model = open_client(f"http://churn-service:{port}", resolve)
        assert await answered(model)
        assert (n_infer(old), n_infer(new)) == (1, 0)
        if is_old_gone:
            old_stack.close()
        addresses[:] = ["127.0.0.2"]
        moved = time.monotonic()
        while not n_infer(new):
            # Where the old one still listens, its connection is as good as before, and has to be left all the same.
            assert await answered(model) or is_old_gone
            await asyncio.sleep(0.02)
        assert time.monotonic() - moved <= 3
        n_old = n_infer(old)
        assert await answered(model)
        assert n_infer(old) == n_old


async def test_with_two_addresses_the_end_of_one_costs_no_answer(open_client):
    async def resolve(_host, _port):
        return ["127.0.0.1", "127.0.0.2"]

    with stub_model("churn", host="127.0.0.2") as stays:
        port = int(stays.url.rpartition(":")[2])
        with stub_model("churn", port=port) as goes:
            model = open_client(f"http://churn-service:{port}", resolve)
            assert [await answered(model) for _ in range(20)] == [True] * 20
            assert n_infer(goes) == n_infer(stays) == 10
        assert [await answered(model) for _ in range(20)] == [True] * 20
        assert n_infer(stays) == 30


KEEPALIVE_TIMER = "02"


@pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel's list of connections is Linux's: no other kernel has it"
)
async def test_whether_a_machine_is_still_there_is_asked_over_an_idle_connection(open_client):
    async def resolve(_host, _port):
        return ["127.0.0.1"]

    with stub_model("churn") as stub:
        port = int(stub.url.rpartition(":")[2])
        model = open_client(f"http://churn-service:{port}", resolve)
        assert await answered(model)
        connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ours = [fields for fields in connections if fields[2].endswith(f":{port:04X}") and fields[3] == "01"]
        assert {fields[5].partition(":")[0] for fields in ours} == {KEEPALIVE_TIMER}


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's: no other kernel has it")
def test_what_a_machine_does_not_acknowledge_within_a_second_is_given_up():
    # That it is, and another machine asked, is seen where one really dies: tests/e2e/test_swarm.py.
    with made_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000
