"""A model service whose replies a test chooses, on a real socket in a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN

Reply = tuple[int, dict[str, str], bytes]


def outputs_of(model: str, n_rows: int) -> list[dict[str, Any]]:
    """Valid outputs."""
    values = {
        "churn": {"churn_probability": 0.25},
        "clv": {"estimated_clv": 12_000.0, "monthly_revenue": 60.0},
    }[model]
    tensors = [
        {"name": name, "shape": [n_rows], "datatype": "FP64", "data": [value] * n_rows}
        for name, value in values.items()
    ]
    variant = {"name": "variant", "shape": [n_rows], "datatype": "BYTES", "data": ["usage"] * n_rows}
    return [*tensors, variant]


@dataclass
class StubModel:
    """A stand-in for a model service.

    Attributes:
        infer: from the request to the reply; replaced by the test.
        calls: paths that were asked for.
        hold: while set, replies to inference wait for it to be cleared by `release`.
    """

    model: str
    url: str = ""
    version: str = "1"
    calls: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    schema_hash: str = field(default_factory=lambda: input_schema_hash(ELEVEN))
    infer: Callable[[dict[str, Any]], Reply] | None = None
    release: threading.Event = field(default_factory=threading.Event)

    def valid_infer(self, request: dict[str, Any], **changes: Any) -> Reply:
        """A valid reply, with members changed."""
        n_rows = request["inputs"][0]["shape"][0]
        reply = {"model_name": self.model, "model_version": self.version, "outputs": outputs_of(self.model, n_rows)}
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
            },
        }


@contextmanager
def stub_model(model: str) -> Iterator[StubModel]:
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
