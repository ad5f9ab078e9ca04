"""A gateway with more under way than it takes; its model services wait for the test."""

import json
import socket
from contextlib import ExitStack

import httpx
import pytest

from support.builders import a_customer
from support.servers import gateway, wait_until
from support.stub_model import stub_model
from telelink_gateway.admission import USUAL

BODY = json.dumps(a_customer()).encode()
REQUEST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


def n_in_flight(url):
    for line in httpx.get(f"{url}/metrics", trust_env=False).text.splitlines():
        if line.startswith("http_requests_in_flight "):
            return float(line.split()[1])
    raise AssertionError


@pytest.fixture
def full(tmp_path):
    """A gateway that has as many requests under way as it lets in, and their connections."""
    with stub_model("churn") as churn, stub_model("clv") as clv:
        settings = {"DEADLINE_S": "60"}
        with gateway(churn.url, clv.url, tmp_path / "history.db", **settings) as server, ExitStack() as stack:
            churn.release.clear()
            waiting = []
            for _ in range(USUAL):
                each = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
                each.sendall(REQUEST % (len(BODY), BODY))
                waiting.append(each)
            # The question itself is under way, too.
            wait_until(lambda: n_in_flight(server.url) == USUAL + 1, what="all to be under way")
            yield server, churn, waiting


def replies_on(connection, n):
    """The statuses of the next replies on a connection, as many as these at least."""
    data = b""
    while data.count(b"HTTP/1.1 ") < n:
        data += connection.recv(65_536)
    return [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]]


def assert_no_more_replies_on(connection):
    """Whatever was still to come would come before the answer to this."""
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert replies_on(connection, 1) == [b"200"]


def test_what_does_not_fit_is_refused_and_what_was_let_in_is_answered(full):
    server, churn, waiting = full
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as http:
        for method, path in (
            ("POST", "/predict"),
            ("POST", "/v1/what-if"),
            ("POST", "/batch-predict"),
            ("GET", "/stats"),
        ):
            reply = http.request(method, path, content=BODY, headers={"X-Request-ID": "mine"})
            assert (reply.status_code, reply.json()["code"]) == (503, "overloaded"), path
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.headers["x-request-id"] == reply.json()["request_id"] == "mine"
        for path in ("/livez", "/readyz", "/health", "/metrics"):
            assert http.get(path).status_code == 200, path
        churn.release.set()
        for each in waiting:
            assert replies_on(each, 1) == [b"200"]
        assert http.post("/predict", json=a_customer()).status_code == 200


def test_a_request_in_pieces_and_one_after_another_have_one_reply_each(full):
    server, _, _ = full
    request = REQUEST % (len(BODY), BODY)
    with socket.create_connection(("127.0.0.1", server.port), 30) as sender:
        for cut in (1, 30, len(request) - 5):
            sender.sendall(request[:cut])
            # What was sent has been read once another connection's later question has its answer.
            assert n_in_flight(server.url) >= USUAL
            sender.sendall(request[cut:])
            assert replies_on(sender, 1) == [b"503"]
        sender.sendall(request + request)
        assert replies_on(sender, 2) == [b"503", b"503"]
        assert_no_more_replies_on(sender)


def test_a_body_that_looks_like_requests_is_not_answered_as_one(full):
    server, _, _ = full
    inner = REQUEST % (len(BODY), BODY)
    with socket.create_connection(("127.0.0.1", server.port), 30) as sender:
        sender.sendall(REQUEST % (2 * len(inner), b""))
        for _ in range(2):
            # What was sent has been read once another connection's later question has its answer.
            assert n_in_flight(server.url) >= USUAL
            sender.sendall(inner)
        assert replies_on(sender, 1) == [b"503"]
        assert_no_more_replies_on(sender)


def test_clients_that_send_ahead_and_hang_up_give_their_places_back_at_once(full):
    server, _, waiting = full
    for each in waiting:
        each.sendall((REQUEST % (len(BODY), BODY)) * 3)
    # What was sent has been read.
    assert n_in_flight(server.url) == USUAL + 1
    for each in waiting:
        each.close()
    wait_until(lambda: n_in_flight(server.url) == 1, what="all places to be free")


@pytest.fixture
def idle(tmp_path):
    """A gateway with nothing to do, and its model services."""
    with stub_model("churn") as churn, stub_model("clv") as clv:
        with gateway(churn.url, clv.url, tmp_path / "history.db", DEADLINE_S="60") as server:
            yield server, churn


def test_listeners_that_send_ahead_and_hang_up_give_their_places_back_at_once(idle):
    server, churn = idle
    churn.release.clear()
    rows = "\n".join(",".join(map(str, each)) for each in (a_customer().keys(), a_customer().values()))
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as http:
        job = http.post("/v1/jobs", content=rows, headers={"Content-Type": "text/csv"}).json()["id"]
        with ExitStack() as stack:
            for _ in range(10):
                each = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
                each.sendall((f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\n\r\n").encode() * 3)
                assert replies_on(each, 1) == [b"200"]
            assert n_in_flight(server.url) == 10 + 1
        wait_until(lambda: n_in_flight(server.url) == 1, what="all places to be free")
        churn.release.set()


def test_requests_whose_bodies_do_not_come_keep_nobody_out(idle):
    server, _ = idle
    with ExitStack() as stack:
        for _ in range(USUAL + 44):
            each = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
            each.sendall(REQUEST % (len(BODY), b""))
        # The question itself is all that is under way.
        assert n_in_flight(server.url) == 1
        assert httpx.post(f"{server.url}/predict", json=a_customer(), trust_env=False).status_code == 200
