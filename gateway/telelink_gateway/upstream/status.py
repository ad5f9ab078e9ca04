"""What is known of a model service: what it says of itself, and how its calls went."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from telelink_gateway.upstream.breaker import State
from telelink_gateway.upstream.failure import FailureCode

ServiceState = Literal["ready", "not ready", "unreachable"]

_N_LATENCIES: Final = 1_000


class Said(NamedTuple):
    """What a service says of itself."""

    state: ServiceState
    version: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServiceStatus:
    """A model service as the gateway sees it now.

    Attributes:
        latency_ms, latency_p99_ms: median and 99th percentile of the last thousand calls that were answered.
        n_calls: how many these are.
        notes: what must be said wherever a figure of this model is shown.
    """

    name: str
    state: ServiceState
    address: str
    model: str
    version: str | None
    latency_ms: float | None
    latency_p99_ms: float | None
    n_calls: int
    breaker: State
    last_error: FailureCode | None
    last_error_at: datetime | None
    notes: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether it can answer."""
        return self.state == "ready"


class CallLog:
    """How the last calls went."""

    def __init__(self) -> None:
        self._latencies_s: deque[float] = deque(maxlen=_N_LATENCIES)
        self._last_error: tuple[FailureCode, datetime] | None = None

    def answered(self, took_s: float) -> None:
        """A call was."""
        self._latencies_s.append(took_s)

    def failed(self, code: FailureCode) -> None:
        """A call did, just now."""
        self._last_error = code, datetime.now(UTC)

    def status(self, said: Said, *, name: str, address: str, model: str, breaker: State) -> ServiceStatus:
        """The whole picture."""
        taken_s = sorted(self._latencies_s)
        code, at = self._last_error or (None, None)
        return ServiceStatus(
            name,
            said.state,
            address,
            model,
            said.version,
            quantile_ms(taken_s, 0.5),
            quantile_ms(taken_s, 0.99),
            len(taken_s),
            breaker,
            code,
            at,
            said.notes,
        )


def quantile_ms(taken_s: Sequence[float], level: float) -> float | None:
    """The least of the sorted times that so large a share is not above."""
    return round(taken_s[math.ceil(level * len(taken_s)) - 1] * 1e3, 3) if taken_s else None
