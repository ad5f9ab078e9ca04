"""From 1 connection to 256: where does it stop growing, and what does waiting cost then?"""

from __future__ import annotations

from functools import partial

from bench.measuring import Run, ratios, rounds, run, typical
from bench.predicting import warm_up
from bench.report import Part, number, table
from bench.setting import Setting
from bench.stands import ECHO, OURS, Stand, Stands

CONNECTIONS = (1, 4, 16, 64, 128, 256)


def _run(stand: Stand, *, setting: Setting, connections: int) -> Run:
    # Half as long: there are many of them.
    seconds = setting.seconds / 2
    return run(stand, "/predict", setting.single_bodies, connections=connections, seconds=seconds, may_refuse=True)


def _refused_percent(each: Run) -> float:
    return 100 * each.load.not_ok / (each.load.requests + each.load.not_ok)


def measure(setting: Setting) -> Part:
    """Rates and latencies of ours and echo."""
    rows = []
    with Stands(setting.folder, is_limited=False) as start:
        stands = [start.ours(), start.echo()]
        warm_up(stands, setting)
        for connections in CONNECTIONS:
            seen = rounds(stands, setting.n_rounds, partial(_run, setting=setting, connections=connections))
            ours, echo = seen[OURS], seen[ECHO]
            times = ratios(ours, echo, lambda each: each.load.rate)
            calls = typical(ours, lambda each: max(each.upstream_calls.values()))
            rows.append(
                [
                    str(connections),
                    number(typical(ours, lambda each: each.load.rate)),
                    number(typical(echo, lambda each: each.load.rate)),
                    number(times[len(times) // 2]),
                    number(typical(ours, lambda each: each.load.p50_ms)),
                    number(typical(ours, lambda each: each.load.p99_ms)),
                    number(typical(echo, lambda each: each.load.p99_ms)),
                    number(1000 / calls),
                    number(typical(ours, lambda each: each.total_cpu_ms)),
                    number(typical(ours, _refused_percent)),
                ]
            )
    head = ["connections", "ours, requests/s", "echo, requests/s", "times echo", "ours, median ms"]
    head += [
        "ours, 99th percentile ms",
        "echo, 99th percentile ms",
        "requests in a call",
        "ours, CPU ms a request",
        "ours, refused %",
    ]
    note = (
        "nginx's limits on requests at once are lifted for this table; the gateway's own is not. wrk asks again at "
        "once when it is refused, whatever Retry-After says."
    )
    return Part("Growth with the number of connections", [table(head, rows), note])
