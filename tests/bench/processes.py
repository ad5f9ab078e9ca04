"""Starts what is measured, with logs to a file as a container engine would have it, and reads what it costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from support.builders import ROOT
from support.servers import clean_environ, wait_until

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """CPU seconds since start and memory now, of a process with all below it.

    Attributes:
        pss_mib: memory with shared pages counted once over all who share them.
    """

    cpu_s: float
    rss_mib: float
    pss_mib: float


def _stat(pid: int) -> list[str] | None:
    try:
        # The name in brackets may hold spaces; what follows does not.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(parent: int) -> list[int]:
    """Direct children of a process."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[1]) == parent]


def _with_children(pid: int) -> list[int]:
    return [pid, *(found for child in children(pid) for found in _with_children(child))]


def _memory_mib(pid: int) -> tuple[float, float]:
    sizes = dict.fromkeys(("Rss", "Pss"), 0.0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0]) / 1024
    return sizes["Rss"], sizes["Pss"]


def _cost(pid: int) -> Cost:
    stat = _stat(pid)
    try:
        return Cost((int(stat[11]) + int(stat[12])) / _TICKS_PER_S, *_memory_mib(pid)) if stat else Cost(0.0, 0.0, 0.0)
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return Cost(0.0, 0.0, 0.0)


def cost(pid: int) -> Cost:
    """What a process and its children cost."""
    costs = [_cost(each) for each in _with_children(pid)]
    return Cost(
        sum(each.cpu_s for each in costs), sum(each.rss_mib for each in costs), sum(each.pss_mib for each in costs)
    )


def main_thread_cpu_s(pid: int) -> float:
    """CPU seconds of a process's first thread alone."""
    stat = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / _TICKS_PER_S


def _port(log: Path) -> int | None:
    for line in log.read_text().splitlines():
        if line.startswith("{") and (event := json.loads(line))["event"] == "starting":
            return int(event["port"])
    return None


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass(frozen=True)
class Running:
    """A process that answers at `url`."""

    pid: int
    url: str


@contextmanager
def python(
    module: str,
    ready_path: str,
    folder: Path,
    settings: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """`python -m module` until the block ends, its output in a file in `folder`.

    Args:
        settings: by name without TELELINK_.
        extra: further variables as they are.
    """
    ours = {f"TELELINK_{name}": value for name, value in (settings or {}).items()}
    environ = clean_environ() | ours | dict(extra or {})
    environ |= {"PYTHONPATH": str(ROOT / "tests"), "TELELINK_PORT": "0"}
    log = folder / f"{module}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: _port(log) or process.poll() is not None, what=f"{module} to start", timeout_s=60)
        assert process.poll() is None, f"{module} ended:\n{log.read_text()}"
        url = f"http://127.0.0.1:{_port(log)}"
        wait_until(lambda: answers(url + ready_path) or process.poll() is not None, what=f"{module} to be ready")
        assert process.poll() is None, f"{module} ended:\n{log.read_text()}"
        yield Running(process.pid, url)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
