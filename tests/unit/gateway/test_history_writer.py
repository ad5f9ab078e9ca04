"""Group commit: one thread, one transaction at a time, nobody's rows lost and nobody else's error told."""

import asyncio
import threading
from contextlib import suppress

import pytest

from telelink_gateway.history.writer import GroupCommitWriter

PATIENCE_S = 10


class Connection:
    closed = False

    def close(self):
        self.closed = True


class HeldCommits:
    """A database whose commits a test lets through; it keeps what each commit was given."""

    def __init__(self, *, refuses=()):
        self.connection = Connection()
        self.commits = []
        self.refuses = set(refuses)
        self.begun = threading.Event()
        self.go = threading.Event()

    def commit(self, connection, groups):
        assert connection is self.connection
        assert not connection.closed
        self.commits.append([list(rows) for rows in groups])
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        if self.refuses & {row for rows in groups for row in rows}:
            raise OSError("the disk is full")

    def open(self):
        return GroupCommitWriter.open(lambda: self.connection, self.commit)

    async def until_begun(self):
        assert await asyncio.to_thread(self.begun.wait, PATIENCE_S)


async def add(writer, rows, *, within_s=PATIENCE_S):
    """Add with plenty of time."""
    await writer.add(rows, deadline=asyncio.get_running_loop().time() + within_s)


async def started(*adds):
    """Tasks that have handed their rows over and wait for the commit."""
    tasks = [asyncio.create_task(add) for add in adds]
    await asyncio.sleep(0)
    return tasks


async def test_what_arrives_while_a_commit_runs_goes_into_the_next_one_together():
    database = HeldCommits()
    async with database.open() as writer:
        first = await started(add(writer, ["a"]))
        await database.until_begun()
        others = await started(add(writer, ["b", "c"]), add(writer, ["d"]))
        assert not any(task.done() for task in (*first, *others))
        database.go.set()
        await asyncio.gather(*first, *others)
    assert database.commits == [[["a"]], [["b", "c"], ["d"]]]


async def test_an_error_reaches_exactly_those_of_its_commit():
    database = HeldCommits(refuses="c")
    async with database.open() as writer:
        first = await started(add(writer, ["a"]))
        await database.until_begun()
        second = await started(add(writer, ["b"]), add(writer, ["c"]))
        database.go.set()
        outcomes = await asyncio.gather(*first, *second, return_exceptions=True)
        assert await add(writer, ["d"]) is None
    assert [type(outcome) for outcome in outcomes] == [type(None), OSError, OSError]
    assert database.commits[1] == [["b"], ["c"]]


async def test_who_gives_up_before_the_commit_has_begun_is_not_written_and_harms_nobody_else():
    database = HeldCommits()
    async with database.open() as writer:
        (first,) = await started(add(writer, ["a"]))
        await database.until_begun()
        second, third = await started(add(writer, ["b"]), add(writer, ["c"]))
        first.cancel()
        second.cancel()
        database.go.set()
        await asyncio.wait_for(third, PATIENCE_S)
        with pytest.raises(asyncio.CancelledError):
            await second
    assert database.commits == [[["a"]], [["c"]]]


async def test_nobody_waits_beyond_the_own_deadline_and_who_was_late_is_not_written():
    database = HeldCommits()
    async with database.open() as writer:
        (first,) = await started(add(writer, ["a"]))
        await database.until_begun()
        late, in_time = await started(add(writer, ["b"], within_s=0.01), add(writer, ["c"]))
        # The commit before it is still held.
        with pytest.raises(TimeoutError):
            await late
        assert not first.done()
        database.go.set()
        await asyncio.gather(first, in_time)
    assert database.commits == [[["a"]], [["c"]]]


async def test_closing_writes_what_was_accepted_before_it_closes_the_connection():
    database = HeldCommits()
    async with database.open() as writer:
        waiting = await started(add(writer, ["a"]))
        await database.until_begun()
        waiting += await started(add(writer, ["b"]), add(writer, ["c"]))
        database.go.set()
    assert database.commits == [[["a"]], [["b"], ["c"]]]
    assert database.connection.closed
    await asyncio.gather(*waiting)


async def test_a_block_that_fails_still_writes_what_was_accepted():
    database = HeldCommits()
    database.go.set()
    with suppress(LookupError):
        async with database.open() as writer:
            (waiting,) = await started(add(writer, ["a"]))
            raise LookupError
    await waiting
    assert database.commits == [[["a"]]]
    assert database.connection.closed


async def test_one_transaction_does_not_grow_without_end():
    database = HeldCommits()
    async with database.open() as writer:
        first = await started(add(writer, ["a"]))
        await database.until_begun()
        batches = await started(*(add(writer, ["b"] * 10_000) for _ in range(5)))
        database.go.set()
        await asyncio.gather(*first, *batches)
    assert [[len(rows) for rows in groups] for groups in database.commits[1:]] == [[10_000] * 2, [10_000] * 2, [10_000]]


async def test_a_connection_that_cannot_be_opened_fails_the_start():
    def refuse():
        raise OSError("no such folder")

    with pytest.raises(OSError, match="no such folder"):
        async with GroupCommitWriter.open(refuse, lambda *_: None):
            pytest.fail("the block must not begin")
