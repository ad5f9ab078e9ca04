"""Jobs as a client has them: files that are sent, and stand-ins for the models."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from support.builders import some_customers
from support.servers import wait_until
from support.stub_model import StubModel, column_of, stub_model
from telelink_gateway.app import create_app
from telelink_gateway.settings import Settings

CSV = {"Content-Type": "text/csv"}
NDJSON = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"


def csv_of(customers: list[dict[str, Any]], **more: Any) -> bytes:
    """A file of these customers."""
    headers = list(dict.fromkeys(name for customer in customers for name in customer))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, headers, lineterminator="\n", **more)
    writer.writeheader()
    writer.writerows(customers)
    return out.getvalue().encode()


def some_with_faults() -> list[dict[str, Any]]:
    """Sixty customers, two of whom cannot be scored."""
    made = some_customers(60, seed=5)
    for number, customer in enumerate(made):
        customer["note"] = f"n{number}"
    made[7]["state"] = "XX"
    made[8]["totalDayCalls"] = "many"
    return made


def by_calls(request: dict[str, Any]) -> list[float]:
    """Figures that follow from the customer: the more calls, the riskier and the more worth."""
    return [calls / 1_000 for calls in column_of(request, "total_day_calls")]


@contextmanager
def churn_by_calls() -> Iterator[StubModel]:
    """Stands in for the churn model."""
    with stub_model("churn") as stub:
        stub.infer = lambda request: stub.valid_infer(request, {"churn_probability": by_calls(request)})
        yield stub


@contextmanager
def clv_by_calls() -> Iterator[StubModel]:
    """Stands in for the value model."""
    with stub_model("clv") as stub:
        stub.infer = lambda request: stub.valid_infer(
            request, {"estimated_clv": [100_000 * share for share in by_calls(request)]}
        )
        yield stub


def gateway(churn: StubModel, clv: StubModel, folder: Path, **more: Any) -> TestClient:
    """Keeps its jobs in a folder; to be entered."""
    history_url = f"sqlite:///{folder}/history.db"
    return TestClient(create_app(Settings(churn_url=churn.url, clv_url=clv.url, history_url=history_url, **more)))


def send(client: TestClient, body: bytes, headers: dict[str, str] = CSV, **query: Any) -> Any:
    """The reply to a file."""
    return client.post("/v1/jobs", content=body, headers=headers, params=query)


def finished(client: TestClient, reply: Any) -> tuple[dict[str, Any], str]:
    """The job once it has finished, and its address."""
    assert reply.status_code == 202, reply.text
    address = reply.headers["Location"]
    job = wait_until(
        lambda: (found := client.get(address).json())["state"] not in ("queued", "running") and found,
        what="the job to finish",
        timeout_s=60,
    )
    return job, address
