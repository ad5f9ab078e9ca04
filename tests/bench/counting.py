"""`python -m bench.counting FILE`: counts what does not depend on how busy the machine is; writes it to FILE as JSON.

The gateway runs in this process, over the model services that TELELINK_CHURN_URL and TELELINK_CLV_URL name.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from support.builders import CHURN_MODELS, CLV_MODELS, some_customers, v2_request
from telelink_churn.app import Settings as ChurnSettings
from telelink_churn.app import create_app as create_churn_app
from telelink_clv.app import Settings as ClvSettings
from telelink_clv.app import create_app as create_clv_app
from telelink_gateway.app import create_app
from telelink_gateway.settings import Settings
from telelink_shared.web.logging import configure_logging

CALLERS = 64
_EACH = 16
N_MANY = CALLERS * _EACH
_BATCH = 1_000
_ROUNDS_FOR_BLOCKS = 4


class Calls:
    """Function calls in this thread, of Python and of C, while the block runs."""

    def __init__(self) -> None:
        self.n = 0

    def _count(self, _frame: object, event: str, _argument: object) -> None:
        if event in {"call", "c_call"}:
            self.n += 1

    @contextmanager
    def counted(self) -> Iterator[None]:
        sys.setprofile(self._count)
        try:
            yield
        finally:
            sys.setprofile(None)


@dataclass(frozen=True)
class Caller:
    """Asks the application as a server would, and does next to nothing itself."""

    app: Callable[..., Any]
    state: Mapping[str, Any]

    async def post(self, path: str, body: bytes) -> None:
        """Send the body; fails unless the answer is 200."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": dict(self.state),
        }
        statuses = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self.app(scope, receive, send)
        assert statuses == [200], statuses


def _upstream_calls(registry: CollectorRegistry) -> dict[str, float]:
    calls: dict[str, float] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == "upstream_calls_total":
                service = sample.labels["service"]
                calls[service] = calls.get(service, 0.0) + sample.value
    return calls


async def _many(caller: Caller, bodies: Sequence[bytes]) -> None:
    async def one_after_the_other(number: int) -> None:
        for turn in range(_EACH):
            await caller.post("/predict", bodies[(number * _EACH + turn) % len(bodies)])

    await asyncio.gather(*map(one_after_the_other, range(CALLERS)))


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


async def _gateway_counts(settings: Settings) -> dict[str, float]:
    app = create_app(settings)
    registry = app.state.metrics.registry
    customers = some_customers(_BATCH, seed=4)
    bodies = [json.dumps(customer).encode() for customer in customers[:256]]
    batch = json.dumps(customers).encode()
    single, crowd, whole = Calls(), Calls(), Calls()
    async with app.router.lifespan_context(app) as state:
        caller = Caller(app, state)
        await caller.post("/batch-predict", batch)
        with whole.counted():
            await caller.post("/batch-predict", batch)
        await _many(caller, bodies)
        with single.counted():
            for body in bodies:
                await caller.post("/predict", body)
        before = _upstream_calls(registry)
        with crowd.counted():
            await _many(caller, bodies)
        after = _upstream_calls(registry)
        blocks = _blocks()
        for _ in range(_ROUNDS_FOR_BLOCKS):
            await _many(caller, bodies)
        kept = _blocks() - blocks
    many = f"{CALLERS} callers"
    return {
        "gateway: calls for a request, one caller": single.n / len(bodies),
        f"gateway: calls for a request, {many}": crowd.n / N_MANY,
        f"gateway: calls for a row of {_BATCH:,}": whole.n / _BATCH,
        f"gateway: blocks of memory kept after a request, {many}": kept / (N_MANY * _ROUNDS_FOR_BLOCKS),
        **{
            f"gateway: requests to the {service} for 1,000, {many}": (after[service] - before[service]) / N_MANY * 1e3
            for service in sorted(after)
        },
    }


async def _service_counts(name: str, app: FastAPI) -> dict[str, float]:
    customers = some_customers(_BATCH, seed=4)
    path = f"/v2/models/{name}/infer"
    one, many = (json.dumps(v2_request(some)).encode() for some in (customers[:1], customers))
    single, whole = Calls(), Calls()
    async with app.router.lifespan_context(app) as state:
        caller = Caller(app, state)
        for calls, body in ((single, one), (whole, many)):
            await caller.post(path, body)
            with calls.counted():
                await caller.post(path, body)
    return {
        f"{name}-service: calls for a request of one row": single.n,
        f"{name}-service: calls for a row of {_BATCH:,}": whole.n / _BATCH,
    }


async def _counts() -> dict[str, float]:
    return {
        **await _gateway_counts(Settings.load()),
        **await _service_counts("churn", create_churn_app(ChurnSettings(models_dir=CHURN_MODELS))),
        **await _service_counts("clv", create_clv_app(ClvSettings(models_dir=CLV_MODELS))),
    }


def main() -> None:
    """Count, and write what was counted."""
    configure_logging("gateway", "info")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        counts = runner.run(_counts())
    Path(sys.argv[1]).write_text(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
