"""Requests at a steady rate, and a ledger of what became of each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from support.builders import a_customer
from support.servers import wait_until


@dataclass(frozen=True)
class Entry:
    """One request.

    Attributes:
        customer: its id, of which there is one only.
        at_s: when it was sent, on the monotonic clock.
        status: None when no reply came, and then `error` says why.
        prediction: the id under which it was stored.
        body: the reply, with `models` in it.
    """

    customer: str
    at_s: float
    took_s: float
    status: int | None
    prediction: str | None = None
    degraded: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def versions(self) -> Mapping[str, str]:
        """Of each model that answered."""
        return {model: told["version"] for model, told in self.body["models"].items() if told is not None}


class Ledger:
    """What became of every request so far; filled by another thread."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def failed(self) -> list[Entry]:
        """All that were not answered with 200."""
        return [entry for entry in self.entries if entry.status != httpx.codes.OK]

    def wait_for_more(self, n: int) -> None:
        """Until so many more are in it."""
        wanted = len(self) + n
        wait_until(lambda: len(self) >= wanted, what=f"{n} more requests", timeout_s=60)


async def _send(http: httpx.AsyncClient, customer: str, headers: Mapping[str, str], ledger: Ledger) -> None:
    at_s = time.monotonic()
    try:
        reply = await http.post("/predict?include=models", json=a_customer(customerId=customer), headers=headers)
    except httpx.HTTPError as error:
        ledger.entries.append(Entry(customer, at_s, time.monotonic() - at_s, None, error=repr(error)))
        return
    ledger.entries.append(
        Entry(
            customer,
            at_s,
            time.monotonic() - at_s,
            reply.status_code,
            reply.headers.get("X-Prediction-Id"),
            reply.headers.get("X-Degraded"),
            reply.json(),
        )
    )


async def _send_at_a_rate(
    url: str, rate_per_s: float, name: str, headers: Mapping[str, str], ledger: Ledger, stop: threading.Event
) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http, asyncio.TaskGroup() as requests:
        started = time.monotonic()
        n_sent = 0
        while not stop.is_set():
            requests.create_task(_send(http, f"{name}-{n_sent}", headers, ledger))
            n_sent += 1
            # By the clock and not after the last one: who waits for replies does not notice that there are none.
            await asyncio.sleep(started + n_sent / rate_per_s - time.monotonic())


@contextmanager
def steady_requests(
    url: str, *, name: str, rate_per_s: float = 40, headers: Mapping[str, str] | None = None
) -> Iterator[Ledger]:
    """Single predictions through the block, each for a customer of its own named after `name`; complete at its end."""
    ledger, stop = Ledger(), threading.Event()
    sender = threading.Thread(
        target=lambda: asyncio.run(_send_at_a_rate(url, rate_per_s, name, headers or {}, ledger, stop))
    )
    sender.start()
    try:
        yield ledger
    finally:
        stop.set()
        sender.join(timeout=60)
