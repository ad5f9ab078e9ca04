"""Real processes on ports that they choose themselves."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from support.builders import ROOT

START_TIMEOUT_S = 30


def clean_environ() -> dict[str, str]:
    """This process's environment without any of the product's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TELELINK_")}


@dataclass
class Server:
    """A running service."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        """End it at once, and be sure that it is gone."""
        self.process.kill()
        self.process.wait(timeout=10)


def wait_until(condition, *, what: str, timeout_s: float = 10):  # type: ignore[no-untyped-def]
    """The condition's first true value; fails with `what` was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def service(
    module: str, ready_path: str, settings: Mapping[str, str] | None = None, *, port: int = 0, cwd: Path = ROOT
) -> Iterator[Server]:
    """`python -m module` until the block ends; what it said is shown when it dies early."""
    environ = clean_environ() | {f"TELELINK_{name}": value for name, value in (settings or {}).items()}
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=cwd,
        env=environ | {"TELELINK_PORT": str(port), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    ports: queue.SimpleQueue[int] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if '"event":"starting"' in line:
                ports.put(json.loads(line)["port"])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        try:
            url = f"http://127.0.0.1:{ports.get(timeout=START_TIMEOUT_S)}"
        except queue.Empty:
            raise AssertionError(f"{module} did not start:\n{''.join(lines)}") from None
        wait_until(
            lambda: _answers(url + ready_path) or process.poll() is not None,
            what=f"{module} to be ready",
            timeout_s=START_TIMEOUT_S,
        )
        assert process.poll() is None, f"{module} ended:\n{''.join(lines)}"
        yield Server(process, url, lines)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(timeout=5)
        assert process.stdout is not None
        process.stdout.close()


def churn_service(port: int = 0, **settings: str):  # type: ignore[no-untyped-def]
    """The churn model service."""
    return service("telelink_churn", "/v2/health/ready", settings, port=port)


def clv_service(port: int = 0, **settings: str):  # type: ignore[no-untyped-def]
    """The lifetime-value model service."""
    return service("telelink_clv", "/v2/health/ready", settings, port=port)


def gateway(churn_url: str, clv_url: str, history: Path, port: int = 0, **settings: str):  # type: ignore[no-untyped-def]
    """The gateway in front of both."""
    ours = {"CHURN_URL": churn_url, "CLV_URL": clv_url, "HISTORY_URL": f"sqlite:///{history}"}
    return service("telelink_gateway", "/readyz", ours | settings, port=port)


@dataclass
class System:
    """All three services."""

    churn: Server
    clv: Server
    gateway: Server
    history: Path

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self.gateway.url


@contextmanager
def system(folder: Path, **settings: str) -> Iterator[System]:
    """Both model services and a gateway, with a history of their own in `folder`."""
    history = folder / "history.db"
    with churn_service() as churn, clv_service() as clv, gateway(churn.url, clv.url, history, **settings) as front:
        yield System(churn, clv, front, history)
