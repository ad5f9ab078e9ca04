"""The history as the gateway uses it: one writer over a database of either kind, and what it forgets in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from telelink_gateway.history.remembering import Remembered
from telelink_gateway.history.store import (
    Group,
    HistoryRow,
    KeptReply,
    PortfolioReading,
    PortfolioStats,
    Span,
    Store,
)
from telelink_gateway.history.writer import GroupCommitWriter, NotStoring
from telelink_gateway.wall_clock import now_ms
from telelink_shared.problem import HistoryUnavailable

log = structlog.get_logger()

DAY_MS: Final = 86_400_000
# Deleted in one transaction: as long as a commit of some rows takes.
_ROWS_PER_STEP: Final = 500
# Whoever else writes has as much time between two steps as several steps take.
_STEP_PAUSE_S: Final = 0.05
_EXPIRY_PERIOD_S: Final = 60.0
_STEP_DEADLINE_S: Final = 10.0
_CHECK_S: Final = 1.5
# Of the portfolio, as many spans are remembered, and as many may wait to be read.
_SPANS: Final = 8


class History:
    """Keeps predictions. Use `open_history`."""

    def __init__(
        self, store: Store, writer: GroupCommitWriter, registry: CollectorRegistry, *, retention_days: float
    ) -> None:
        self._store = store
        self._writer = writer
        self._retention_ms = int(retention_days * DAY_MS)
        self._stats = Remembered(store.read_stats, asyncio.Lock())
        self._portfolios: dict[Span, Remembered[PortfolioReading]] = {}
        self._reading_portfolio = asyncio.Lock()
        self._n_waiting = 0
        rows = Counter("history_rows_total", "Predictions by what became of them", ("outcome",), registry=registry)
        self._stored, self._lost = rows.labels("stored"), rows.labels("lost")
        self._expired = Counter("history_expired_total", "Rows and kept replies removed by age", registry=registry)
        up = Gauge("history_up", "Whether predictions are being stored", registry=registry)
        up.set_function(lambda: self.is_storing)

    @property
    def is_storing(self) -> bool:
        """Whether what is predicted now would be stored, as far as is known without asking."""
        return self._writer.trouble is None

    async def check(self) -> bool:
        """The same, having asked the database."""
        try:
            await self._writer.call(self._store.check, deadline=asyncio.get_running_loop().time() + _CHECK_S)
        except TimeoutError:
            return self.is_storing
        except Exception:  # the writer has said why
            return False
        return True

    async def add(self, rows: Sequence[HistoryRow], *, deadline: float) -> bool:
        """Store the rows, all or none, so that they outlive this process. False when that failed; never raises for it.

        Args:
            deadline: on the event loop's clock; what is not stored by then is given up.
        """
        try:
            await self._writer.add(Group(rows), deadline=deadline)
        except Exception as error:  # whatever it is, the prediction itself stands
            self._count_lost(error, len(rows))
            return False
        self._stored.inc(len(rows))
        return True

    async def add_once(self, rows: Sequence[HistoryRow], reply: KeptReply, *, deadline: float) -> KeptReply | None:
        """The same together with the reply under its key, unless that key is taken.

        Returns:
            What the key stands for now: this reply, or the one that came first. None when nothing was stored.
        """
        try:
            first = await self._writer.add(Group(rows, reply), deadline=deadline)
        except Exception as error:
            self._count_lost(error, len(rows))
            return None
        if first is not None:
            return first
        self._stored.inc(len(rows))
        return reply

    def _count_lost(self, error: Exception, n_rows: int) -> None:
        self._lost.inc(n_rows)
        _warn("history not written", error, rows=n_rows)

    async def recall(self, key: str, *, deadline: float) -> KeptReply | None:
        """The reply that is kept under a key. None: there is none, or it cannot be found out by the deadline."""
        at_ms = now_ms()
        try:
            return await self._writer.call(lambda: self._store.recall(key, now_ms=at_ms), deadline=deadline)
        except Exception as error:
            _warn("key not looked up", error)
            return None

    async def erase(self, customer_id: str) -> int:
        """Remove all that is known of a customer; tells how many predictions that were.

        Raises:
            HistoryUnavailable: not all of it could be removed.
        """

        def some() -> int:
            return self._store.erase_some(customer_id, limit=_ROWS_PER_STEP)

        n_erased = 0
        try:
            while n_step := await self._writer.call(some, deadline=_soon()):
                n_erased += n_step
            await self._writer.call(self._store.scrub, deadline=_soon())
        except Exception as error:
            _warn("history not erased", error)
            raise HistoryUnavailable(
                "The history cannot be changed right now; ask again for the rest.", retry_after_s=5
            ) from error
        self._stats.forget()
        self._portfolios.clear()
        return n_erased

    async def expire(self) -> int:
        """Remove what has reached its age, in small steps with room between them; tells how much that was."""
        n_expired = 0
        while True:
            at_ms = now_ms()

            def some(at_ms: int = at_ms) -> int:
                return self._store.expire_some(
                    rows_before_ms=at_ms - self._retention_ms, now_ms=at_ms, limit=_ROWS_PER_STEP
                )

            n_step = await self._writer.call(some, deadline=_soon())
            if not n_step:
                return n_expired
            n_expired += n_step
            self._expired.inc(n_step)
            await asyncio.sleep(_STEP_PAUSE_S)

    async def stats(self) -> PortfolioStats:
        """The portfolio now; where that takes long, as it was a short while ago.

        Raises:
            HistoryUnavailable: the history cannot be read.
        """
        with _readable():
            return await self._stats.get()

    async def portfolio(self, span: Span) -> PortfolioReading:
        """What the portfolio of a span is computed from; where that takes long, as it was a short while ago.

        One span is read at a time, since each may take seconds of a core.

        Raises:
            HistoryUnavailable: the history cannot be read, or too many spans are waited for.
        """
        if self._n_waiting >= _SPANS and span not in self._portfolios:
            raise HistoryUnavailable("Other time spans are being read right now.", retry_after_s=5)
        remembered = self._portfolios.pop(span, None) or Remembered(
            partial(self._store.read_portfolio, span), self._reading_portfolio
        )
        self._portfolios[span] = remembered  # as the latest that was asked for
        while len(self._portfolios) > _SPANS:
            del self._portfolios[next(iter(self._portfolios))]
        self._n_waiting += 1
        try:
            with _readable():
                return await remembered.get()
        finally:
            self._n_waiting -= 1


@contextmanager
def _readable() -> Iterator[None]:
    """Raises HistoryUnavailable for whatever goes wrong in its block."""
    try:
        yield
    except Exception as error:
        log.warning("history not read", reason=type(error).__name__)
        raise HistoryUnavailable("The history cannot be read right now.", retry_after_s=5) from error


def _warn(event: str, error: Exception, **more: int) -> None:
    if not isinstance(error, NotStoring):  # which has been said once
        # A database's own words may repeat values.
        log.warning(event, reason=type(error).__name__, **more)


def _soon() -> float:
    return asyncio.get_running_loop().time() + _STEP_DEADLINE_S


async def _expire_now_and_then(history: History) -> None:
    while True:
        try:
            await history.expire()
        except Exception as error:
            log.debug("history not expired", reason=type(error).__name__)
        await asyncio.sleep(_EXPIRY_PERIOD_S)


@asynccontextmanager
async def open_history(
    store: Store, registry: CollectorRegistry, *, retention_days: float = 90
) -> AsyncIterator[History]:
    """The history in a database; what was accepted is written before it closes.

    Raises:
        StartupError: the database cannot be used as it is. One that is only out just now is waited for while running.
    """
    async with GroupCommitWriter.open(store) as writer:
        history = History(store, writer, registry, retention_days=retention_days)
        expiring = asyncio.create_task(_expire_now_and_then(history))
        try:
            yield history
        finally:
            expiring.cancel()
            with suppress(asyncio.CancelledError):
                await expiring
