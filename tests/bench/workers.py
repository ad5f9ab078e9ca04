"""1 and 2 gateway workers on one port, over the same two model services and one history file.

`python -m bench.workers` runs BENCH_WORKERS of them; each has metrics of its own, so what was stored is counted in the
history file.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from statistics import median

from bench.predicting import MANY
from bench.processes import answers
from bench.report import Part, number, table
from bench.serving import bound, serve_on
from bench.setting import Setting
from bench.stands import Stand, Stands
from bench.wrk import BenchError, Load, drive
from support.servers import wait_until
from telelink_gateway.app import create_app
from telelink_gateway.settings import Settings
from telelink_shared.web.logging import configure_logging

NUMBERS = (1, 2)


def _stored(history: Path) -> int:
    with closing(sqlite3.connect(history)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM predictions").fetchone()
    return int(count)


def _run(stand: Stand, setting: Setting) -> tuple[Load, float]:
    """What wrk saw, and CPU milliseconds a request."""
    assert stand.history is not None
    before, stored = stand.costs(), _stored(stand.history)
    load = drive(stand.url + "/predict", setting.single_bodies, connections=MANY, seconds=setting.seconds)
    after, stored = stand.costs(), _stored(stand.history) - stored
    if stored < load.requests:
        raise BenchError(f"{load.requests} predictions were answered and only {stored} stored")
    return load, sum(after[part].cpu_s - before[part].cpu_s for part in after) / stored * 1e3


def measure(setting: Setting) -> Part:
    """Rates and latencies at 64 connections."""
    with Stands(setting.folder) as start:
        stands = [start.ours(gateway_module="bench.workers", extra={"BENCH_WORKERS": str(n)}) for n in NUMBERS]
        for stand in stands:
            drive(stand.url + "/predict", setting.single_bodies, connections=MANY, seconds=setting.warm_up_seconds)
        runs = [[_run(stand, setting) for stand in stands] for _ in range(setting.n_rounds)]
    rows = [
        [
            str(n),
            number(median(load.rate for load, _ in mine)),
            number(median(load.rate / first.rate for (load, _), ((first, _), *_) in zip(mine, runs, strict=True))),
            number(median(load.p50_ms for load, _ in mine)),
            number(median(load.p99_ms for load, _ in mine)),
            number(median(cpu_ms for _, cpu_ms in mine)),
        ]
        for n, mine in zip(NUMBERS, zip(*runs, strict=True), strict=True)
    ]
    head = ["gateway workers", "requests/s", "times one worker", "median ms", "99th percentile ms", "CPU ms a request"]
    note = f"{MANY} connections. nginx, both model services and wrk share the {os.cpu_count()} cores with the workers."
    return Part("Gateway workers", [table(head, rows), note])


def _work(listener: socket.socket) -> None:
    settings = Settings.load()
    configure_logging("gateway", settings.log_level)
    if not serve_on(listener, create_app(settings)):
        raise SystemExit(3)


def _forked(listener: socket.socket) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _work(listener)
            code = 0
        finally:
            os._exit(code)
    return pid


def main(n_workers: int) -> int:
    """Fork the workers over one socket, and end all when told to, or when one of them failed."""
    with bound() as listener:
        pids = {_forked(listener)}
        # One after the other: the first makes the history file.
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/readyz"
        wait_until(lambda: answers(url), what="the first worker to be ready", timeout_s=30)
        pids |= {_forked(listener) for _ in range(n_workers - 1)}

    def stop(*_: object) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    worst = 0
    while pids:
        pid, status = os.wait()
        pids.discard(pid)
        worst = max(worst, os.waitstatus_to_exitcode(status))
        if status:
            stop()
    return worst


if __name__ == "__main__":
    sys.exit(main(int(os.environ["BENCH_WORKERS"])))
