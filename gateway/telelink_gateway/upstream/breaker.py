"""Stops asking a service that does not answer, and finds out by one call at a time when it does again. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

State = Literal["closed", "open", "half-open"]

# The last calls, not those of the last seconds: a service that hangs ends a few calls a second where it ended hundreds,
# and would hide behind them for a long time. As many as eight calls under way at once make half of it.
WINDOW_CALLS: Final = 16
WINDOW_S: Final = 30.0
MIN_CALLS: Final = 5
FAILURE_RATE: Final = 0.5
OPEN_S: Final = 1.0


class Breaker:
    """A circuit breaker for one service. Times are seconds on any clock that never goes back.

    Closed: calls are made. Open: none, until a second has passed. Half-open: exactly one, the probe, is under way; it
    closes the breaker, or opens it for another second.

    Args:
        on_change: is told the new state.

    Attributes:
        state: where it is now.
        probe_from: when a probe may be made, while it is open.
    """

    def __init__(self, on_change: Callable[[State], None] = lambda _: None) -> None:
        self.state: State = "closed"
        self.probe_from = 0.0
        self._on_change = on_change
        self._ended: deque[tuple[float, bool]] = deque()
        # Counts the changes of state: a ticket of an earlier state is worth nothing in this one.
        self._era = 0

    def admit(self) -> int | None:
        """A ticket for a call; None: it must not be made."""
        return self._era if self.state == "closed" else None

    def admit_probe(self, now: float) -> int | None:
        """A ticket for the one call that shows whether the service is back; None: not now, or one is under way."""
        if self.state != "open" or now < self.probe_from:
            return None
        self._change("half-open")
        return self._era

    def record(self, ticket: int, succeeded: bool | None, now: float) -> None:
        """How an admitted call ended.

        Args:
            succeeded: None: it says nothing about the service, for example since it was cancelled.
        """
        if ticket != self._era:
            return
        if self.state == "closed":
            if succeeded is not None:
                self._record_call(succeeded, now)
        elif succeeded:
            self._ended.clear()
            self._change("closed")
        else:
            self._open(now)

    def _record_call(self, succeeded: bool, now: float) -> None:
        ended = self._ended
        ended.append((now, succeeded))
        while len(ended) > WINDOW_CALLS or ended[0][0] < now - WINDOW_S:
            ended.popleft()
        if succeeded or len(ended) < MIN_CALLS:
            return
        if sum(not well for _, well in ended) >= FAILURE_RATE * len(ended):
            self._open(now)

    def _open(self, now: float) -> None:
        self.probe_from = now + OPEN_S
        self._change("open")

    def _change(self, state: State) -> None:
        self.state = state
        self._era += 1
        self._on_change(state)
