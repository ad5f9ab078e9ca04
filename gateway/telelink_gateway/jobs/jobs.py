"""Jobs as the gateway uses them: the store, off the event loop, and a worker process whenever there is work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final, ParamSpec, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Gauge

from telelink_gateway.jobs.open_store import open_job_store
from telelink_gateway.jobs.sql_store import JobStore
from telelink_gateway.jobs.store import KeyTaken, LeaseLost
from telelink_gateway.settings import Settings
from telelink_gateway.wall_clock import now_ms
from telelink_shared.problem import JobsUnavailable

P = ParamSpec("P")
R = TypeVar("R")

_LOOK_S: Final = 1.0
_EXPIRE_EVERY_S: Final = 60.0
_HOUR_MS: Final = 3_600_000
# A worker that is to stop comes to the end of its chunk within a second. After this it ends without that, and whoever
# does not even do that is killed a second later.
PATIENCE_S: Final = 8.0
# One heap for all threads, of which what is free goes back at once: each thread's own would keep what another one could
# use, and a limit that rises by itself what was freed. Measured: 12 MiB less, and no slower.
_HEAP: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(128 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024),
}

log = structlog.get_logger()


class Jobs:
    """Use `open_jobs`.

    Attributes:
        store: blocks; see `call`.
        n_listeners: how many are told of every change right now.
    """

    def __init__(self, settings: Settings, store: JobStore, registry: CollectorRegistry) -> None:
        self._settings = settings
        self.store = store
        self._poked = asyncio.Event()
        self._worker: Process | None = None
        self.n_listeners = 0
        Gauge("jobs_worker_up", "Whether a worker is running", registry=registry).set_function(
            lambda: self._worker is not None and self._worker.returncode is None
        )

    async def call(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A step of the store, in a thread.

        Raises:
            JobsUnavailable: the database cannot be used right now.
        """
        try:
            return await asyncio.to_thread(step, *args, **kwargs)
        except (KeyTaken, LeaseLost):
            raise
        except Exception as error:
            # A database's own words may repeat values.
            log.warning("jobs cannot be kept", reason=type(error).__name__)
            raise JobsUnavailable("Jobs cannot be read or changed right now.", retry_after_s=5) from error

    def poke(self) -> None:
        """There is something to do."""
        self._poked.set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Somebody is told of every change."""
        self.n_listeners += 1
        try:
            yield
        finally:
            self.n_listeners -= 1

    async def run(self) -> None:
        """See to it that there is a worker while there is work, and remove what is too old."""
        loop = asyncio.get_running_loop()
        expire_at = loop.time()
        while True:
            try:
                if loop.time() >= expire_at:
                    expire_at = loop.time() + _EXPIRE_EVERY_S
                    await self.expire()
                await self._see_to_a_worker()
            except JobsUnavailable:  # which has been said
                pass
            except OSError as error:  # of processes, memory or open files there is no more just now
                log.warning("job worker cannot be started", reason=error.strerror)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), _LOOK_S)
            self._poked.clear()

    async def expire(self) -> None:
        """Remove what is too old, and uploads that ended half way."""
        now = now_ms()
        n_jobs = await self.call(
            self.store.expire,
            before_ms=now - int(self._settings.jobs_kept_hours * _HOUR_MS),
            now_ms=now,
        )
        if n_jobs:
            log.info("jobs removed by age", count=n_jobs)

    async def _see_to_a_worker(self) -> None:
        if self._worker is not None and self._worker.returncode is None:
            return
        if not await self.call(self.store.has_work, now_ms=now_ms()):
            return
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TELELINK_")}
        for name, value in _HEAP.items():
            environ.setdefault(name, value)
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "telelink_gateway.jobs.worker", stdin=PIPE, env=environ
        )
        self._worker = worker
        assert worker.stdin is not None
        with contextlib.suppress(ConnectionError):
            worker.stdin.write(self._settings.model_dump_json().encode() + b"\n")
            await worker.stdin.drain()
        log.info("job worker starts", pid=worker.pid)

    async def stop_worker(self) -> None:
        """Let it come to the end of its chunk, and be sure that it is gone."""
        worker = self._worker
        if worker is None or worker.returncode is not None:
            return
        assert worker.stdin is not None
        worker.stdin.close()
        try:
            await asyncio.wait_for(worker.wait(), PATIENCE_S + 1.0)
        except TimeoutError:
            worker.kill()
            await worker.wait()


@asynccontextmanager
async def open_jobs(settings: Settings, registry: CollectorRegistry) -> AsyncIterator[Jobs]:
    """Jobs, and whatever works on them.

    Raises:
        StartupError: they cannot be kept where the settings say.
    """
    store = open_job_store(settings)
    await asyncio.to_thread(store.open)
    jobs = Jobs(settings, store, registry)
    running = asyncio.create_task(jobs.run())
    try:
        yield jobs
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await jobs.stop_worker()
        await asyncio.to_thread(store.close)
