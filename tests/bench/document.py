"""The report as a page: on what machine, with which versions, and what was found."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.report import Part, bars_table, table

_LIBRARIES = (
    "fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "httptools", "httpx", "aiohttp", "onnxruntime", "numpy",
    "scikit-learn", "pandas",
)  # fmt: skip

_HOW = """Written by `make bench`; not edited by hand. All that is compared runs in one go on the same machine, in turn,
behind an nginx with the frontend's configuration; wrk drives it from the same machine. Ratios are taken round by round,
and the median of the rounds is shown, with the lowest and the highest.

- **ours**: gateway and both model services as real processes, with deadlines, stored history, logs and metrics on.
  Every answer is checked: before timing one by one against a batch and against scikit-learn, afterwards all that was
  stored.
- **echo**: a one-worker FastAPI endpoint that validates the same body and answers a constant (`tests/bench/echo.py`).
- **one process**: a one-worker FastAPI endpoint that runs both scikit-learn pipelines on a one-row pandas frame
  (`tests/bench/one_process.py`)."""


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _program(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _facts(load: float) -> list[list[str]]:
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return [
        ["processor", f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB"],
        ["load at the start", f"{load:.1f} processes that wanted to run, without the benchmark"],
        ["system", f"{platform.system()} {platform.release().partition('-')[0]}"],
        [
            "programs",
            f"Python {platform.python_version()}, nginx {_program('nginx', '-v')}, wrk {_program('wrk', '-v')}",
        ],
        ["libraries", libraries],
    ]


def document(parts: Sequence[Part], *, seconds: float, n_rounds: int, load: float) -> str:
    """The whole page.

    Args:
        load: of the machine before the first run, averaged over a minute.
    """
    now = datetime.now(UTC).date().isoformat()
    bars = [bar for part in parts for bar in part.bars]
    return (
        "\n\n".join(
            [
                "# Benchmarks",
                _HOW,
                f"Measured on {now} by `make bench BENCH_SECONDS={seconds:g}`: {n_rounds} rounds.",
                "## Against the bars",
                bars_table(bars),
                *(part.markdown() for part in parts),
                "## Machine and versions",
                table(["", ""], _facts(load)),
            ]
        )
        + "\n"
    )
