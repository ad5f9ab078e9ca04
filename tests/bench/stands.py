"""What is measured: our system and its two references, each behind an nginx with the frontend's configuration."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import Cost, children, cost, python
from support.nginx import frontend
from support.servers import wait_until

OURS = "ours"
ECHO = "echo"
ONE_PROCESS = "one process"
RELAY = "relay"
RELAY_OVER_HTTPX = "relay over httpx"
RELAY_TO_MODELS = "relay over httpx to the model services"


@dataclass(frozen=True)
class Stand:
    """Something that answers POST /predict.

    Attributes:
        url: of its nginx.
        pids: its processes by the name of the part.
        gateway_url: ours only: where its metrics are.
        history: ours only: the file that it stores in.
    """

    name: str
    url: str
    pids: Mapping[str, int]
    gateway_url: str | None = None
    history: Path | None = None

    def costs(self) -> dict[str, Cost]:
        """CPU time and memory of each part now."""
        return {part: cost(pid) for part, pid in self.pids.items()}


@dataclass
class _Folders:
    root: Path
    _used: int = field(default=0, init=False)

    def new(self) -> Path:
        self._used += 1
        folder = self.root / str(self._used)
        folder.mkdir()
        return folder


def _lift_limit(pid: int, folder: Path) -> None:
    """Let as many requests in at once as come: those of a benchmark stand for those of many."""
    server = folder / "conf.d" / "server.conf"
    server.write_text(
        re.sub(r"limit_conn requests_of_(client|all) \d+", r"limit_conn requests_of_\1 4096", server.read_text())
    )
    before = set(children(pid))
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: children(pid) and not before & set(children(pid)), what="nginx to read its configuration again")


@contextmanager
def _behind_nginx(url: str, folder: Path, *, is_limited: bool) -> Iterator[tuple[str, int]]:
    before = set(children(os.getpid()))
    with frontend(url, folder) as address:
        (pid,) = set(children(os.getpid())) - before
        if not is_limited:
            _lift_limit(pid, folder)
        yield address, pid


class Stands:
    """Starts stands; whatever was started ends with the block.

    Args:
        is_limited: nginx keeps the product's limit on requests at once of one client.
    """

    def __init__(self, folder: Path, *, is_limited: bool = True) -> None:
        self._is_limited = is_limited
        self._folders = _Folders(folder)
        self._stack = ExitStack()

    def __enter__(self) -> Stands:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def ours(
        self, *, gateway_module: str = "telelink_gateway", extra: Mapping[str, str] | None = None, **settings: str
    ) -> Stand:
        """Both model services and the gateway, with history, logs and metrics as in production."""
        folder = self._folders.new()
        start = self._stack.enter_context
        history = folder / "history.db"
        churn = start(python("telelink_churn", "/v2/health/ready", folder))
        clv = start(python("telelink_clv", "/v2/health/ready", folder))
        wiring = {"CHURN_URL": churn.url, "CLV_URL": clv.url, "HISTORY_URL": f"sqlite:///{history}"}
        gateway = start(python(gateway_module, "/readyz", folder, wiring | settings, extra))
        url, nginx = self._nginx(gateway.url)
        pids = {"nginx": nginx, "gateway": gateway.pid, "churn-service": churn.pid, "clv-service": clv.pid}
        return Stand(OURS, url, pids, gateway.url, history)

    def echo(self) -> Stand:
        """The endpoint that does nothing."""
        return self._reference(ECHO, "bench.echo")

    def one_process(self) -> Stand:
        """What people write by hand."""
        return self._reference(ONE_PROCESS, "bench.one_process")

    def relay(self, *, over_httpx: bool = False) -> Stand:
        """The least that a gateway can do."""
        folder = self._folders.new()
        churn, clv = (self._stack.enter_context(python("bench.constant", "/", folder)) for _ in range(2))
        extra = {"BENCH_CHURN_URL": churn.url, "BENCH_CLV_URL": clv.url}
        if not over_httpx:
            return self._reference(RELAY, "bench.relay", extra)
        return self._reference(RELAY_OVER_HTTPX, "bench.relay", {**extra, "BENCH_OVER_HTTPX": "1"})

    def relay_to_models(self, question: str) -> Stand:
        """The same over httpx, which asks the model services this whatever it was asked itself."""
        folder = self._folders.new()
        churn, clv = (
            self._stack.enter_context(python(module, "/v2/health/ready", folder))
            for module in ("telelink_churn", "telelink_clv")
        )
        extra = {
            "BENCH_CHURN_URL": f"{churn.url}/v2/models/churn/infer",
            "BENCH_CLV_URL": f"{clv.url}/v2/models/clv/infer",
            "BENCH_OVER_HTTPX": "1",
            "BENCH_QUESTION": question,
        }
        return self._reference(RELAY_TO_MODELS, "bench.relay", extra)

    def _reference(self, name: str, module: str, extra: Mapping[str, str] | None = None) -> Stand:
        process = self._stack.enter_context(python(module, "/readyz", self._folders.new(), extra=extra))
        url, nginx = self._nginx(process.url)
        return Stand(name, url, {"nginx": nginx, "endpoint": process.pid})

    def _nginx(self, url: str) -> tuple[str, int]:
        return self._stack.enter_context(_behind_nginx(url, self._folders.new(), is_limited=self._is_limited))
