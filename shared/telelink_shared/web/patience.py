"""A time limit that requests set and lift again and again, without a timer for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Patience:
    """How long something may take; it may begin and end any number of times.

    Args:
        overdue: called once when it has taken longer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float, overdue: Callable[[], None]) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._overdue = overdue
        self._timer: asyncio.TimerHandle | None = None
        # None while nothing is waited for; on the event loop's clock.
        self._since: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it has begun."""
        return self._since is not None

    def begin(self) -> None:
        """Count from now, also where it has begun already."""
        self._since = self._loop.time()
        if self._timer is None:
            self._look_after(self._limit_s)

    def end(self) -> None:
        """There is nothing to wait for. The timer goes on: stopping it would cost as much as starting it."""
        self._since = None

    def forget(self) -> None:
        """It is not used any more, and holds on to nothing."""
        self._since = None
        self._overdue = lambda: None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_after(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._since is None:
            return
        left_s = self._since + self._limit_s - self._loop.time()
        if left_s > 0:
            self._look_after(left_s)
        else:
            self._since = None
            self._overdue()
