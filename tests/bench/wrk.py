"""Drives an address with wrk and says how fast it was. Any answer but 2xx ends the benchmark, unless it may be one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("post.lua")
# Longer than the longest deadline: a slow answer is to be seen, not dropped.
_TIMEOUT_S = 30


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw.

    Attributes:
        requests: that were answered with 2xx.
        not_ok: that were answered with anything else.
        p50_ms, p99_ms: of all of them.
    """

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    not_ok: int = 0

    @property
    def rate(self) -> float:
        """Requests a second that were answered with 2xx."""
        return self.requests / self.duration_s


class BenchError(Exception):
    """The benchmark cannot go on."""


def need_wrk() -> None:
    """Raise BenchError with the command that adds it where wrk is missing."""
    if shutil.which("wrk") is None:
        raise BenchError("wrk is not installed: apt-get install wrk")


def write_bodies(path: Path, bodies: Sequence[Any]) -> Path:
    """A file of request bodies, one a line."""
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    return path


def drive(
    url: str,
    bodies: Path,
    *,
    connections: int,
    seconds: float,
    core: int | None = None,
    may_refuse: bool = False,
) -> Load:
    """Post the bodies in turn over so many connections, each waiting for its answer before it asks again.

    Args:
        core: the one that wrk may use; None: any.
        may_refuse: an answer that is not 2xx is counted apart, and does not end the benchmark.

    Raises:
        BenchError: an answer was not 2xx, or a connection broke.
    """
    length = f"-d{max(1, round(seconds))}s"
    script = ["--script", str(_SCRIPT), url, "--", str(bodies)]
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    done = subprocess.run(
        [*pinned, "wrk", "-t1", f"-c{connections}", length, f"--timeout={_TIMEOUT_S}s", *script],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 2 * _TIMEOUT_S,
    )
    if done.returncode != 0:
        raise BenchError(f"wrk: {done.stderr or done.stdout}")
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    seen["requests"] -= seen["not_ok"]
    if (seen["not_ok"] and not may_refuse) or seen.pop("broken") or not seen["requests"]:
        raise BenchError(f"some answers of {url} were not right:\n{done.stdout}")
    return Load(**seen)
