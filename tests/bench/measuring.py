"""Interleaved rounds: each stand in turn, again and again, so that a busy machine is busy for all of them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx2 as httpx

from bench.stands import Stand
from bench.wrk import BenchError, Load, drive

# What ours does by itself while nobody asks takes less.
_IDLE_SHARE = 0.1
_LOOK_S = 0.25
_SAMPLE = re.compile(r"^(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One stand under load once.

    Attributes:
        n_done: requests that were done, with those under way when wrk stopped.
        cpu_ms: CPU milliseconds a request, by part.
        upstream_calls: calls to each model service per 1,000 requests; empty for the references.
    """

    load: Load
    n_done: int
    cpu_ms: Mapping[str, float]
    upstream_calls: Mapping[str, float]

    @property
    def total_cpu_ms(self) -> float:
        """CPU milliseconds a request, of all parts."""
        return sum(self.cpu_ms.values())


def counters(stand: Stand) -> Counter[str]:
    """The gateway's counts: `stored`, `lost`, and upstream calls by service; empty for the references."""
    counts: Counter[str] = Counter()
    if stand.gateway_url is None:
        return counts
    text = httpx.get(f"{stand.gateway_url}/metrics", timeout=10, trust_env=False).text
    for sample in _SAMPLE.finditer(text):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
        if sample["name"] == "history_rows_total":
            counts[labels["outcome"]] += int(float(sample["value"]))
        elif sample["name"] == "upstream_calls_total":
            counts[labels["service"]] += int(float(sample["value"]))
    return counts


def run(
    stand: Stand,
    path: str,
    bodies: Path,
    *,
    connections: int,
    seconds: float,
    rows: int = 1,
    may_refuse: bool = False,
) -> Run:
    """Drive a stand once and read what it cost.

    Args:
        rows: customers in each request: ours must have stored as many for each answer.
        may_refuse: as in `drive`; what refusing costs counts as a cost of the others.

    Raises:
        BenchError: an answer was not 2xx, or a prediction was not stored.
    """
    before, counted = stand.costs(), counters(stand)
    load = drive(stand.url + path, bodies, connections=connections, seconds=seconds, may_refuse=may_refuse)
    after, counts = stand.costs(), counters(stand) - counted
    stored = counts.pop("stored", 0)
    if stand.gateway_url and (counts.pop("lost", 0) or stored < load.requests * rows):
        raise BenchError(f"{load.requests * rows} predictions were answered and only {stored} stored")
    done = max(stored // rows, load.requests)
    return Run(
        load,
        done,
        {part: (after[part].cpu_s - before[part].cpu_s) / done * 1e3 for part in after},
        {service: calls / done * 1e3 for service, calls in counts.items()},
    )


def cpu_of(part: str) -> Callable[[Run], float]:
    """The figure: CPU milliseconds a request of one part."""
    return lambda run: run.cpu_ms[part]


def calls_of(service: str) -> Callable[[Run], float]:
    """The figure: calls to one service for 1,000 requests."""
    return lambda run: run.upstream_calls[service]


Rounds = Mapping[str, Sequence[Run]]
"""Runs by the stand's name, as many for each."""


def _until_idle(stand: Stand) -> None:
    """A stand works on for those who have gone: at 64 connections the one process for seconds, while others run."""
    spent_s = -1.0
    while (now_s := sum(cost.cpu_s for cost in stand.costs().values())) - spent_s > _IDLE_SHARE * _LOOK_S:
        spent_s = now_s
        time.sleep(_LOOK_S)


def rounds(stands: Sequence[Stand], n_rounds: int, measure: Callable[[Stand], Run]) -> Rounds:
    """Measure each stand in turn, `n_rounds` times."""
    runs: dict[str, list[Run]] = {stand.name: [] for stand in stands}
    for _ in range(n_rounds):
        for stand in stands:
            runs[stand.name].append(measure(stand))
            _until_idle(stand)
    return runs


def typical(runs: Sequence[Run], figure: Callable[[Run], float]) -> float:
    """The median of a figure."""
    return median(figure(each) for each in runs)


def ratios(ours: Sequence[Run], theirs: Sequence[Run], figure: Callable[[Run], float]) -> list[float]:
    """Ours over theirs, round by round, in ascending order: both sides of a round shared the machine's mood."""
    return sorted(figure(a) / figure(b) for a, b in zip(ours, theirs, strict=True))
