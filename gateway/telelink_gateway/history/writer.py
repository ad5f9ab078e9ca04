"""A thread that owns a database and commits in one transaction whatever has come in since the last one."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from telelink_gateway.deadlines import Deadlines
from telelink_gateway.history.store import Group, KeptReply, Store
from telelink_shared.web.startup import StartupError

T = TypeVar("T")
log = structlog.get_logger()
# A transaction stays short enough that nobody behind it waits for long.
_MAX_ROWS_PER_COMMIT: Final = 20_000
# What is broken is tried again after so long.
_RETRY_S: Final = 0.5
# Who comes while one step has taken longer than this does not wait for its end.
_PATIENCE_S: Final = 1.0
_STOP_S: Final = 10.0
# Whose rows are being written at the deadline waits so much longer, to know what becomes of them.
_COMMIT_S: Final = 0.05


class NotStoring(Exception):
    """The database takes nothing just now. The message says why, for the log alone."""


@dataclass(slots=True, eq=False)
class _Entry:
    """Rows to be committed, or a step that needs the database to itself.

    Attributes:
        is_claimed: its rows are being written, and what becomes of them is waited for a little longer.
        outcome: what the thread knows already: an error, or what is to be told, alone in a tuple.
    """

    work: Group | Callable[[], Any]
    done: asyncio.Future[Any]
    is_claimed: bool = False
    outcome: Exception | tuple[Any] | None = None

    def tell(self) -> None:
        """The outcome; that it is too late where there is none."""
        if self.done.done():  # nobody waits any more
            return
        if isinstance(self.outcome, tuple):
            self.done.set_result(self.outcome[0])
        else:
            self.done.set_exception(self.outcome or TimeoutError())


class GroupCommitWriter:
    """Use `open`. The commit waits for nobody: what arrives while one runs goes into the next.

    While the database is out, nobody waits for it: they are told at once, and this thread tries again by itself.
    """

    def __init__(self, store: Store, *, commit_s: float) -> None:
        self._store = store
        self._commit_s = commit_s
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Sequence[_Entry] | None] = queue.SimpleQueue()
        self._submitted: list[_Entry] = []
        self._n_submitted_rows = 0
        self._waiting: dict[_Entry, float] = {}
        self._deadlines = Deadlines(self._waiting.items, self._expire)
        # Held where it is decided who is told and who is committed.
        self._deciding = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="history-writer", daemon=True)
        self._trouble: str | None = None
        self._step_begun_at: float | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store, *, commit_s: float = _COMMIT_S) -> AsyncIterator[GroupCommitWriter]:
        """A running writer, also over a database that is out; it closes when all that was accepted is written.

        Args:
            commit_s: how much longer than to their deadline those wait whose rows are being written then.

        Raises:
            StartupError: as the store's `open`.
        """
        writer = cls(store, commit_s=commit_s)
        await asyncio.to_thread(writer._open_first)
        writer._thread.start()
        try:
            yield writer
        finally:
            writer._hand_over()
            writer._queue.put(None)
            # A database that never answers must not keep the process from its end.
            await asyncio.to_thread(writer._thread.join, _STOP_S)

    @property
    def trouble(self) -> str | None:
        """Why nothing is stored just now; None while all is well."""
        begun_at = self._step_begun_at
        if self._trouble is None and begun_at is not None and time.monotonic() - begun_at > _PATIENCE_S:
            return "the database does not answer"
        return self._trouble

    async def add(self, group: Group, *, deadline: float) -> KeptReply | None:
        """Return once the group is committed; raise what the commit raised.

        Args:
            deadline: on the event loop's clock; rows that are not being written by then, or a few
                milliseconds later, are not written at all.

        Returns:
            The reply that took the group's key first, if there is one; then nothing was written.

        Raises:
            TimeoutError: not committed by the deadline. Where writing them has begun and takes longer still, nobody
                knows yet what becomes of them.
            NotStoring: the database is out.
        """
        first: KeptReply | None = await self._submit(group, deadline=deadline)
        return first

    async def call(self, step: Callable[[], T], *, deadline: float) -> T:
        """What a step of the store gives, between two commits. Raises as `add`, and what the step raises."""
        outcome: T = await self._submit(step, deadline=deadline)
        return outcome

    async def _submit(self, work: Group | Callable[[], Any], *, deadline: float) -> Any:
        trouble = self.trouble
        if trouble is not None:
            raise NotStoring(trouble)
        entry = _Entry(work, self._loop.create_future())
        self._submitted.append(entry)
        if len(self._submitted) == 1:
            # With all else that this turn of the loop brings: the thread wakes up once, for one transaction.
            self._loop.call_soon(self._hand_over)
        self._n_submitted_rows += len(work.rows) if isinstance(work, Group) else 0
        if self._n_submitted_rows >= _MAX_ROWS_PER_COMMIT:
            self._hand_over()
        self._waiting[entry] = deadline
        self._deadlines.note(deadline)
        try:
            return await entry.done
        finally:
            del self._waiting[entry]

    def _expire(self, entry: _Entry) -> None:
        with self._deciding:
            if not entry.is_claimed:
                entry.tell()
                return
        self._loop.call_later(self._commit_s, entry.tell)

    def _claim(self, entries: Sequence[_Entry]) -> Sequence[bool]:
        """Called by the thread, within a transaction: whoever was told that nothing is stored is left out."""
        with self._deciding:
            for entry in entries:
                entry.is_claimed = not entry.done.done()
        return [entry.is_claimed for entry in entries]

    def _hand_over(self) -> None:
        submitted, self._submitted, self._n_submitted_rows = self._submitted, [], 0
        if submitted:
            self._queue.put(submitted)

    def _open_first(self) -> None:
        try:
            self._store.open()
        except StartupError:
            raise
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self._trouble is None:
            log.warning("history is out: predictions go on, unstored", reason=_reason(error))
        self._trouble = _reason(error)

    def _reopen(self) -> None:
        try:
            self._store.close()
            self._store.open()
        except Exception as error:
            self._give_up(error)
            return
        if self._trouble is not None:
            log.warning("history is back")
        self._trouble = None

    def _run(self) -> None:
        # Nothing that was written is held on to while waiting for more.
        while self._carry_out(self._take()):
            pass
        self._store.close()

    def _carry_out(self, entries: Sequence[_Entry | None]) -> bool:
        """Commit the rows, then take the steps; tells whether there is more to come."""
        wanted = _still_waiting(entry for entry in entries if entry is not None)
        groups = [entry for entry in wanted if isinstance(entry.work, Group)]
        with self._timed():
            if groups:
                self._write(groups)
            for entry in wanted:
                if not isinstance(entry.work, Group):
                    self._call(entry, entry.work)
        if groups and self._trouble is None:
            self._tidy_up()
        return entries[-1] is not None

    def _take(self) -> list[_Entry | None]:
        """Whatever has come in, once there is something; None at its end: there will be no more."""
        while True:
            try:
                submitted = self._queue.get(timeout=None if self._trouble is None else _RETRY_S)
                break
            except queue.Empty:
                self._reopen()
        entries: list[_Entry | None] = []
        n_rows = 0
        while submitted is not None:
            entries += submitted
            n_rows += sum(len(entry.work.rows) for entry in submitted if isinstance(entry.work, Group))
            if n_rows >= _MAX_ROWS_PER_COMMIT:
                return entries
            try:
                submitted = self._queue.get_nowait()
            except queue.Empty:
                return entries
        return [*entries, None]

    def _write(self, entries: Sequence[_Entry], *, is_last_try: bool = False) -> None:
        if self._trouble is not None:
            self._settle(entries, NotStoring(self._trouble))
            return
        try:
            outcomes = self._store.commit(
                [entry.work for entry in entries if isinstance(entry.work, Group)], lambda: self._claim(entries)
            )
        except self._store.row_errors as error:
            # One caller's rows, which must not take the others' along.
            if len(entries) == 1:
                self._settle(entries, error)
            else:
                for entry in _still_waiting(entries):
                    self._write([entry])
        except Exception as error:
            self._reopen()
            if is_last_try:
                # It can be opened, and yet not be written.
                self._give_up(error)
            # Once more: as a rule the connection had come to its end, or the file had been removed.
            self._write(_still_waiting(entries), is_last_try=True)
        else:
            self._settle(entries, outcomes)

    def _call(self, entry: _Entry, step: Callable[[], Any]) -> None:
        if self._trouble is not None:
            self._settle([entry], NotStoring(self._trouble))
            return
        try:
            outcome = step()
        except Exception as error:
            self._settle([entry], error)
            self._reopen()
        else:
            self._settle([entry], [outcome])

    @contextmanager
    def _timed(self) -> Iterator[None]:
        self._step_begun_at = time.monotonic()
        try:
            yield
        finally:
            self._step_begun_at = None

    def _tidy_up(self) -> None:
        try:
            self._store.tidy_up()
        except Exception:  # the thread must live on: without it nothing is ever written again
            log.warning("history not tidied up", exc_info=True)

    def _settle(self, entries: Sequence[_Entry], outcome: Exception | Sequence[Any]) -> None:
        for position, entry in enumerate(entries):
            entry.outcome = outcome if isinstance(outcome, Exception) else (outcome[position],)
        # Whoever is told now may ask again before this thread goes on: what took long is over.
        self._step_begun_at = time.monotonic()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_tell, entries)


def _still_waiting(entries: Iterable[_Entry]) -> list[_Entry]:
    return [entry for entry in entries if not entry.done.done()]


def _tell(entries: Sequence[_Entry]) -> None:
    for entry in entries:
        entry.tell()


def _reason(error: Exception) -> str:
    """One line: databases say more in further ones, and sometimes with values."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
