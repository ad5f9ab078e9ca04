"""One timer for all who wait for something: one for each costs more than all else that is done for them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Final, Generic, TypeVar

Who = TypeVar("Who")

# Whoever waits in vain is told no later than this after the deadline: looking through all of them has its price.
_STEP_S: Final = 0.005


class Deadlines(Generic[Who]):
    """Tells those whose deadline is over.

    Args:
        waiting: those who still wait, with their deadlines on the event loop's clock.
        expire: tells one of them.
    """

    def __init__(self, waiting: Callable[[], Iterable[tuple[Who, float]]], expire: Callable[[Who], None]) -> None:
        self._waiting = waiting
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf

    def note(self, deadline: float) -> None:
        """Somebody has begun to wait until then."""
        if deadline < self._next:
            self._look_at(deadline)

    def _look_at(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = deadline
        # In a context of its own: it belongs to no single request, whichever made it start.
        self._timer = asyncio.get_running_loop().call_at(deadline, self._look, context=Context())

    def _look(self) -> None:
        """Tell those whose deadline is over, and come back for the next."""
        now = asyncio.get_running_loop().time()
        self._timer, self._next = None, math.inf
        left = math.inf
        over = []
        for who, deadline in self._waiting():
            if deadline <= now:
                over.append(who)
            else:
                left = min(left, deadline)
        if left < math.inf:
            self._look_at(max(left, now + _STEP_S))
        # Last: whoever is told may change who waits, and may fail.
        for who in over:
            self._expire(who)
