"""A model service whose replies a test chooses, on a real socket in a thread of its own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN, MINUTES
from telelink_shared.reasons import GROUP_NAMES

Reply = tuple[int, dict[str, str], bytes]
Columns = dict[str, list[Any]]

# What is said of every customer.
_FIGURES: dict[str, dict[str, Any]] = {
    "churn": {"churn_probability": 0.25, "churn_lower": 0.2, "churn_upper": 0.28, "variant": "usage"},
    "clv": {
        "estimated_clv": 12_000.0,
        "clv_lower": 10_500.0,
        "clv_upper": 13_500.0,
        "monthly_revenue": 60.0,
        "variant": "usage",
    },
}
_INTERVALS = {"churn_probability": ("churn_lower", "churn_upper"), "estimated_clv": ("clv_lower", "clv_upper")}
# International plan, voice mail, day, evening, night, international use, service calls, tenure, place.
_REASONS: dict[str, tuple[float, list[float]]] = {
    "churn": (0.1, [0.02, -0.01, 0.03, 0.0, 0.0, 0.01, 0.1, 0.0, 0.0]),
    "clv": (9_000.0, [0.0, 300.0, -200.0, 0.0, 0.0, 0.0, 0.0, 2_900.0, 0.0]),
}


def columns_of(model: str, n_rows: int) -> Columns:
    """Valid values of every output, those of the rows one after another."""
    baseline, shares = _REASONS[model]
    figures = {name: [value] * n_rows for name, value in _FIGURES[model].items()}
    return figures | {"reasons": shares * n_rows, "reasons_baseline": [baseline] * n_rows}


def n_rows_of(request: dict[str, Any]) -> int:
    """How many customers a request is about."""
    n_rows: int = request["inputs"][0]["shape"][0]
    return n_rows


def column_of(request: dict[str, Any], name: str) -> list[Any]:
    """What a request has in one of its columns."""
    return next(tensor["data"] for tensor in request["inputs"] if tensor["name"] == name)


def _tensor(name: str, values: list[Any], n_rows: int) -> dict[str, Any]:
    shape = [n_rows, len(GROUP_NAMES)] if name == "reasons" else [n_rows]
    return {"name": name, "shape": shape, "datatype": "BYTES" if name == "variant" else "FP64", "data": values}


@dataclass
class StubModel:
    """A stand-in for a model service.

    Attributes:
        infer: from the request to the reply; replaced by the test.
        calls: paths that were asked for.
        told: more of the metadata's parameters.
        hold: while set, replies to inference wait for it to be cleared by `release`.
    """

    model: str
    url: str = ""
    version: str = "1"
    calls: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    schema_hash: str = field(default_factory=lambda: input_schema_hash(ELEVEN))
    told: dict[str, Any] = field(default_factory=dict)
    infer: Callable[[dict[str, Any]], Reply] | None = None
    release: threading.Event = field(default_factory=threading.Event)

    def valid_infer(self, request: dict[str, Any], columns: Columns | None = None, **changes: Any) -> Reply:
        """A valid reply to what was asked for, with other values of some outputs, or with members changed.

        Where a figure has other values, its interval is as narrow as can be unless it is given too.
        """
        n_rows = n_rows_of(request)
        given = columns or {}
        narrow = {end: given[name] for name, ends in _INTERVALS.items() if name in given for end in ends}
        columns = columns_of(self.model, n_rows) | narrow | given
        outputs = [_tensor(output["name"], columns[output["name"]], n_rows) for output in request["outputs"]]
        reply = {"model_name": self.model, "model_version": self.version, "id": request["id"], "outputs": outputs}
        return 200, {}, json.dumps(reply | changes).encode()

    def metadata(self) -> dict[str, Any]:
        """What the service says of its model."""
        return {
            "name": self.model,
            "versions": [self.version],
            "platform": "stub",
            "inputs": [],
            "outputs": [],
            "parameters": {
                "input_schema_hash": self.schema_hash,
                "notes": ["The lifetime value is simulated."] if self.model == "clv" else [],
                "quantiles": {"estimated_clv": {"0.75": 15_000.0, "0.9": 18_000.0}},
                "variants": [{"name": "usage", "needs": [*MINUTES]}, {"name": "eleven", "needs": []}],
                **self.told,
            },
        }


@contextmanager
def stub_model(model: str, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[StubModel]:
    """A running stub."""
    stub = StubModel(model)
    stub.release.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            stub.calls.append(self.path)
            if self.path.endswith("/ready"):
                self._reply(200, {}, b'{"ready": true}')
            else:
                self._reply(200, {}, json.dumps(stub.metadata()).encode())

        def do_POST(self) -> None:
            stub.calls.append(self.path)
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.release.wait(30)
            with suppress(BrokenPipeError, ConnectionResetError):  # the caller has given up
                self._reply(*(stub.infer or stub.valid_infer)(request))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    connections: list[socket.socket] = []

    class Server(ThreadingHTTPServer):
        def get_request(self) -> tuple[socket.socket, Any]:
            connection, address = super().get_request()
            connections.append(connection)
            return connection, address

    server = Server((host, port), Handler)
    server.daemon_threads = True
    stub.url = f"http://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in connections:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
