"""Liveness and readiness: whether this process runs, and whether it wants requests. Neither asks anyone else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Lifecycle:
    """Where a process is between start and stop.

    Attributes:
        is_ready: it wants requests. False before the start is over and from SIGTERM on, while it still answers.
    """

    is_ready: bool = False
