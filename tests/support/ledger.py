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
    """One request, with all its tries.

    Attributes:
        customer: its id, of which there is one only.
        at_s: when it was sent, on the monotonic clock.
        took_s: until the last try ended.
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
    n_tries: int = 1

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


async def _send(
    http: httpx.AsyncClient, customer: str, headers: Mapping[str, str], ledger: Ledger, n_tries: int
) -> None:
    at_s = time.monotonic()
    # Who may ask twice says so, and is then told, and stored, once.
    sent = dict(headers) | ({"Idempotency-Key": customer} if n_tries > 1 else {})
    for n_tried in range(1, n_tries + 1):
        entry = await _try_once(http, customer, sent, at_s, n_tried)
        if entry.status == httpx.codes.OK:
            break
    ledger.entries.append(entry)


async def _try_once(
    http: httpx.AsyncClient, customer: str, headers: Mapping[str, str], at_s: float, n_tried: int
) -> Entry:
    try:
        reply = await http.post("/predict?include=models", json=a_customer(customerId=customer), headers=headers)
    except httpx.HTTPError as error:
        return Entry(customer, at_s, time.monotonic() - at_s, None, error=repr(error), n_tries=n_tried)
    return Entry(
        customer,
        at_s,
        time.monotonic() - at_s,
        reply.status_code,
        reply.headers.get("X-Prediction-Id"),
        reply.headers.get("X-Degraded"),
        reply.json(),
        n_tries=n_tried,
    )


async def _send_at_a_rate(
    url: str,
    rate_per_s: float,
    name: str,
    headers: Mapping[str, str],
    ledger: Ledger,
    stop: threading.Event,
    n_tries: int,
) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http, asyncio.TaskGroup() as requests:
        started = time.monotonic()
        n_sent = 0
        while not stop.is_set():
            requests.create_task(_send(http, f"{name}-{n_sent}", headers, ledger, n_tries))
            n_sent += 1
            # By the clock and not after the last one: who waits for replies does not notice that there are none.
            await asyncio.sleep(started + n_sent / rate_per_s - time.monotonic())


@contextmanager
def steady_requests(
    url: str, *, name: str, rate_per_s: float = 40, headers: Mapping[str, str] | None = None, n_tries: int = 1
) -> Iterator[Ledger]:
    """Single predictions through the block, each for a customer of its own named after `name`; complete at its end.

    Args:
        n_tries: as often each is sent, under one `Idempotency-Key`, until it is answered with 200.
    """
    ledger, stop = Ledger(), threading.Event()
    sender = threading.Thread(
        target=lambda: asyncio.run(_send_at_a_rate(url, rate_per_s, name, headers or {}, ledger, stop, n_tries))
    )
    sender.start()
    try:
        yield ledger
    finally:
        stop.set()
        sender.join(timeout=60)
