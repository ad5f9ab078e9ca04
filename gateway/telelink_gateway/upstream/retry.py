"""How many calls may be made twice."""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.1
# What may be saved up: enough for the calls under way when a process ends, too little to double a load.
MOST: Final = 10.0


class RetryBudget:
    """A token bucket over the calls to one service, whoever makes them: every call adds a tenth, a retry takes one.

    It begins with one, so there are never more retries than a tenth of the calls and one.
    """

    def __init__(self) -> None:
        self._tokens = 1.0

    def earn(self) -> None:
        """A call is made."""
        self._tokens = min(self._tokens + SHARE, MOST)

    def spend(self) -> bool:
        """Whether one more try may be made; it is paid for."""
        # A tenth has no exact representation: ten of them make a little less than one.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True
