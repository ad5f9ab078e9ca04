"""Where the time goes: CPU time of a request by stage of the gateway, and by part of the system."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from bench.batches import BATCH_PATH
from bench.measuring import Run, run
from bench.predicting import MANY, warm_up
from bench.processes import main_thread_cpu_s
from bench.report import Part, number, table
from bench.sampled import STAGES
from bench.setting import BATCHES, Setting
from bench.stands import Stand, Stands
from support.servers import wait_until

_OTHER_THREADS = "gateway: other threads"


def _by_stage(stand: Stand, samples: Path, bodies: Path, *, path: str, setting: Setting, rows: int) -> dict[str, float]:
    """CPU milliseconds a request by stage and part."""
    pid = stand.pids["gateway"]
    samples.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    before = main_thread_cpu_s(pid)
    connections = MANY if rows == 1 else 1
    seen = run(stand, path, bodies, connections=connections, seconds=setting.seconds, rows=rows)
    main_s = main_thread_cpu_s(pid) - before
    os.kill(pid, signal.SIGUSR2)
    wait_until(samples.exists, what="the gateway's samples")
    return _shares(seen, json.loads(samples.read_text()), main_s)


def _shares(seen: Run, spent: Mapping[str, float], main_s: float) -> dict[str, float]:
    gateway_ms = seen.cpu_ms["gateway"]
    main_ms = min(main_s * 1e3 / seen.n_done, gateway_ms)
    total = sum(spent.values())
    stages = {f"gateway: {name}": main_ms * spent.get(name, 0.0) / total for name in STAGES}
    others = {name: value for name, value in seen.cpu_ms.items() if name != "gateway"}
    return {**stages, _OTHER_THREADS: gateway_ms - main_ms, **others}


def measure(setting: Setting) -> Part:
    """Microseconds a request, and a row of a batch."""
    samples = setting.folder / "samples.json"
    n_rows = max(BATCHES)
    with Stands(setting.folder) as start:
        stand = start.ours(gateway_module="bench.sampled", extra={"BENCH_SAMPLES": str(samples)})
        warm_up([stand], setting)
        single = _by_stage(stand, samples, setting.single_bodies, path="/predict", setting=setting, rows=1)
        body = setting.batch_body(n_rows)
        batch = _by_stage(stand, samples, body, path=BATCH_PATH, setting=setting, rows=n_rows)
    rows = [
        [
            name,
            number(single[name] * 1e3),
            f"{single[name] / sum(single.values()):.0%}",
            number(batch[name] * 1e3 / n_rows),
            f"{batch[name] / sum(batch.values()):.0%}",
        ]
        for name in single
    ]
    whole = ["**all**", number(sum(single.values()) * 1e3), "", number(sum(batch.values()) * 1e3 / n_rows), ""]
    head = ["CPU microseconds", f"a request, {MANY} connections", "", f"a row of {n_rows:,}", ""]
    note = (
        "Stages of the gateway by a sampler in its main thread (`tests/bench/sampled.py`), which slows it by 1 or 2 %; "
        "all else from the processes' own clocks."
    )
    return Part("Where the time goes", [table(head, [*rows, whole]), note])
