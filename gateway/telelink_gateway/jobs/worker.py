"""`python -m telelink_gateway.jobs.worker`: works on jobs until there are none, or the gateway that started it ends.

A process of its own, and a nice one: predictions keep their latency while it works, and whatever happens to one of
the two harms the other no further. Its settings come as JSON in the first line of standard input; the end of that input
says that the gateway is gone, or wants it to be.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from telelink_gateway.jobs.asking import Asking
from telelink_gateway.jobs.jobs import PATIENCE_S
from telelink_gateway.jobs.open_store import open_job_store
from telelink_gateway.jobs.rendering import Stopped, render
from telelink_gateway.jobs.scoring import Scoring
from telelink_gateway.jobs.sql_store import JobStore
from telelink_gateway.jobs.store import Job, LeaseLost
from telelink_gateway.predicting import CHURN_OUTPUTS, CLV_OUTPUTS
from telelink_gateway.settings import Settings
from telelink_gateway.upstream.answer import Expected
from telelink_gateway.upstream.client import ModelClient
from telelink_gateway.upstream.http import open_http
from telelink_gateway.upstream.metrics import UpstreamMetrics
from telelink_gateway.upstream.service import ModelService
from telelink_gateway.wall_clock import now_ms
from telelink_shared.artifact import input_schema_hash
from telelink_shared.bulk.deciding import CHURN_FIGURES, CLV_FIGURES
from telelink_shared.bulk.table import BadFile, Format
from telelink_shared.customer import ELEVEN
from telelink_shared.decision import Policy
from telelink_shared.web.logging import configure_logging

_NICENESS: Final = 10
# Four times what any honest file takes. A small one can be made to take all that there is.
_MOST_BYTES: Final = 384 * 1024 * 1024
# A worker that ended without a word is missed after this.
_LEASE_MS: Final = 6_000
_RENEW_S: Final = 1.5
# A file at whose next chunk so many workers have died is not tried again.
_MOST_DEATHS: Final = 3
_IDLE_S: Final = 10.0
_LOOK_S: Final = 0.25
# While the database is out.
_OUTAGE_PAUSE_S: Final = 1.0
# Who comes upon an outage within that of the last time has come upon the same one: longer than any statement may take.
_ONE_OUTAGE_S: Final = 60.0
# As readers in compiled code do where there is no more memory.
_TOO_LARGE: Final = "The values of the file's rows are too large, or too many. Leave out columns that say nothing."
_DIED: Final = "Whoever worked on this file ended without a word, again and again. Perhaps its values are too large."

log = structlog.get_logger()


class Worker:
    """Takes one job after the other.

    Args:
        churn, clv: clients of the model services.
        should_stop: set when it is time to.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        churn: ModelClient,
        clv: ModelClient,
        should_stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._store = store
        self._churn, self._clv = churn, clv
        self._should_stop = should_stop
        self._owner = f"{os.uname().nodename}:{os.getpid()}:{time.time_ns()}"
        self._waiting: dict[str, str] = {}
        self._n_under_way = 0
        self._idle_from = 0.0
        self._outage_until = 0.0

    async def run(self) -> None:
        """Until there has been nothing to do for a while, or it is time to stop.

        Somebody waits for a further format of a result: it is made beside the scoring of other jobs.
        """
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(to_render=False))
            both.create_task(self._take(to_render=True))

    async def _take(self, *, to_render: bool) -> None:
        self._idle_from = time.monotonic()
        while not self._should_stop.is_set() and (self._n_under_way or time.monotonic() < self._idle_from + _IDLE_S):
            try:
                has_taken = await self._take_one(to_render=to_render)
            except self._store.outages as error:
                self._tell_of_outage(error)
                await self._pause(_OUTAGE_PAUSE_S)
            else:
                if not has_taken:
                    await self._pause(_LOOK_S)

    async def _take_one(self, *, to_render: bool) -> bool:
        """Work on a job; False where there is none.

        Raises:
            Exception: one of the store's `outages`; a job that this interrupts is put aside.
        """
        job = await asyncio.to_thread(
            self._store.claim, self._owner, to_render=to_render, now_ms=now_ms(), until_ms=now_ms() + _LEASE_MS
        )
        if job is None:
            return False
        self._n_under_way += 1
        try:
            await self._work_on(job, self._render(job) if to_render else self._score(job))
        finally:
            self._n_under_way -= 1
            self._idle_from = time.monotonic()
        return True

    async def _pause(self, length_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._should_stop.wait(), length_s)

    def _tell_of_outage(self, error: Exception) -> None:
        """Once, however often and by however many it is come upon."""
        now = time.monotonic()
        if now > self._outage_until:
            # A database's own words may repeat values.
            log.warning("jobs cannot be kept", reason=type(error).__name__)
        self._outage_until = now + _ONE_OUTAGE_S

    async def _work_on(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        working = asyncio.create_task(work)
        renewing = asyncio.create_task(self._renew(job, working))
        try:
            await working
        except self._store.outages:
            await self._put_aside(job)
            raise
        except (LeaseLost, asyncio.CancelledError):
            if _is_being_cancelled():
                # The other loop has failed, and this one ends with it.
                await self._put_aside(job)
                raise asyncio.CancelledError from None
            log.info("job is no longer ours", job=job.id)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
        await asyncio.to_thread(self._store.release, job.id, self._owner)

    async def _put_aside(self, job: Job) -> None:
        """Let others have it at once if that can be written, else once the lease has run out."""
        with suppress(*self._store.outages):
            await asyncio.to_thread(self._store.release, job.id, self._owner)

    async def _score(self, job: Job) -> None:
        if job.n_deaths >= _MOST_DEATHS:
            await self._fail(job, "worker_died", _DIED)
            return
        self._waiting.clear()
        log.info("job begins", job=job.id, bytes=job.n_bytes)
        policy = Policy(
            high_value_from_usd=self._settings.high_value_from_usd,
            top_value_from_usd=self._settings.top_value_from_usd,
        )
        scoring = Scoring(
            self._store,
            job,
            self._owner,
            Asking(self._churn, CHURN_FIGURES, self._waits),
            Asking(self._clv, CLV_FIGURES, self._waits),
            policy,
            lease_ms=_LEASE_MS,
            max_rows=self._settings.jobs_max_rows,
        )
        try:
            is_finished = await scoring.run(self._should_stop)
        except BadFile as error:
            await self._fail(job, error.code, str(error))
        except MemoryError:
            await self._fail(job, "rows_too_large", _TOO_LARGE)
        except (LeaseLost, asyncio.CancelledError):
            raise
        except self._store.outages:
            raise
        # A bug, or a job that was removed meanwhile: this job fails, and the worker goes on with the next.
        except Exception:
            if await asyncio.to_thread(self._store.find, job.id) is None:
                raise LeaseLost from None
            log.exception("job failed", job=job.id)
            await self._fail(job, "internal_error", "Something went wrong on our side.")
        else:
            log.info("job ends" if is_finished else "job is put aside", job=job.id)

    async def _render(self, job: Job) -> None:
        # Only formats are ever wanted, and it is claimed only where one is.
        format: Format = job.wanted.split()[0]  # type: ignore[assignment]
        if job.n_deaths >= _MOST_DEATHS:
            await self._give_up(job, format)
            return
        try:
            await asyncio.to_thread(
                render,
                self._store,
                job,
                self._owner,
                format,
                lease_ms=_LEASE_MS,
                should_stop=self._should_stop.is_set,
            )
        except Stopped:
            pass
        except (LeaseLost, asyncio.CancelledError):
            raise
        except self._store.outages:
            raise
        # Whatever it is, it must not take along what else is worked on.
        except Exception:
            log.exception("format not made", job=job.id, format=format)
            await self._give_up(job, format)

    async def _give_up(self, job: Job, format: Format) -> None:
        await asyncio.to_thread(self._store.drop_parts, job.id, format)
        await asyncio.to_thread(self._store.made, job.id, self._owner, format)

    async def _fail(self, job: Job, code: str, reason: str) -> None:
        log.warning("job failed", job=job.id, code=code)
        found = await asyncio.to_thread(self._store.find, job.id)
        await asyncio.to_thread(
            self._store.finish,
            job.id,
            self._owner,
            "failed",
            (),
            found.progress if found else "",
            now_ms=now_ms(),
            code=code,
            reason=reason,
        )

    def _waits(self, service: str, reason: str | None) -> None:
        if reason is None:
            self._waiting.pop(service, None)
        else:
            self._waiting[service] = reason

    async def _renew(self, job: Job, working: asyncio.Task[None]) -> None:
        """Keep the job while it is worked on, and say what is waited for."""
        while True:
            await asyncio.sleep(_RENEW_S)
            reason = "" if job.wanted else " ".join(self._waiting.values())
            try:
                await asyncio.to_thread(
                    self._store.renew,
                    job.id,
                    self._owner,
                    until_ms=now_ms() + _LEASE_MS,
                    code="waiting" if reason else "",
                    reason=reason,
                )
            except LeaseLost:
                working.cancel()
                return
            except Exception as error:  # the database is out just now; the lease tells whether that was too long
                self._tell_of_outage(error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def work(settings: Settings, should_stop: asyncio.Event) -> None:
    """Open what a worker needs, and work."""
    async with AsyncExitStack() as stack:
        store = open_job_store(settings)
        stack.callback(store.close)
        store.open()
        http = await stack.enter_async_context(open_http())
        metrics = UpstreamMetrics(CollectorRegistry())
        schema_hash = input_schema_hash(ELEVEN)

        def client(name: str, url: str, outputs: tuple[Expected, ...], figures: tuple[str, ...]) -> ModelClient:
            expected = tuple(each for each in outputs if each.name in figures)
            made = ModelClient(ModelService(f"{name}-service", name, url, http, schema_hash), metrics, expected)
            stack.push_async_callback(made.close)
            return made

        worker = Worker(
            settings,
            store,
            client("churn", settings.churn_url, CHURN_OUTPUTS, CHURN_FIGURES),
            client("clv", settings.clv_url, CLV_OUTPUTS, CLV_FIGURES),
            should_stop,
        )
        await worker.run()


async def _main(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    should_stop = asyncio.Event()

    def watch() -> None:
        while sys.stdin.buffer.read(1024):
            pass
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(should_stop.set)
        time.sleep(PATIENCE_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    await work(settings, should_stop)


def _limit_memory() -> None:
    # Not every system has this limit.
    with suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = _MOST_BYTES if hard == resource.RLIM_INFINITY else min(_MOST_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def main() -> None:
    """Run a worker."""
    os.nice(_NICENESS)
    # Where memory runs out, it is the worker that ends, and not the gateway.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    _limit_memory()
    settings = Settings.model_validate_json(sys.stdin.buffer.readline())
    configure_logging("gateway-jobs", settings.log_level)
    gc.collect()
    gc.freeze()
    # A chunk has tens of thousands of objects, none of them in a cycle.
    gc.set_threshold(100_000, 20, 50)
    asyncio.run(_main(settings))


if __name__ == "__main__":
    main()
