"""Resident memory of the whole stack: before the first request, under load, and after 100,000 requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.batches import BATCH_PATH
from bench.predicting import MANY
from bench.processes import Cost
from bench.report import Bar, Part, number, table
from bench.setting import BATCHES, Setting
from bench.stands import Stand, Stands
from bench.wrk import drive

N_REQUESTS = 100_000
_FULL_SECONDS = 8.0
_LONGEST_S = 120.0
_SAMPLE_EVERY_S = 0.5

Costs = Mapping[str, Cost]


def rss_mib(costs: Costs) -> float:
    """Of all parts; pages that two processes share count twice."""
    return sum(cost.rss_mib for cost in costs.values())


def pss_mib(costs: Costs) -> float:
    """What the stack takes of the machine: pages that processes share count once."""
    return sum(cost.pss_mib for cost in costs.values())


@dataclass
class _Watch:
    stand: Stand
    peak: Costs = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._over.wait(_SAMPLE_EVERY_S):
            self.look()

    def look(self) -> None:
        self.peak = max(self.peak, self.stand.costs(), key=pss_mib)

    def stop(self) -> None:
        self._over.set()


@contextmanager
def _watched(stand: Stand) -> Iterator[_Watch]:
    watch = _Watch(stand)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()


def _drive_singles(stand: Stand, setting: Setting, n_requests: int) -> list[tuple[int, Costs]]:
    """Memory after each run of wrk, with the requests so far, until there were enough."""
    done = 0
    trail = []
    deadline = time.monotonic() + _LONGEST_S
    while done < n_requests and time.monotonic() < deadline:
        load = drive(
            stand.url + "/predict", setting.single_bodies, connections=MANY, seconds=max(2, setting.seconds / 2)
        )
        done += load.requests
        trail.append((done, stand.costs()))
    return trail


def measure(setting: Setting) -> Part:
    """Memory by part and moment."""
    n_requests = round(N_REQUESTS * min(1.0, setting.seconds / _FULL_SECONDS))
    with Stands(setting.folder) as start:
        stand = start.ours()
        moments = {"idle": stand.costs()}
        with _watched(stand) as singles:
            trail = _drive_singles(stand, setting, n_requests)
        with _watched(stand) as batches:
            body = setting.batch_body(max(BATCHES))
            drive(stand.url + BATCH_PATH, body, connections=2, seconds=setting.seconds)
        done = trail[-1][0]
        early = next(entry for entry in trail if entry[0] >= done / 5)
        moments |= {
            f"peak at {MANY} connections": singles.peak,
            f"after {early[0]:,} requests": early[1],
            f"after {done:,} requests": trail[-1][1],
            f"peak with two batches of {max(BATCHES):,} at once": batches.peak,
        }
    grown = rss_mib(trail[-1][1]) - rss_mib(early[1])
    return Part(
        "Memory",
        [
            _table(moments),
            "MiB. *Shared once* counts a page that several processes share once (PSS), the rest do not: it is what the "
            "machine has to have, and what the bars are about.",
        ],
        [
            Bar("resident memory of the whole stack, idle", pss_mib(moments["idle"]), at_most=300, unit=" MiB"),
            Bar(
                "the same under load, singles or batches",
                max(pss_mib(singles.peak), pss_mib(batches.peak)),
                at_most=400,
                unit=" MiB",
            ),
            Bar(f"growth from {early[0]:,} to {done:,} requests", grown, at_most=5, unit=" MiB"),
        ],
    )


def _table(moments: Mapping[str, Costs]) -> str:
    names = list(next(iter(moments.values())))
    rows = [
        [
            moment,
            *(number(costs[name].rss_mib) for name in names),
            number(rss_mib(costs)),
            number(pss_mib(costs)),
        ]
        for moment, costs in moments.items()
    ]
    return table(["", *names, "whole stack", "shared once"], rows)
