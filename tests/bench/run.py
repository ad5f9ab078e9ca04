"""`make bench`: measures, prints the tables, and writes docs/benchmarks.md when every part has been run."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import batches, growth, jobs, limits, memory, predicting, stages, t2micro, workers
from bench.document import document
from bench.report import Part, bars_table
from bench.setting import SHORTEST_S, Setting
from bench.wrk import BenchError, need_wrk
from support.builders import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
PARTS: Mapping[str, Callable[[Setting], Part]] = {
    "predict": predicting.measure,
    "batch": batches.measure,
    "jobs": jobs.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "stages": stages.measure,
    "limits": limits.measure,
    "workers": workers.measure,
    "t2micro": t2micro.measure,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each timed run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each comparison; the median is shown")
    parser.add_argument("--only", choices=PARTS, action="append", help="these parts alone, printed and not written")
    arguments = parser.parse_args()
    if arguments.seconds < SHORTEST_S:
        parser.error(f"a run of less than {SHORTEST_S:g} seconds shows nothing")
    return arguments


def main() -> int:
    """0 when all was measured, whether or not the bars were met; 1 when something could not be."""
    arguments = _arguments()
    load = os.getloadavg()[0]
    chosen = arguments.only or list(PARTS)
    parts = []
    try:
        need_wrk()
        for name in chosen:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                Path(folder).chmod(0o755)  # nginx keeps long bodies below it, as another user
                print(f"measuring: {name}", file=sys.stderr, flush=True)
                part = PARTS[name](Setting(Path(folder), arguments.seconds, arguments.rounds))
            print(part.markdown(), end="\n\n", flush=True)
            parts.append(part)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if bars := [bar for part in parts for bar in part.bars]:
        print(bars_table(bars))
    if not arguments.only:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(document(parts, seconds=arguments.seconds, n_rounds=arguments.rounds, load=load))
        print(f"\nwritten: {DOCUMENT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
