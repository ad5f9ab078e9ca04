"""The wall clock: it says when something was, and nothing but a lease waits by it."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
