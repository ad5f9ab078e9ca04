"""Group commit: one thread, one transaction at a time, nobody's rows lost and nobody else's error told."""

import asyncio
import threading
from contextlib import suppress

import pytest
import structlog

from telelink_gateway.history.store import Group
from telelink_gateway.history.writer import GroupCommitWriter, NotStoring
from telelink_shared.web.startup import StartupError

PATIENCE_S = 10


class HeldCommits:
    """A database whose commits a test lets through (`go`) and lets end (`ends`); it keeps what each was given.

    Attributes:
        written: rows whose commit has ended.
        refuses: rows that are at fault themselves.
        out: what it raises instead of opening or committing; None while it is well.
        stale: how many commits fail although it can be opened again.
        sticks: how often it fails to be closed.
    """

    row_errors = (LookupError,)

    def __init__(self, *, refuses=()):
        self.commits = []
        self.refuses = set(refuses)
        self.out = None
        self.stale = 0
        self.sticks = 0
        self.n_opened = 0
        self.is_open = False
        self.begun = threading.Event()
        self.go = threading.Event()
        self.opened = threading.Event()
        self.committing = threading.Event()
        self.ends = threading.Event()
        self.ends.set()
        self.written = []

    def open(self):
        assert not self.is_open
        self.n_opened += 1
        if self.out:
            raise self.out
        self.is_open = True
        self.opened.set()

    def close(self):
        self.is_open = False
        if self.sticks:
            self.sticks -= 1
            raise PermissionError("its log cannot be removed")

    def commit(self, groups, claim):
        assert self.is_open
        self.commits.append([list(group.rows) for group in groups])
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        if self.out:
            raise self.out
        if self.stale:
            self.stale -= 1
            raise OSError("the connection has come to its end")
        if self.refuses & {row for group in groups for row in group.rows}:
            raise LookupError("no such row")
        wanted = [group for group, is_wanted in zip(groups, claim(), strict=True) if is_wanted]
        self.committing.set()
        assert self.ends.wait(PATIENCE_S)
        self.written += [row for group in wanted for row in group.rows]
        return [None] * len(groups)

    def tidy_up(self):
        pass

    def running(self, **settings):
        return GroupCommitWriter.open(self, **settings)

    async def until_begun(self):
        assert await asyncio.to_thread(self.begun.wait, PATIENCE_S)


def well():
    """A database whose commits nobody holds up."""
    database = HeldCommits()
    database.go.set()
    return database


async def add(writer, rows, *, within_s=PATIENCE_S):
    """Add with plenty of time."""
    return await writer.add(Group(rows), deadline=asyncio.get_running_loop().time() + within_s)


async def call(writer, step):
    """Call with plenty of time."""
    return await writer.call(step, deadline=asyncio.get_running_loop().time() + PATIENCE_S)


async def started(*adds):
    """Tasks that have handed their rows over and wait for the commit."""
    tasks = [asyncio.create_task(add) for add in adds]
    await asyncio.sleep(0)
    return tasks


async def until_back(writer):
    """Wait until the writer has found by itself that the database is well."""
    async with asyncio.timeout(PATIENCE_S):
        while writer.trouble is not None:
            await asyncio.sleep(0.01)


async def test_what_arrives_while_a_commit_runs_goes_into_the_next_one_together():
    database = HeldCommits()
    async with database.running() as writer:
        first = await started(add(writer, ["a"]))
        await database.until_begun()
        others = await started(add(writer, ["b", "c"]), add(writer, ["d"]))
        assert not any(task.done() for task in (*first, *others))
        database.go.set()
        await asyncio.gather(*first, *others)
    assert database.commits == [[["a"]], [["b", "c"], ["d"]]]


async def test_rows_that_are_at_fault_take_nobody_elses_along():
    database = HeldCommits(refuses="c")
    async with database.running() as writer:
        first = await started(add(writer, ["a"]))
        await database.until_begun()
        second = await started(add(writer, ["b"]), add(writer, ["c"]), add(writer, ["d"]))
        database.go.set()
        outcomes = await asyncio.gather(*first, *second, return_exceptions=True)
        assert writer.trouble is None
    assert [type(outcome) for outcome in outcomes] == [type(None), type(None), LookupError, type(None)]
    assert database.commits[1:] == [[["b"], ["c"], ["d"]], [["b"]], [["c"]], [["d"]]]
    assert database.n_opened == 1


async def test_a_connection_that_has_come_to_its_end_is_opened_again_and_costs_no_rows():
    database = well()
    database.stale = 1
    async with database.running() as writer:
        assert await add(writer, ["a"]) is None
    assert database.commits == [[["a"]], [["a"]]]
    assert database.n_opened == 2


async def test_while_the_database_is_out_nobody_waits_and_it_is_used_again_when_it_is_back():
    database = well()
    async with database.running() as writer:
        database.out = OSError("the disk is full")
        database.opened.clear()
        with structlog.testing.capture_logs() as lines:
            for row in "abc":
                with pytest.raises(NotStoring, match="the disk is full"):
                    await add(writer, [row])
            with pytest.raises(NotStoring):
                await call(writer, lambda: pytest.fail("must not be called"))
            assert writer.trouble == "the disk is full"
            database.out = None
            await until_back(writer)
            assert await add(writer, ["d"]) is None
    assert database.commits == [[["a"]], [["d"]]]
    assert [line["event"].split(":")[0] for line in lines] == ["history is out", "history is back"]


async def test_a_database_that_opens_but_takes_nothing_is_out():
    database = well()
    database.stale = 2
    async with database.running() as writer:
        with pytest.raises(NotStoring):
            await add(writer, ["a"])
        assert writer.trouble is not None
        await until_back(writer)
        assert await add(writer, ["b"]) is None
    assert database.commits == [[["a"]], [["a"]], [["b"]]]


async def test_a_database_that_cannot_be_closed_is_opened_again_all_the_same():
    database = well()
    database.stale = database.sticks = 1
    async with database.running() as writer:
        with pytest.raises(NotStoring, match="its log cannot be removed"):
            await add(writer, ["a"])
        await until_back(writer)
        assert await add(writer, ["b"]) is None
    assert database.commits == [[["a"]], [["b"]]]


async def test_who_comes_while_a_commit_hangs_does_not_wait_for_its_end():
    database = HeldCommits()
    async with database.running() as writer:
        (first,) = await started(add(writer, ["a"]))
        await database.until_begun()
        async with asyncio.timeout(PATIENCE_S):
            while writer.trouble is None:
                await asyncio.sleep(0.01)
        with pytest.raises(NotStoring, match="does not answer"):
            await add(writer, ["b"])
        database.go.set()
        await first
        await until_back(writer)
        await add(writer, ["c"])
    assert database.commits == [[["a"]], [["c"]]]


async def test_who_gives_up_before_the_commit_has_begun_is_not_written_and_harms_nobody_else():
    database = HeldCommits()
    async with database.running() as writer:
        (first,) = await started(add(writer, ["a"]))
        await database.until_begun()
        second, third = await started(add(writer, ["b"]), add(writer, ["c"]))
        first.cancel()
        second.cancel()
        with suppress(asyncio.CancelledError):
            await second
        database.go.set()
        await third
    assert database.commits == [[["a"]], [["c"]]]


async def test_nobody_waits_beyond_the_own_deadline_and_who_was_late_is_not_written():
    database = HeldCommits()
    async with database.running() as writer:
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


async def test_who_was_told_that_nothing_was_stored_is_not_stored_by_another_try():
    database = HeldCommits()
    database.stale = 1
    async with database.running() as writer:
        late, patient = await started(add(writer, ["late"], within_s=0.01), add(writer, ["patient"]))
        await database.until_begun()
        with pytest.raises(TimeoutError):
            await late
        database.go.set()
        await patient
    assert database.commits == [[["late"], ["patient"]], [["patient"]]]


async def test_who_was_told_while_the_transaction_waited_for_others_is_not_stored_by_it():
    database = HeldCommits()
    async with database.running() as writer:
        late, patient = await started(add(writer, ["late"]), add(writer, ["patient"]))
        await database.until_begun()
        expire_all(writer, but=frozenset({"patient"}))
        with pytest.raises(TimeoutError):
            await late
        database.go.set()
        await patient
    assert database.commits == [[["late"], ["patient"]]]
    assert database.written == ["patient"]


def expire_all(writer, *, but=frozenset()):
    """As if their deadlines were over."""
    for entry in writer._waiting:
        if not but & set(entry.work.rows):
            writer._expire(entry)


async def test_whose_rows_are_being_written_at_the_deadline_is_told_what_becomes_of_them():
    database = well()
    database.ends.clear()
    async with database.running(commit_s=PATIENCE_S) as writer:
        (task,) = await started(add(writer, ["a"]))
        assert await asyncio.to_thread(database.committing.wait, PATIENCE_S)
        expire_all(writer)
        await asyncio.sleep(0)
        assert not task.done()
        database.ends.set()
        assert await task is None
    assert database.written == ["a"]


async def test_what_has_been_written_is_told_although_the_word_of_it_comes_after_the_deadline():
    database = well()
    async with database.running(commit_s=0) as writer:
        (task,) = await started(add(writer, ["a"]))
        (entry,) = writer._waiting
        await database.until_begun()
        # The loop is busy meanwhile, and hears nothing.
        writer._queue.put(None)
        writer._thread.join(PATIENCE_S)
        writer._expire(entry)
        assert await task is None


async def test_a_commit_that_does_not_end_is_not_waited_for():
    database = well()
    database.ends.clear()
    async with database.running(commit_s=0) as writer:
        (task,) = await started(add(writer, ["a"]))
        assert await asyncio.to_thread(database.committing.wait, PATIENCE_S)
        expire_all(writer)
        with pytest.raises(TimeoutError):
            await task
        database.ends.set()


async def test_callers_whose_deadlines_come_one_by_one_do_not_keep_each_other_from_being_stored():
    database = HeldCommits()
    async with database.running() as writer:
        tasks = await started(*(add(writer, [n], within_s=0.01 if n < 3 else PATIENCE_S) for n in range(30)))
        await database.until_begun()
        await asyncio.gather(*tasks[:3], return_exceptions=True)
        database.go.set()
        await asyncio.gather(*tasks[3:])
    assert len(database.commits) == 1
    assert database.written == list(range(3, 30))


async def test_a_step_has_the_database_to_itself_and_its_error_is_its_own():
    database = well()
    async with database.running() as writer:
        threads = {await call(writer, threading.get_ident), await call(writer, threading.get_ident)}
        assert len(threads) == 1
        assert threading.get_ident() not in threads

        def fail():
            raise OSError("not now")

        with pytest.raises(OSError, match="not now"):
            await call(writer, fail)
        assert await call(writer, lambda: 1) == 1
        assert await add(writer, ["a"]) is None


async def test_closing_writes_what_was_accepted_before_it_closes_the_database():
    database = HeldCommits()
    async with database.running() as writer:
        waiting = await started(add(writer, ["a"]))
        await database.until_begun()
        waiting += await started(add(writer, ["b"]), add(writer, ["c"]))
        database.go.set()
    assert database.commits == [[["a"]], [["b"], ["c"]]]
    assert not database.is_open
    await asyncio.gather(*waiting)


async def test_a_block_that_fails_still_writes_what_was_accepted():
    database = well()
    with suppress(LookupError):
        async with database.running() as writer:
            (waiting,) = await started(add(writer, ["a"]))
            raise LookupError
    await waiting
    assert database.commits == [[["a"]]]
    assert not database.is_open


async def test_one_transaction_does_not_grow_without_end():
    database = HeldCommits()
    async with database.running() as writer:
        first = await started(add(writer, ["a"]))
        await database.until_begun()
        batches = await started(*(add(writer, ["b"] * 10_000) for _ in range(5)))
        database.go.set()
        await asyncio.gather(*first, *batches)
    assert [[len(rows) for rows in groups] for groups in database.commits[1:]] == [[10_000] * 2, [10_000] * 2, [10_000]]


async def test_a_database_that_cannot_be_used_as_it_is_fails_the_start():
    database = well()
    database.out = StartupError("another schema")
    with pytest.raises(StartupError, match="another schema"):
        async with database.running():
            pytest.fail("the block must not begin")


async def test_a_database_that_is_out_at_the_start_is_waited_for_while_running():
    database = well()
    database.out = OSError("no connection")
    async with database.running() as writer:
        assert writer.trouble == "no connection"
        database.out = None
        await until_back(writer)
        assert await add(writer, ["a"]) is None
