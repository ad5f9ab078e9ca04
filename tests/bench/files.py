"""How the cost of scoring a file without a server grows.

`PYTHONPATH=tests .venv/bin/python -m bench.files 10000 100000` prints for each number of customers the time from start
to result, the CPU time of all processes, and the most memory that they had together. `--stages` tells what the CPU time
of one process is spent on.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from support.builders import CHURN_MODELS, CLV_MODELS
from telelink_score.models import load_models
from telelink_score.parts import ROWS_PER_CHUNK, open_parted
from telelink_shared.bulk.checking import Checker
from telelink_shared.bulk.deciding import CHURN_FIGURES, CLV_FIGURES, decide_all
from telelink_shared.bulk.files import text_result
from telelink_shared.bulk.table import Scored
from telelink_shared.decision import Policy
from telelink_training.population import write_population

_PAGE_BYTES = resource.getpagesize()


def _tree_bytes(group: int) -> int:
    """Proportional to what each process of the group has to itself: pages that several share are counted once."""
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                for line in (folder / "smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        except (OSError, IndexError, ValueError):
            continue
    return total


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(customers: Path, result: Path, *, jobs: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds and MiB at most."""
    before, began, most = _cpu_s(), time.perf_counter(), 0
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "telelink_score", "score", str(customers), "--out", str(result)),
            *("--jobs", str(jobs), "--quiet"),
        ],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None:
        most = max(most, _tree_bytes(process.pid))
        time.sleep(0.2)
    assert process.returncode == 0
    return time.perf_counter() - began, _cpu_s() - before, most / 2**20


def stages(customers: Path) -> dict[str, float]:
    """CPU microseconds for each customer, by what they are spent on; in this process."""
    spent = dict.fromkeys(("read", "check", "churn model", "value model", "decide", "write"), 0.0)
    models = load_models(CHURN_MODELS, CLV_MODELS, Policy())
    n_rows = 0
    with open_parted(customers, "csv", {}) as file:
        checker = Checker(file.source.layout, is_text=True)
        result = text_result(file.source, "csv")
        chunks = file.source.chunks(ROWS_PER_CHUNK)
        while True:
            marks = [time.process_time()]
            chunk = next(chunks, None)
            if chunk is None:
                break
            marks.append(time.process_time())
            checked = checker.check(chunk)
            marks.append(time.process_time())
            columns = {**{name: np.asarray(values) for name, values in checked.numbers.items()}, **checked.words}
            answers = {}
            for model in (models.churn, models.clv):
                outputs = model.infer(columns, n_rows=len(checked.good))
                answers |= {name: outputs[name].tolist() for name in (*CHURN_FIGURES, *CLV_FIGURES) if name in outputs}
                marks.append(time.process_time())
            decided = decide_all(answers, models.policy)
            marks.append(time.process_time())
            "".join(result.rows(Scored(chunk, checked, decided))).encode()
            marks.append(time.process_time())
            n_rows += chunk.n_rows
            for name, begin, end in zip(spent, marks[:-1], marks[1:], strict=True):
                spent[name] += end - begin
    return {name: seconds / n_rows * 1e6 for name, seconds in spent.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="bench.files", description=__doc__)
    parser.add_argument("customers", type=int, nargs="+", help="how many")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--into", choices=("csv", "ndjson", "parquet"), default="csv")
    parser.add_argument("--of", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--stages", action="store_true", help="tell what one process is busy with instead")
    arguments = parser.parse_args()
    if arguments.stages:
        with tempfile.TemporaryDirectory() as folder:
            write_population(Path(folder) / "customers.csv", max(arguments.customers), seed=1)
            for name, us in stages(Path(folder) / "customers.csv").items():
                print(f"| {name} | {us:.1f} |")
        return
    print("| customers | seconds | customers/s | CPU s | CPU µs each | MiB at most |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for n_rows in arguments.customers:
            path = Path(folder) / f"customers.{arguments.of}"
            write_population(path, n_rows, seed=1)
            result = Path(folder) / f"result.{arguments.into}"
            took_s, cpu_s, mib = measure(path, result, jobs=arguments.jobs)
            print(
                f"| {n_rows:,} | {took_s:.1f} | {n_rows / took_s:,.0f} | {cpu_s:.1f} | {cpu_s / n_rows * 1e6:.1f} | "
                f"{mib:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
