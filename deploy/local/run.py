"""Starts the whole system as local processes; `make run` calls it. Ctrl-C ends all of them.

Standard library only, apart from the services it starts. The gateway serves the page here, since no nginx runs.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 8.0
PREFIX = "TELELINK_"
OF_EVERY_SERVICE = ("TELELINK_LOG_LEVEL", "TELELINK_DRAIN_S")
# A service that dies without saying why would leave nothing to look at.
LAST_LINES = 8


class CannotStart(Exception):
    """The message is the one line that the user gets."""


@dataclass
class Service:
    """One child process.

    Attributes:
        settings: its TELELINK_ variables, without the prefix.
        ready_path: answers 200 once it wants requests.
    """

    name: str
    module: str
    settings: dict[str, str]
    ready_path: str
    process: subprocess.Popen[str] | None = None
    port: int | None = None

    def start(self, environ: dict[str, str]) -> None:
        """Start it; its lines come out with its name before them, and the first tells its port."""
        ours = {PREFIX + name: value for name, value in self.settings.items()}
        self.last: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            cwd=ROOT,
            env={**environ, **ours, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C reaches this program alone, which then stops its children in order.
            start_new_session=True,
            preexec_fn=partial(_die_with, os.getpid()),
        )
        threading.Thread(target=self._forward, daemon=True).start()

    def _forward(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.last = [*self.last, line.rstrip()][-LAST_LINES:]
            if self.port is None and '"event":"starting"' in line:
                self.port = int(json.loads(line)["port"])
            print(f"{self.name:<13} | {line}", end="", flush=True)

    def wait_until_ready(self, deadline: float) -> str:
        """Its address, once it is ready.

        Raises:
            CannotStart: it ended, or the deadline has passed.
        """
        assert self.process is not None
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise CannotStart(f"{self.name} could not start: {self._reason()}")
            if self.port is not None and self._answers():
                return f"http://{HOST}:{self.port}"
            time.sleep(0.05)
        raise CannotStart(f"{self.name} was not ready within {START_TIMEOUT_S:.0f} s; its log lines are above")

    def _reason(self) -> str:
        time.sleep(0.2)  # its last lines are still on their way through the pipe
        for line in reversed(self.last):
            try:
                return str(json.loads(line)["reason"])
            except (ValueError, KeyError, TypeError):
                continue
        return self.last[-1] if self.last else "it said nothing"

    def _answers(self) -> bool:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://{HOST}:{self.port}{self.ready_path}", timeout=1) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


def _die_with(parent: int) -> None:
    # Linux sends SIGTERM when the parent dies, even by kill -9 (PR_SET_PDEATHSIG = 1).
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
        if os.getppid() != parent:  # it died before it could be asked for
            os._exit(1)


def _stop(services: list[Service]) -> None:
    running = [service.process for service in reversed(services) if service.process is not None]
    for process in running:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _preferred(port: int) -> str:
    """The port that the service's README names, or any free one beside another copy of the system."""
    return str(port) if _is_free(port) else "0"


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise CannotStart(f"PORT must be a number from 1 to 65535, not '{text}'")
    return int(text)


def _run(services: list[Service]) -> None:
    port = _port(os.environ.get("PORT", "8000"))
    if not _is_free(port):
        raise CannotStart(f"port {port} is taken: choose another, for example PORT={port + 1} make run")
    # Each service refuses TELELINK_ names that it does not know: all get what all know, the gateway gets the rest.
    plain = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    users = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    shared = {name: value for name, value in users.items() if name in OF_EVERY_SERVICE}
    deadline = time.monotonic() + START_TIMEOUT_S
    models = [
        Service("churn-service", "telelink_churn", {"PORT": _preferred(8001)}, "/v2/health/ready"),
        Service("clv-service", "telelink_clv", {"PORT": _preferred(8002)}, "/v2/health/ready"),
    ]
    services.extend(models)
    for service in models:
        service.start({**plain, **shared})
    churn_url, clv_url = (service.wait_until_ready(deadline) for service in models)
    gateway = Service(
        "gateway",
        "telelink_gateway",
        {"PORT": str(port), "CHURN_URL": churn_url, "CLV_URL": clv_url, "SITE_DIR": str(ROOT / "frontend" / "site")},
        "/readyz",
    )
    services.append(gateway)
    gateway.start({**plain, **users})
    gateway.wait_until_ready(deadline)
    print(f"\nTeleLink Customer Analytics: http://localhost:{port}   API: http://localhost:{port}/docs", flush=True)
    print("Predictions are kept in var/history.db. Press Ctrl-C to stop.\n", flush=True)
    _watch(services)


def _watch(services: list[Service]) -> None:
    gone: set[str] = set()
    while True:
        for service in services:
            assert service.process is not None
            if service.process.poll() is not None and service.name not in gone:
                if service.name == "gateway":
                    raise CannotStart(f"the gateway ended: {service._reason()}")
                gone.add(service.name)
                print(f"{service.name} has ended; the rest goes on without it", flush=True)
        time.sleep(0.5)


def main() -> int:
    """Run until Ctrl-C or SIGTERM: 0 then, 1 when something could not start."""
    services: list[Service] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Also where a shell started this in the background, with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "MAKE_PID" in os.environ:
        _die_with(int(os.environ["MAKE_PID"]))
    try:
        _run(services)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
    except CannotStart as error:
        _stop(services)
        print(f"make run: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _stop(services)
    return 0


if __name__ == "__main__":
    sys.exit(main())
