"""The containers inside the limits of a t2.micro: one processor for all of them, 768 MiB; wrk stays outside."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.batches import BATCH_PATH
from bench.predicting import MANY
from bench.processes import answers
from bench.report import Part, number, table
from bench.setting import BATCHES, Setting
from bench.stands import ECHO, OURS
from bench.wrk import BenchError, Load, drive
from support.builders import ROOT
from support.compose import SERVICES, Composed, composed, why_not
from support.servers import wait_until

_OVERRIDE = Path(__file__).with_name("t2micro.yml")
_MIB = {"B": 2**-20, "KiB": 2**-10, "MiB": 1.0, "GiB": 2.0**10}


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _limited(folder: Path) -> Iterator[tuple[Composed, str, str]]:
    """The composed system, its address and that of echo's nginx."""
    files = f"docker-compose.yml:{_OVERRIDE}"
    with _environment(COMPOSE_FILE=files, BENCH_TESTS=str(ROOT / "tests")), composed(folder) as project:
        with _environment(COMPOSE_PROFILES="echo"):
            try:
                project.run("up", "--detach", "echo-frontend")
                port = project.run("port", "echo-frontend", "8080").strip().rsplit(":", 1)[1]
                echo_url = f"http://127.0.0.1:{port}"
                wait_until(lambda: answers(f"{echo_url}/readyz"), what="echo to answer", timeout_s=30)
                yield project, project.url, echo_url
            finally:
                project.run("rm", "--stop", "--force", "echo", "echo-frontend")


def _memory_mib(project: Composed) -> dict[str, float]:
    """As the engine counts it, by service; without the page cache that can be given back."""
    found = {}
    for service in SERVICES:
        container = project.run("ps", "--quiet", service).strip()
        done = subprocess.run(
            ["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", container],
            capture_output=True,
            text=True,
            check=True,
        )
        used = re.match(r"([\d.]+)(\w+)", done.stdout)
        assert used is not None, done.stdout
        found[service] = float(used[1]) * _MIB[used[2]]
    return found


@dataclass(frozen=True)
class _Case:
    what: str
    path: str
    bodies: Path
    connections: int
    rows: int


def _cases(setting: Setting) -> list[_Case]:
    singles, n_rows = setting.single_bodies, max(BATCHES)
    return [
        _Case(f"/predict, {MANY} connections", "/predict", singles, MANY, 1),
        _Case("/predict, 1 connection", "/predict", singles, 1, 1),
        _Case(f"{n_rows:,} customers in a request", BATCH_PATH, setting.batch_body(n_rows), 1, n_rows),
    ]


def _drive(url: str, case: _Case, seconds: float) -> Load:
    return drive(url + case.path, case.bodies, connections=case.connections, seconds=seconds, core=1)


def _image_mb(name: str) -> float:
    """Megabytes of an image, unpacked, as the engine lists it."""
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", name]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6


def _images(project: Composed) -> list[list[str]]:
    rows = []
    for service in SERVICES:
        (*_, base) = re.findall(r"^FROM (\S+)", (ROOT / service / "Dockerfile").read_text(), re.MULTILINE)
        whole, below = _image_mb(f"{project.project}-{service}"), _image_mb(base)
        rows.append([service, number(whole), number(below), number(whole - below)])
    return rows


def _case_row(case: _Case, urls: Mapping[str, str], setting: Setting) -> list[str]:
    loads: dict[str, list[Load]] = {name: [] for name in urls}
    for _ in range(setting.n_rounds):
        for name, url in urls.items():
            loads[name].append(_drive(url, case, setting.seconds))
    ours, echo = loads[OURS], loads[ECHO]
    return [
        case.what,
        number(case.rows * median(load.rate for load in ours)),
        number(case.rows * median(load.rate for load in echo)),
        number(median(a.rate / b.rate for a, b in zip(ours, echo, strict=True))),
        number(median(load.p50_ms for load in ours)),
        number(median(load.p99_ms for load in ours)),
    ]


def measure(setting: Setting) -> Part:
    """Rates on one processor, the memory of each container, and the size of each image."""
    if reason := why_not():
        raise BenchError(reason)
    if (os.cpu_count() or 1) < 2:
        raise BenchError("the limits of a t2.micro take one processor, and wrk another: this machine has one")
    folder = setting.folder / "composed"
    folder.mkdir()
    with _limited(folder) as (project, ours_url, echo_url):
        idle = _memory_mib(project)
        urls = {OURS: ours_url, ECHO: echo_url}
        cases = _cases(setting)
        for url in urls.values():
            _drive(url, cases[0], setting.warm_up_seconds)
        rows = [_case_row(case, urls, setting) for case in cases]
        loaded = _memory_mib(project)
        images = _images(project)
    head = ["", "ours, a second", "echo, a second", "times echo", "ours, median ms", "ours, 99th percentile ms"]
    memory = [
        [moment, *(number(used[service]) for service in SERVICES), number(sum(used.values()))]
        for moment, used in (("idle", idle), ("after the load", loaded))
    ]
    return Part(
        "On one processor, in containers",
        [
            table(head, rows),
            "Requests a second for `/predict`, customers a second for a batch.",
            table(["memory, MiB", *SERVICES, "whole stack"], memory),
            table(["image, MB unpacked", "whole", "the base image here", "ours"], images),
        ],
    )
