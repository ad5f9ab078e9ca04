"""What every part of the benchmark is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.wrk import write_bodies
from support.builders import some_customers

N_SINGLE = 256
BATCHES = (1_000, 10_000)
# With 64 connections the one process takes some seconds for its first answers.
SHORTEST_S = 4.0


@dataclass(frozen=True)
class Setting:
    """How long and on what.

    Attributes:
        folder: for everything that the benchmark writes; gone afterwards.
        seconds: of each timed run.
        n_rounds: of each comparison.
    """

    folder: Path
    seconds: float
    n_rounds: int

    @cached_property
    def customers(self) -> Sequence[Mapping[str, Any]]:
        """Different customers, half of them with usage."""
        return some_customers(max(BATCHES), seed=4)

    @property
    def single_customers(self) -> Sequence[Mapping[str, Any]]:
        """Those who are asked about one by one."""
        return self.customers[:N_SINGLE]

    @cached_property
    def single_bodies(self) -> Path:
        """A file with a body for each of those."""
        return write_bodies(self.folder / "single.txt", self.single_customers)

    def batch_body(self, n_rows: int) -> Path:
        """A file with one body of so many customers."""
        return write_bodies(self.folder / f"batch-{n_rows}.txt", [self.customers[:n_rows]])

    @property
    def warm_up_seconds(self) -> float:
        """Before the first timed run of a stand."""
        return max(SHORTEST_S, self.seconds / 4)
