"""1.2 million customers, CSV in, CSV out: as a job of the running stack, also for who asks meanwhile; and offline."""

from __future__ import annotations

import filecmp
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx

from bench import files
from bench.processes import children
from bench.report import Bar, Part, number, table
from bench.setting import Setting
from bench.stands import Stand, Stands
from bench.wrk import BenchError
from support.open_loop import Outcome, drive
from support.servers import wait_until
from telelink_training.population import write_population

N_CUSTOMERS = 1_200_000
# Of somebody who looks customers up, many times over; 99 of 100 are to be found in what a run lasts.
_SINGLES_PER_S = 40
_LONGEST_S = 600
_LOOK_S = 0.25
_WORKER = "job worker"


def _most_mib(pid: int) -> float:
    """Resident memory at most so far, of a process without those below it; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


@contextmanager
def _watched(stand: Stand) -> Iterator[dict[str, float]]:
    """The most memory of each process so far, in MiB; the job worker is one below the gateway."""
    most: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        own = {part: pid for part, pid in stand.pids.items() if part != "nginx"}
        below = dict.fromkeys(children(own["gateway"]), _WORKER)
        for pid, part in {**{pid: part for part, pid in own.items()}, **below}.items():
            most[part] = max(most.get(part, 0.0), _most_mib(pid))

    def watch() -> None:
        while not over.wait(_LOOK_S):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _begin(http: httpx.Client, customers: Path) -> str:
    """Where the job is that a file has become."""
    with customers.open("rb") as file:
        reply = http.post("/v1/jobs", content=file, headers={"Content-Type": "text/csv"})
    reply.raise_for_status()
    return str(reply.headers["Location"])


def _state(http: httpx.Client, job: str) -> Mapping[str, Any]:
    told: Mapping[str, Any] = http.get(job).raise_for_status().json()
    if told["state"] in ("failed", "cancelled"):
        raise BenchError(f"the job {told['state']}: {told['failure']}")
    return told


def _whole(http: httpx.Client, customers: Path, result: Path) -> tuple[float, float]:
    """Seconds from the first byte in to the last byte out, and rows a second of the job alone."""
    began = time.perf_counter()
    job = _begin(http, customers)
    wait_until(lambda: _state(http, job)["state"] == "succeeded", what="the job to end", timeout_s=_LONGEST_S)
    with http.stream("GET", f"{job}/result", headers={"Accept": "text/csv"}) as reply, result.open("wb") as file:
        reply.raise_for_status()
        for part in reply.iter_raw():
            file.write(part)
    took_s = time.perf_counter() - began
    told = _state(http, job)
    started, ended = (datetime.fromisoformat(told[moment]) for moment in ("started_at", "finished_at"))
    http.delete(job).raise_for_status()
    return took_s, told["rows_done"] / (ended - started).total_seconds()


def _singles(stand: Stand, setting: Setting) -> Outcome:
    body = json.dumps(setting.single_customers[0]).encode()
    seconds = max(10.0, 2 * setting.seconds)
    seen = drive(stand.url, "/predict", body, rate=_SINGLES_PER_S, seconds=seconds, connections=32)
    if set(seen.latencies_s) != {200}:
        raise BenchError(f"some requests were not answered with 200: {sorted(seen.latencies_s)}")
    return seen


def _singles_meanwhile(stand: Stand, http: httpx.Client, customers: Path, setting: Setting) -> Outcome:
    job = _begin(http, customers)
    wait_until(lambda: _state(http, job)["rows_done"] > 0, what="the job to begin", timeout_s=30)
    seen = _singles(stand, setting)
    if _state(http, job)["state"] != "running":
        raise BenchError("the job had ended before those who asked meanwhile: a longer file is needed")
    http.delete(job).raise_for_status()
    return seen


def measure(setting: Setting) -> Part:
    """Time and memory of the whole file, and latencies of single requests without and with a job."""
    customers, result, offline = (setting.folder / name for name in ("customers.csv", "result.csv", "offline.csv"))
    write_population(customers, N_CUSTOMERS, seed=1)
    with Stands(setting.folder) as start:
        stand = start.ours()
        with httpx.Client(base_url=stand.url, timeout=60, trust_env=False) as http:
            _singles(stand, setting)  # untimed
            idle = _singles(stand, setting)
            meanwhile = _singles_meanwhile(stand, http, customers, setting)
            with _watched(stand) as most:
                took_s, rate = _whole(http, customers, result)
    offline_s, offline_cpu_s, offline_mib = files.measure(customers, offline, jobs=2)
    if not filecmp.cmp(result, offline, shallow=False):
        raise BenchError("the job and the command without a server made different files")
    slower = meanwhile.quantile_s(0.99, 200) / idle.quantile_s(0.99, 200)
    head = ["", "median ms", "99th percentile ms"]
    rows = [
        [name, *(number(seen.quantile_s(share, 200) * 1e3) for share in (0.5, 0.99))]
        for name, seen in (("idle", idle), ("while a job runs", meanwhile))
    ]
    most_of = [f"{part} {number(mib)}" for part, mib in most.items()]
    return Part(
        f"A file of {N_CUSTOMERS:,} customers",
        [
            f"As a job: {number(took_s)} s from the first byte of the CSV file in to the last byte of the result out, "
            f"{number(rate)} rows a second while it ran; at most {', '.join(most_of)} MiB resident. Without a server, "
            f"by two processes: {number(offline_s)} s, {number(offline_cpu_s)} CPU s, "
            f"{number(offline_mib)} MiB together. "
            "Both results are the same, byte for byte.",
            f"`/predict` {_SINGLES_PER_S} times a second, at moments that are drawn:",
            table(head, rows),
        ],
        [
            Bar(f"{N_CUSTOMERS:,} customers through the stack", took_s, at_most=60, unit=" s"),
            Bar("the same without a server", offline_s, at_most=30, unit=" s"),
            Bar("rows a second of the job", rate, at_least=25_000),
            Bar("gateway and its job worker at most", most["gateway"] + most[_WORKER], at_most=200, unit=" MiB"),
            Bar(
                "either model service at most",
                max(mib for part, mib in most.items() if part.endswith("-service")),
                at_most=200,
                unit=" MiB",
            ),
            Bar("99th percentile of /predict while a job runs, times idle", slower, at_most=3),
        ],
    )
