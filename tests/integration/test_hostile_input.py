"""Twenty thousand ways to be wrong, against the real services: nobody falls over, and nothing comes back."""

import http.client
import json
import os
import secrets
import socket
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable

from support.builders import a_customer, with_usage
from support.hostile import Fuzzer, RawClient
from support.servers import gateway, system
from telelink_gateway.api_keys.keys import SCOPES, new_key, write_keys

N_REQUESTS = int(os.environ.get("FUZZ_REQUESTS") or 2_000)
SEED = int(os.environ.get("FUZZ_SEED") or 5)
MAX_REFUSAL_BYTES = 4 * 1024


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with system(tmp_path_factory.mktemp("hostile")) as processes:
        yield processes


def servers_of(processes):
    return {"gateway": processes.gateway, "churn": processes.churn, "clv": processes.clv}


def test_fuzzed_requests_are_refused_in_few_words_that_are_ours(running):
    canary = f"cnry{secrets.token_hex(4)}"
    fuzzer = Fuzzer(SEED, canary)
    clients = {name: RawClient(server.url) for name, server in servers_of(running).items()}
    seen = Counter()
    try:
        for number in range(N_REQUESTS):
            name = ("gateway", "gateway", "churn", "clv")[number % 4]
            request = fuzzer.for_gateway() if name == "gateway" else fuzzer.for_service(name)
            reply = clients[name].send(request)
            told = f"{name}, request {number}: {request} answered with {reply}"[:3_000]
            assert 200 <= reply.status < 500, told
            if request.is_valid is not None:
                assert (reply.status == 200) == request.is_valid, told
            if reply.status != 200:
                assert len(reply.body) <= MAX_REFUSAL_BYTES, told
            assert canary.encode() not in reply.body, told
            assert canary not in str(reply.headers), told
            seen[name, reply.status, request.is_valid] += 1
    finally:
        for client in clients.values():
            client.close()
    # All kinds did come up.
    assert {status for _, status, _ in seen} >= {200, 400, 404, 405, 413, 415, 422}
    for name in clients:
        assert seen[name, 200, True] > 0
        assert seen[name, 422, False] > N_REQUESTS // 100
    for name, server in servers_of(running).items():
        assert server.process.poll() is None, name
        for line in list(server.lines):
            assert canary not in line, name
            assert isinstance(json.loads(line), dict), name


def test_keys_that_are_wrong_come_back_nowhere_either(closed):
    server, key = closed
    canary = f"cnry{secrets.token_hex(4)}"
    client = RawClient(server.url)
    fuzzer = Fuzzer(SEED, canary)
    statuses = Counter()
    for number in range(N_REQUESTS // 10):
        request = fuzzer.for_gateway()
        wrong = [key + canary, f"tlk_{canary}_x", canary * 100, f"{key[:17]}_{canary}"][number % 4].encode()
        headers = [each for each in request.headers if each[0] not in (b"Authorization", b"Cookie")]
        headers.append((b"Authorization", b"Bearer " + wrong))
        reply = client.send(replace(request, headers=headers))
        statuses[reply.status] += 1
        assert reply.status in (401, 404, 405), reply
        assert canary.encode() not in reply.body
    client.close()
    assert statuses[401] > N_REQUESTS // 20
    for line in list(server.lines):
        assert canary not in line
        assert key.split("_", 2)[2] not in line


def the_line_of(server, request_id):
    """The log line of a request; it is written before the reply is whole, and read by a thread."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for line in reversed(server.lines):
            if request_id in line:
                return line
        time.sleep(0.01)
    raise AssertionError(f"no line of {request_id}")


@pytest.mark.parametrize(
    "name", ["customerId", "state", "\r\nfake", '"},{"event":"fake"}'], ids=["id", "state", "line", "object"]
)
def test_nothing_that_a_client_writes_makes_a_log_line_of_its_own(running, name):
    forged = 'x"}\r\n{"event":"forged","level":"error"}\n\x1b[31m\u2028'
    for number, path in enumerate(("/predict", "/forged%0a%7b%22event%22:%22forged%22%7d", "/problems/%0d%0aforged")):
        request_id = f"{secrets.token_hex(8)}-{number}"
        httpx.post(
            running.url + path,
            json=a_customer(**{name: forged}),
            headers={"X-Request-ID": request_id, "Prefer": "forged", "User-Agent": "forged\tforged"},
            trust_env=False,
        )
        line = json.loads(the_line_of(running.gateway, request_id))
        assert (line["event"], line["request_id"]) == ("request", request_id)
    assert not [line for line in running.gateway.lines if "forged" in line]


def test_a_request_id_that_could_break_a_line_is_not_taken_over(running):
    client = RawClient(running.url)
    fuzzer = Fuzzer(1, "unused")
    request = fuzzer.for_gateway()
    for wrong in (b'a"b', b"a b", b"a\tb", b"\xe2\x80\xa8", b"a" * 65, b"{}", b"a\x1b[31m"):
        headers = [(b"Host", b"x"), (b"X-Request-ID", wrong)]
        reply = client.send(type(request)(b"GET", b"/livez", headers, b"", None))
        assert reply.headers.get("x-request-id", "").encode("latin-1") != wrong
    client.close()


class Lag:
    """How late the server's loop answers a probe that costs it nothing, while something else goes on."""

    def __init__(self, url):
        self._url = url
        self._begun, self._stop = threading.Event(), threading.Event()
        self.longest_s = 0.0

    def __enter__(self):
        self._thread = threading.Thread(target=self._probe)
        self._thread.start()
        assert self._begun.wait(30)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _probe(self):
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as http:
            while not self._stop.is_set():
                started = time.monotonic()
                assert http.get("/livez").status_code == 200
                self.longest_s = max(self.longest_s, time.monotonic() - started)
                self._begun.set()


def longest_lag(url, body, *, status, n=5):
    """The longest that a probe waited, the least over a few tries: another process may take a moment, too."""
    longest = []
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
        for _ in range(n):
            with Lag(url) as lag:
                reply = http.post("/batch-predict", content=body, headers={"Content-Type": "application/json"})
            assert reply.status_code == status
            longest.append(lag.longest_s)
    return min(longest)


def test_fifty_thousand_bad_rows_hold_nobody_up_longer_than_a_good_batch(running):
    good = json.dumps([with_usage()] * 10_000).encode()
    bad_row = json.dumps({"state": "XX", "accountLength": -1}).encode()
    allowed = longest_lag(running.url, good, status=200)
    assert longest_lag(running.url, b"[" + b",".join([bad_row] * 50_000) + b"]", status=422) <= allowed
    whole_row = json.dumps(a_customer(state="XX"), separators=(",", ":")).encode()[:-1] + b"}"
    many = b"[" + b",".join([whole_row] * 30_000) + b"]"
    assert longest_lag(running.url, many, status=413) <= allowed


def test_a_head_of_forty_megabytes_is_refused_and_holds_nobody_up(running):
    server = running.gateway
    with Lag(server.url) as lag, closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as raw:
        raw.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 40_000_000 + b"\r\n\r\n")
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert (response.status, json.loads(response.read())["code"]) == (431, "head_too_large")
        assert response.getheader("Content-Type") == "application/problem+json"
    assert lag.longest_s < 0.5


def test_clients_that_offer_http_2_with_a_request_are_answered(running):
    body = json.dumps(a_customer()).encode()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAA\r\n"
    length = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with closing(socket.create_connection(("127.0.0.1", running.gateway.port), timeout=10)) as raw:
        for n_first in (10_000, 60, len(length) + 200, 10_000):
            sent = b"POST /predict HTTP/1.1\r\nHost: x\r\n" + offer + length + body
            raw.sendall(sent[:n_first])
            time.sleep(0.05)
            raw.sendall(sent[n_first:])
            response = http.client.HTTPResponse(raw)
            response.begin()
            assert response.status == 200
            assert "risk" in response.read().decode().lower()


@pytest.fixture(scope="module")
def closed(running, tmp_path_factory):
    """A gateway that wants a key, and a key."""
    folder = tmp_path_factory.mktemp("closed")
    text, key = new_key("tester", SCOPES)
    write_keys(folder / "keys.json", {key.id: key})
    settings = {"API_KEYS_FILE": str(folder / "keys.json")}
    with gateway(running.churn.url, running.clv.url, folder / "history.db", **settings) as server:
        yield server, text


@pytest.mark.parametrize("name", ["gateway", "gateway with a key", "gateway without a key", "churn", "clv"])
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_whatever_can_be_made_of_the_openapi_document_is_no_bug(running, closed, name, mode):
    with_key, key = closed
    server = with_key if name.startswith("gateway ") else servers_of(running)[name]
    headers = {"Authorization": f"Bearer {key}"} if name == "gateway with a key" else None
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    n_cases = 0
    statuses = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @seeded(SEED)
        @settings(
            max_examples=max(10, N_REQUESTS // 100),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def every_case(case):
            nonlocal n_cases
            response = case.call(timeout=30, headers=headers)
            n_cases += 1
            assert response.status_code < 500, (case, response.content)
            statuses.add(response.status_code)
            if response.status_code >= 400:
                assert len(response.content) <= MAX_REFUSAL_BYTES

        # There is nothing wrong to be made of an operation that takes nothing.
        with suppress(Unsatisfiable):
            every_case()
    assert n_cases > 50
    # Beyond signing in with a key that was made up, a key opens everything.
    assert (200 in statuses) or name != "gateway with a key" or mode.value == "negative"
    assert (401 in statuses) or name != "gateway without a key"
    assert server.process.poll() is None
