"""A thread that owns a connection and commits in one transaction whatever has come in since the last one."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

Row = TypeVar("Row")
log = structlog.get_logger()
# A transaction stays short enough that nobody behind it waits for long.
_MAX_ROWS_PER_COMMIT = 20_000


@dataclass(frozen=True)
class _Group(Generic[Row]):
    rows: Sequence[Row]
    done: asyncio.Future[None]


class GroupCommitWriter(Generic[Row]):
    """Use `open`. The commit waits for nobody: what arrives while one runs goes into the next."""

    def __init__(
        self,
        connection: Any,
        commit: Callable[[Any, Sequence[Sequence[Row]]], None],
        tidy_up: Callable[[Any], None],
    ) -> None:
        self._connection = connection
        self._commit = commit
        self._tidy_up = tidy_up
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Group[Row] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="history-writer", daemon=True)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        connect: Callable[[], Any],
        commit: Callable[[Any, Sequence[Sequence[Row]]], None],
        tidy_up: Callable[[Any], None] = lambda _connection: None,
    ) -> AsyncIterator[GroupCommitWriter[Row]]:
        """A running writer.

        Args:
            connect: opens the connection; called in the writer's thread's stead before it starts.
            commit: writes groups of rows in one transaction, or raises and writes none.
            tidy_up: what need not be done while anybody waits; called after each commit.
        """
        connection = await asyncio.to_thread(connect)
        writer = cls(connection, commit, tidy_up)
        writer._thread.start()
        try:
            yield writer
        finally:
            writer._queue.put(None)
            await asyncio.to_thread(writer._thread.join)
            connection.close()

    async def add(self, rows: Sequence[Row], *, deadline: float) -> None:
        """Return once the rows are committed; raise what the commit raised.

        Args:
            deadline: on the event loop's clock; rows whose commit has not begun by then are not written at all.

        Raises:
            TimeoutError: not committed by the deadline.
        """
        done = self._loop.create_future()
        self._queue.put(_Group(rows, done))
        async with asyncio.timeout_at(deadline):
            await done

    def _run(self) -> None:
        stopping = False
        while not stopping:
            groups = []
            n_rows = 0
            entry = self._queue.get()
            while True:
                if entry is None:
                    stopping = True
                    break
                groups.append(entry)
                n_rows += len(entry.rows)
                if n_rows >= _MAX_ROWS_PER_COMMIT:
                    break
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
            self._write([group for group in groups if not group.done.cancelled()])

    def _write(self, groups: list[_Group[Row]]) -> None:
        if not groups:
            return
        error: Exception | None = None
        try:
            self._commit(self._connection, [group.rows for group in groups])
        except Exception as raised:  # whatever it is, it belongs to those who wait for this commit
            error = raised
        self._loop.call_soon_threadsafe(_settle, groups, error)
        if error is None:
            try:
                self._tidy_up(self._connection)
            except Exception:  # the thread must live on: without it nothing is ever written again
                log.warning("history not tidied up", exc_info=True)


def _settle(groups: list[_Group[Any]], error: Exception | None) -> None:
    for group in groups:
        if group.done.cancelled():
            continue
        if error is None:
            group.done.set_result(None)
        else:
            group.done.set_exception(error)
