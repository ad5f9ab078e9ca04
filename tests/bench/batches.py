"""1,000 and 10,000 customers in one JSON request, against echo validating the same array."""

from __future__ import annotations

from functools import partial

from bench.answers import in_batch, must_be_stored
from bench.measuring import Rounds, Run, cpu_of, ratios, rounds, run, typical
from bench.predicting import warm_up
from bench.report import Bar, Part, number, table
from bench.setting import BATCHES, Setting
from bench.stands import ECHO, OURS, Stand, Stands

BATCH_PATH = "/batch-predict"


def _run(stand: Stand, *, setting: Setting, n_rows: int) -> Run:
    bodies = setting.batch_body(n_rows)
    return run(stand, BATCH_PATH, bodies, connections=1, seconds=setting.seconds, rows=n_rows)


def measure(setting: Setting) -> Part:
    """Rows a second at one connection."""
    part = Part("Many customers in a request")
    with Stands(setting.folder) as start:
        stands = [start.ours(), start.echo()]
        warm_up(stands, setting)
        rows = []
        for n_rows in BATCHES:
            seen = rounds(stands, setting.n_rounds, partial(_run, setting=setting, n_rows=n_rows))
            found = ratios(seen[OURS], seen[ECHO], lambda each: each.load.rate)
            what = f"{n_rows:,} customers in a request: rows a second, times echo's"
            part.bars.append(Bar(what, found[len(found) // 2], at_least=1.0, spread=(found[0], found[-1])))
            rows += _rows(seen, n_rows)
        ours = stands[0]
        assert ours.history is not None
        must_be_stored(ours.history, setting.customers, in_batch(ours.url, setting.customers))
    head = ["", "rows/s", "median ms a request", "CPU ms a request", "of which"]
    part.text = [table(head, rows), "One connection, which asks again as soon as it is answered."]
    return part


def _rows(seen: Rounds, n_rows: int) -> list[list[str]]:
    return [
        [
            f"{name}, {n_rows:,}",
            number(n_rows * typical(runs, lambda each: each.load.rate)),
            number(typical(runs, lambda each: each.load.p50_ms)),
            number(typical(runs, lambda each: each.total_cpu_ms)),
            ", ".join(f"{part} {number(typical(runs, cpu_of(part)))}" for part in runs[0].cpu_ms),
        ]
        for name, runs in seen.items()
    ]
