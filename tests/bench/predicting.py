"""One customer in a request, at 64 connections and at one, against echo and the one-process baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from bench.answers import in_batch, must_agree, must_be_stored, one_by_one
from bench.measuring import Rounds, Run, calls_of, cpu_of, ratios, rounds, run, typical
from bench.report import Bar, Part, number, table
from bench.setting import Setting
from bench.stands import ECHO, ONE_PROCESS, OURS, Stand, Stands
from bench.wrk import drive

MANY = 64


def _check(ours: Stand, baseline: Stand, setting: Setting) -> None:
    expected = in_batch(ours.url, setting.single_customers)
    must_agree("one by one and in a batch", one_by_one(ours.url, setting.single_customers), expected)
    must_agree("scikit-learn and ours", one_by_one(baseline.url, setting.single_customers), expected)


def warm_up(stands: Sequence[Stand], setting: Setting) -> None:
    """Drive each for a moment, untimed."""
    for stand in stands:
        drive(stand.url + "/predict", setting.single_bodies, connections=MANY, seconds=setting.warm_up_seconds)


def measure(setting: Setting) -> Part:
    """Rates, latencies, cost and upstream calls."""
    with Stands(setting.folder) as start:
        stands = [start.ours(), start.echo(), start.one_process()]
        ours, _, baseline = stands
        _check(ours, baseline, setting)
        warm_up(stands, setting)
        seen = {
            connections: rounds(
                stands,
                setting.n_rounds,
                partial(_run, setting=setting, connections=connections),
            )
            for connections in (MANY, 1)
        }
        assert ours.history is not None
        must_be_stored(ours.history, setting.single_customers, in_batch(ours.url, setting.single_customers))
    return _part(seen)


def _run(stand: Stand, *, setting: Setting, connections: int) -> Run:
    return run(stand, "/predict", setting.single_bodies, connections=connections, seconds=setting.seconds)


def _part(seen: dict[int, Rounds]) -> Part:
    part = Part("One customer in a request")
    for connections, runs in seen.items():
        plural = "s" if connections > 1 else ""
        part.text += [f"{connections} connection{plural}:", _rates(runs), _costs(runs[OURS])]
    many, one = seen[MANY], seen[1]
    part.bars = [
        _bar(many, ECHO, _rate, "64 connections: requests a second, times echo's", at_least=0.7),
        _bar(many, ONE_PROCESS, _rate, "64 connections: requests a second, times the one process's", at_least=50),
        _bar(many, ECHO, _p99, "64 connections: 99th percentile, times echo's", at_most=3),
        _bar(one, ECHO, _p50, "1 connection: median latency, times echo's", at_most=3),
        _bar(one, ONE_PROCESS, _rate, "1 connection: requests a second, times the one process's", at_least=10),
        *(
            Bar(
                f"64 connections: calls to the {service} for 1,000 requests",
                typical(many[OURS], calls_of(service)),
                at_most=100,
            )
            for service in sorted(many[OURS][0].upstream_calls)
        ),
    ]
    return part


def _rate(run: Run) -> float:
    return run.load.rate


def _p50(run: Run) -> float:
    return run.load.p50_ms


def _p99(run: Run) -> float:
    return run.load.p99_ms


def _bar(seen: Rounds, reference: str, figure: Callable[[Run], float], what: str, **limit: float) -> Bar:
    found = ratios(seen[OURS], seen[reference], figure)
    return Bar(what, found[len(found) // 2], spread=(found[0], found[-1]), **limit)


def _rates(seen: Rounds) -> str:
    rows = [
        [
            name,
            number(typical(runs, _rate)),
            number(sorted(ratios(runs, seen[ECHO], _rate))[len(runs) // 2]),
            number(typical(runs, _p50)),
            number(typical(runs, _p99)),
            number(typical(runs, lambda each: each.total_cpu_ms)),
        ]
        for name, runs in seen.items()
    ]
    head = ["", "requests/s", "times echo", "median ms", "99th percentile ms", "CPU s for 1,000 requests"]
    return table(head, rows)


def _costs(runs: Sequence[Run]) -> str:
    parts = runs[0].cpu_ms
    cells = [number(typical(runs, cpu_of(part))) for part in parts]
    return table(["of ours", *parts], [["CPU s for 1,000 requests", *cells]])
