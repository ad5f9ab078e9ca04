"""A Dask cluster of real processes, whose workers can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from support.servers import clean_environ, wait_until


class Cluster:
    """A Dask scheduler and workers as processes of their own."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self._file)
        wait_until(self._file.exists, what="the scheduler", timeout_s=30)
        # No nanny: whoever is killed stays away.
        self.workers = [self.add_worker() for _ in range(2)]

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(json.loads(self._file.read_text())["address"])

    def _start(self, *arguments: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, arguments)],
            env=clean_environ() | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def add_worker(self) -> subprocess.Popen[bytes]:
        """One more."""
        return self._start(
            *("worker", "--scheduler-file", self._file, "--host", "127.0.0.1"),
            *("--nthreads", "1", "--no-nanny", "--no-dashboard"),
        )
