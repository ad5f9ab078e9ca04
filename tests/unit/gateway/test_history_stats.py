"""Statistics and portfolios that take long are not read for everyone who asks."""

import asyncio
import threading

import pytest
from prometheus_client import CollectorRegistry

from telelink_gateway.history.history import open_history
from telelink_gateway.history.store import PortfolioReading, PortfolioStats, Span
from telelink_shared.problem import HistoryUnavailable

PATIENCE_S = 10


class CountedReads:
    """A database that counts how often its statistics are read, and lets a test hold them up."""

    row_errors = ()

    def __init__(self, *, takes_s=0.0):
        self.takes_s = takes_s
        self.n_reads = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.error = None
        self.spans = []

    def open(self):
        pass

    def close(self):
        pass

    def expire_some(self, **_):
        return 0

    def erase_some(self, _customer_id, *, limit):
        return 0

    def scrub(self):
        pass

    def read_stats(self):
        self.n_reads += 1
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        # What is tested is a reading that takes so long.
        threading.Event().wait(self.takes_s)
        if self.error:
            raise self.error
        return PortfolioStats(self.n_reads, None, None, 0, 0, 0)

    def read_portfolio(self, span):
        self.read_stats()
        self.spans.append(span)
        return PortfolioReading([], [])


async def test_what_is_read_in_no_time_is_always_told_as_it_is():
    database = CountedReads()
    async with open_history(database, CollectorRegistry()) as history:
        assert [(await history.stats()).total_customers for _ in range(3)] == [1, 2, 3]


async def test_what_takes_long_is_told_again_until_something_is_erased():
    database = CountedReads(takes_s=0.2)
    async with open_history(database, CollectorRegistry()) as history:
        assert [(await history.stats()).total_customers for _ in range(3)] == [1, 1, 1]
        await history.erase("c1")
        assert (await history.stats()).total_customers == 2


async def test_who_asks_at_the_same_time_shares_one_reading_that_began_after_they_asked():
    database = CountedReads()
    database.go.clear()
    async with open_history(database, CollectorRegistry()) as history:
        first = asyncio.create_task(history.stats())
        assert await asyncio.to_thread(database.begun.wait, PATIENCE_S)
        others = [asyncio.create_task(history.stats()) for _ in range(20)]
        await asyncio.sleep(0)
        database.go.set()
        await asyncio.gather(first, *others)
    assert database.n_reads <= 2


async def test_an_error_is_not_told_again():
    database = CountedReads()
    async with open_history(database, CollectorRegistry()) as history:
        database.error = OSError("not now")
        with pytest.raises(HistoryUnavailable):
            await history.stats()
        database.error = None
        assert (await history.stats()).total_customers == 2


async def test_who_hangs_up_does_not_end_a_reading_that_others_take():
    database = CountedReads(takes_s=0.1)
    database.go.clear()
    async with open_history(database, CollectorRegistry()) as history:
        impatient = asyncio.create_task(history.stats())
        assert await asyncio.to_thread(database.begun.wait, PATIENCE_S)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        patient = asyncio.create_task(history.stats())
        await asyncio.sleep(0)
        database.go.set()
        await patient
    assert database.n_reads == 1


async def test_each_span_of_the_portfolio_is_remembered_by_itself_and_erasure_forgets_them_all():
    database = CountedReads(takes_s=0.1)
    one, other = Span(1, 2), Span(1, None)
    async with open_history(database, CollectorRegistry()) as history:
        await asyncio.gather(*(history.portfolio(span) for span in (one, other, one)))
        assert database.spans == [one, other]
        await history.portfolio(one)
        assert database.spans == [one, other]
        await history.erase("c1")
        await history.portfolio(one)
        assert database.spans == [one, other, one]


async def test_spans_are_read_one_after_another_and_too_many_are_refused():
    database = CountedReads()
    database.go.clear()
    async with open_history(database, CollectorRegistry()) as history:
        waiting = [asyncio.create_task(history.portfolio(Span(number))) for number in range(8)]
        assert await asyncio.to_thread(database.begun.wait, PATIENCE_S)
        with pytest.raises(HistoryUnavailable) as refused:
            await history.portfolio(Span(99))
        assert refused.value.retry_after_s
        assert database.n_reads == 1
        database.go.set()
        await asyncio.gather(*waiting)
        assert sorted(database.spans) == [Span(number) for number in range(8)]
