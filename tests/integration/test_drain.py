"""Real processes on SIGTERM: who asks is answered to the end, also those who came at the last moment."""

import json
import signal
import socket
from contextlib import contextmanager

import httpx
import pytest

from support.builders import a_customer, some_customers, v2_request
from support.servers import churn_service, clv_service, gateway, wait_until

DRAIN_S = "2"


@contextmanager
def draining_model_service(_folder):
    with churn_service(DRAIN_S=DRAIN_S) as server:
        yield server, "/v2/health/ready", "/v2/models/churn/infer", v2_request(some_customers(50, seed=1))


@contextmanager
def draining_gateway(folder):
    with (
        churn_service() as churn,
        clv_service() as clv,
        gateway(churn.url, clv.url, folder / "history.db", DRAIN_S=DRAIN_S) as server,
    ):
        yield server, "/readyz", "/batch-predict", some_customers(50, seed=1)


class Connection:
    """A connection by hand, for requests that come in pieces."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def send(self, content):
        self._socket.sendall(content)

    def receive(self):
        """All up to the end of the connection: status and headers, and the body."""
        with self._socket, self._socket.makefile("rb") as stream:
            head, body = stream.read().split(b"\r\n\r\n", 1)
        return head.decode().lower(), body


def request(path, body):
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=20).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("draining", [draining_model_service, draining_gateway])
def test_requests_under_way_and_new_ones_are_answered_until_nobody_can_connect_and_it_ends_well(tmp_path, draining):
    with draining(tmp_path) as (server, ready_path, path, body):
        asking = httpx.Client(base_url=server.url, trust_env=False, timeout=20)
        wanted = asking.post(path, json=body).json()
        whole = request(path, body)
        under_way, silent = Connection(server.port), Connection(server.port)
        under_way.send(whole[:-10])
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: asking.get(ready_path).status_code == 503, what="it to say that it is not ready")

        during = asking.post(path, json=body)
        assert (during.status_code, during.json(), during.headers["Connection"]) == (200, wanted, "close")

        wait_until(lambda: refuses(server.port), what="the end of the drain")
        assert server.process.poll() is None
        # It was connected before, and asks only now.
        silent.send(whole)
        under_way.send(whole[-10:])
        for connection in (silent, under_way):
            head, content = connection.receive()
            assert head.startswith("http/1.1 200 ")
            assert "connection: close" in head
            assert json.loads(content) == wanted
        assert server.process.wait(timeout=20) == 0
        asking.close()


def test_without_a_drain_time_it_ends_once_all_is_answered():
    with churn_service() as server:
        whole = request("/v2/models/churn/infer", v2_request([a_customer()]))
        under_way = Connection(server.port)
        under_way.send(whole[:-10])
        # Its head has been read when the other connection, made later, is answered.
        httpx.get(f"{server.url}/v2", trust_env=False).raise_for_status()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server.port), what="it to stop listening")
        under_way.send(whole[-10:])
        assert under_way.receive()[0].startswith("http/1.1 200 ")
        assert server.process.wait(timeout=20) == 0
