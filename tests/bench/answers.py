"""Is what is measured right? Every figure is worthless for an endpoint that answers something else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2 as httpx

from bench.wrk import BenchError

Customer = Mapping[str, Any]
Reply = Mapping[str, Any]

_AT_ONCE = 64
# The forest votes in float32 where scikit-learn has float64, and both round to six digits.
_PROBABILITY_TOLERANCE = 2e-5
_USD_TOLERANCE = 0.011
_WORDS = ("churn_risk", "recommendation", "confidence")


def in_batch(url: str, customers: Sequence[Customer]) -> list[Reply]:
    """The answers to all customers in one request."""
    reply = httpx.post(f"{url}/batch-predict", json=list(customers), timeout=30, trust_env=False)
    reply.raise_for_status()
    found: list[Reply] = reply.json()["predictions"]
    return found


async def _one_by_one(url: str, customers: Sequence[Customer]) -> list[Reply]:
    slots = asyncio.Semaphore(_AT_ONCE)
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:

        async def ask(customer: Customer) -> Reply:
            async with slots:
                reply = await client.post(f"{url}/predict", json=dict(customer))
            reply.raise_for_status()
            found: Reply = reply.json()
            return found

        return await asyncio.gather(*map(ask, customers))


def one_by_one(url: str, customers: Sequence[Customer]) -> list[Reply]:
    """The answers to each customer in a request of its own, many at once."""
    return asyncio.run(_one_by_one(url, customers))


def _agree(a: Reply, b: Reply) -> bool:
    return (
        a.keys() == b.keys()
        and abs(a["churn_probability"] - b["churn_probability"]) <= _PROBABILITY_TOLERANCE
        and abs(a["estimated_clv"] - b["estimated_clv"]) <= _USD_TOLERANCE
        and all(a[name] == b[name] for name in _WORDS)
    )


def must_agree(what: str, found: Sequence[Reply], expected: Sequence[Reply]) -> None:
    """Raise BenchError where two ways to ask about the same customers give different answers."""
    pairs = list(zip(found, expected, strict=True))
    wrong = [number for number, (a, b) in enumerate(pairs) if not _agree(a, b)]
    if wrong:
        a, b = pairs[wrong[0]]
        raise BenchError(f"{what}: {len(wrong)} of {len(pairs)} answers differ, the first: {dict(a)} and {dict(b)}")


def must_be_stored(history: Path, customers: Sequence[Customer], expected: Sequence[Reply]) -> None:
    """Raise BenchError unless every prediction in the history is the one expected for its customer.

    Whatever was answered during the timed runs has been stored: this checks all of it.
    """
    columns = "customer_id, churn_probability, churn_risk, estimated_clv, recommendation, confidence"
    with closing(sqlite3.connect(history)) as connection:
        connection.row_factory = sqlite3.Row
        stored = [dict(row) for row in connection.execute(f"SELECT DISTINCT {columns} FROM predictions")]
    by_id = {customer["customerId"]: reply for customer, reply in zip(customers, expected, strict=True)}
    found = [{name: value for name, value in row.items() if name != "customer_id"} for row in stored]
    must_agree("stored while it was timed", found, [by_id[row["customer_id"]] for row in stored])
    if len({row["customer_id"] for row in stored}) < len(customers):
        raise BenchError("some customers were never stored")
