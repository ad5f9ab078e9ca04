"""Every fault of a model service, made to happen by a proxy in front of it, and a ledger of what was answered meanwhile."""

import json
import os
import sqlite3
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from support.builders import a_customer
from support.fault_proxy import DEAF, DOWN, FAULTS, fault_proxy
from support.servers import gateway, wait_until
from support.stub_model import stub_model

DEADLINE_S = 0.5
# What the promises add to the deadline.
SLACK_S = 0.2
N_CALLERS = 8
WHOLE_AGAIN_S = 5.0
OPEN_P99_S = 0.3
# Of what these answer, every reply is a valid one with values that are not: the fate of its customers, not of the service.
HARMS_ROWS_ONLY = frozenset({"says NaN", "says what cannot be", "turns the interval around"})
# Room for what an allocator keeps.
MEMORY_KIB = 32 * 1024


@dataclass(frozen=True)
class Entry:
    """A reply, as its client saw it."""

    request_id: str
    is_lenient: bool
    reply: httpx.Response


class Setting:
    """A gateway over a stub behind a proxy, and another stub."""

    def __init__(self, front, proxy, churn, decoy, history, http):
        self.front, self.proxy, self.churn, self.decoy = front, proxy, churn, decoy
        self.history, self.http = history, http
        self.ledger = []

    def ask(self, *, is_lenient, customer=None):
        entry = Entry(
            uuid.uuid4().hex,
            is_lenient,
            reply := self.http.post(
                "/predict",
                json=customer or a_customer(),
                headers={"X-Request-ID": (request_id := uuid.uuid4().hex)}
                | ({"Prefer": "handling=lenient"} if is_lenient else {}),
            ),
        )
        self.ledger.append(entry := Entry(request_id, is_lenient, reply))
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
        """The time that the gateway itself took, by its log: a busy machine may keep a reply from its client for long."""
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
        return len(os.listdir(f"/proc/{self.front.process.pid}/fd"))

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
    with closing(sqlite3.connect(setting.history)) as history:
        stored = history.execute("SELECT DISTINCT churn_probability, estimated_clv FROM predictions").fetchall()
    assert set(stored) <= {(0.25, 12_000.0), (None, 12_000.0)}


@pytest.mark.parametrize("fault", [*FAULTS, DOWN, DEAF])
def test_a_fault_of_one_service(setting, fault):
    proxy = setting.proxy
    n_calls, n_retries = setting.metric("upstream_calls_total"), setting.metric("upstream_retries_total")
    n_descriptors, memory_kib = setting.n_descriptors, setting.memory_kib("VmRSS")
    setting.forget_the_most()

    proxy.begin(fault)
    during = setting.ask_many(60)
    assert any(entry.reply.headers.get("X-Degraded") == "churn" for entry in during)
    assert proxy.n_spoiled > 0 or fault == DOWN
    if fault not in HARMS_ROWS_ONLY:
        wait_until(lambda: setting.ask(is_lenient=True) and setting.told()["breaker"] != "closed", what="no more calls")
        assert setting.metric("upstream_breaker_is_closed") == 0
        proxy.most_at_once, proxy.n_asked, since = 0, 0, time.monotonic()
        wait_until(lambda: proxy._n_under_way <= 1, what="the calls of before to end")
        proxy.most_at_once = 0
    else:
        assert setting.told()["breaker"] == "closed"
    durations_s = setting.durations_s(setting.ask_many(100))
    assert durations_s[98] <= OPEN_P99_S
    if fault not in HARMS_ROWS_ONLY:
        assert proxy.most_at_once <= 1
        assert proxy.n_asked <= time.monotonic() - since + 1

    proxy.end()
    ended = time.monotonic()
    setting.be_whole()
    assert time.monotonic() - ended <= WHOLE_AGAIN_S

    check(setting)
    assert setting.decoy.calls == []
    n_calls, n_retries = (
        setting.metric("upstream_calls_total") - n_calls,
        setting.metric("upstream_retries_total") - n_retries,
    )
    assert n_retries <= n_calls / 10 + 1 + 10
    setting.ask_many(N_CALLERS * 4)
    wait_until(lambda: setting.n_descriptors <= n_descriptors + N_CALLERS, what="closed connections")
    assert setting.memory_kib("VmHWM") <= memory_kib + MEMORY_KIB
