"""History in one SQLite file, in its write-ahead mode. Several gateways of one machine may share it."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from telelink_gateway.history.sql import (
    CUSTOMER_COLUMNS,
    INDEXES,
    IS_COMPLETE,
    PREDICTIONS,
    REPLIES,
    ROW_COLUMNS,
    SCHEMA_VERSION,
    SqlStore,
    cell,
    cells_of,
    day_count,
    days_of,
    definitions,
    portfolio,
    within,
)
from telelink_gateway.history.store import Cell, HistoryRow, PortfolioReading, PortfolioStats, Span
from telelink_shared.customer import COLUMNS
from telelink_shared.web.startup import StartupError

Sync = Literal["normal", "full"]
_Identity = tuple[int, int]

_BUSY_TIMEOUT_S: Final = 1.0
_TYPES: Final = {
    "id": "INTEGER PRIMARY KEY",
    "text": "TEXT",
    "real": "REAL",
    "integer": "INTEGER",
    "bytes": "BLOB",
    "strict": " STRICT",
}
_FROM_2: Final = (*REPLIES, "DROP INDEX latest_of_customer", *INDEXES)
_FROM_1: Final = (
    *(f"ALTER TABLE predictions ADD COLUMN {column} {kind}" for column, kind in CUSTOMER_COLUMNS.items()),
    f"UPDATE predictions SET {', '.join(f'{column} = customer_json ->> {column!r}' for column in COLUMNS)}",
    "ALTER TABLE predictions DROP COLUMN customer_json",
    *_FROM_2,
)
_STEPS: Final = {0: (PREDICTIONS, *REPLIES, *INDEXES), 1: _FROM_1, 2: _FROM_2}

# One statement for many rows: the thread that runs it asks for the interpreter's lock once, not once a row.
_ROWS_PER_STATEMENT: Final = 64
# Numbers of rows in between are made of two: of 64 statements, all of which SQLite would keep, 15 are left.
_STEP_OF_ROWS: Final = 8
# Rows wait behind whoever waits for the copying to end, which as a rule takes less; else what follows is done later.
_COPYING_ENDS_S: Final = 0.2
# 60 MB of log where each customer is another one.
_ROWS_PER_LOG_COPY: Final = 10_000
_PLACEHOLDERS: Final = f"({', '.join('?' * len(ROW_COLUMNS))})"

# Of the columns beside max(), SQLite takes those of the row that has the maximum.
STATS: Final = """
WITH latest AS (
    SELECT max(id), churn_risk, estimated_clv, monthly_revenue FROM predictions
    WHERE customer_id IS NOT NULL AND churn_risk IS NOT NULL AND estimated_clv IS NOT NULL GROUP BY customer_id
    UNION ALL
    SELECT id, churn_risk, estimated_clv, monthly_revenue FROM predictions
    WHERE customer_id IS NULL AND churn_risk IS NOT NULL AND estimated_clv IS NOT NULL
)
SELECT count(*), avg(estimated_clv), sum(monthly_revenue),
       total(churn_risk = 'High'), total(churn_risk = 'Medium'), total(churn_risk = 'Low')
FROM latest
"""

# SQLite sorts what it groups, and what does not fit into its 2 MB of cache goes to a file: 10 MB for so many rows.
_ROWS_PER_READ: Final = 200_000

# What may pass without anybody changing a setting or a file.
_PASSING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


class FileReplaced(Exception):
    """The file that is open is no longer the one of this name."""


def _may_pass(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        # Not all of them come from the database.
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF in _PASSING
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _is_still(path: Path, identity: _Identity) -> bool:
    with suppress(OSError):
        return _identity(path.stat()) == identity
    return False


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # Of two that switch a new file at once, one is refused without the usual patience.
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _may_pass(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _copy_log(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # a reader stands in the way: next time
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


@cache
def _insert_statement(n_rows: int) -> str:
    return f"INSERT INTO predictions ({', '.join(ROW_COLUMNS)}) VALUES {', '.join([_PLACEHOLDERS] * n_rows)}"


class SqliteStore(SqlStore):
    """See `Store`.

    Args:
        sync: what a committed row outlives. Normal: it is with the operating system, and outlives this process however
            that ends. Full: it is on the disk, and outlives a loss of power too, at a wait of milliseconds.
    """

    row_errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.IntegrityError, sqlite3.DataError)

    def __init__(self, path: Path, *, sync: Sync = "normal") -> None:
        self._path = path
        self._sync = sync
        self._connection: sqlite3.Connection
        # Of the file and of what SQLite keeps beside it, by path.
        self._files: dict[Path, _Identity] = {}
        self._least_bytes = 0
        self._is_suspect = False
        self._is_scrub_due = False
        self._n_changes = 0
        self._copying: threading.Thread | None = None

    def open(self) -> None:
        """See `Store.open`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
            try:
                self._prepare()
                # Beside a file on a network, SQLite keeps no log.
                beside = (self._path.with_name(f"{self._path.name}-{ending}") for ending in ("wal", "shm"))
                self._files = {path: _identity(path.stat()) for path in (self._path, *beside) if path.exists()}
                self._least_bytes = 0
                # Soon: a gateway that was killed leaves its log as it is.
                self._n_changes = -_ROWS_PER_LOG_COPY
                if self._is_suspect and self._connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise StartupError(f"history {self._path} is damaged; put it aside or set TELELINK_HISTORY_URL")
                self._is_suspect = False
                self._prove_it_can_be_written()
            except BaseException:
                self._connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            if _may_pass(error):
                raise
            raise StartupError(f"history {self._path} cannot be opened: {error}; set TELELINK_HISTORY_URL") from error

    def _connect(self) -> sqlite3.Connection:
        # Opened by one thread and used by one other, never by two at once.
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            _use_write_ahead_log(connection)
            connection.execute(f"PRAGMA synchronous = {self._sync.upper()}")
            # Copying the log into the file waits for the disk; `tidy_up` does it when nobody waits.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            # What undoes a statement of many rows that fails half way; else each such statement makes a file for it.
            connection.execute("PRAGMA temp_store = MEMORY")
            # What is deleted is overwritten with zeros.
            connection.execute("PRAGMA secure_delete = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _version(self) -> int:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _prepare(self) -> None:
        if self._version() == SCHEMA_VERSION:
            return
        with self._connection_transaction():
            # Once more: another gateway may have been quicker.
            found = self._version()
            if found != SCHEMA_VERSION and found not in _STEPS:
                raise StartupError(
                    f"{self._path}: history of schema {found}, this gateway knows {SCHEMA_VERSION}; use another file"
                )
            for statement in definitions(_STEPS.get(found, ()), _TYPES):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        """See `Store.close`."""
        self._end_copying()
        with suppress(AttributeError, sqlite3.Error):
            self._connection.close()
        self._remove_orphans()

    def _remove_orphans(self) -> None:
        # The log of a file that was removed or replaced: SQLite would take it for that of the next file of this name.
        files, self._files = self._files, {}
        if self._path in files and not _is_still(self._path, files[self._path]):
            for path, identity in files.items():
                # Another gateway that has the file open may be quicker.
                with suppress(FileNotFoundError):
                    if _is_still(path, identity):
                        path.unlink()

    @contextmanager
    def _connection_transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._is_suspect |= type(error) is sqlite3.DatabaseError
            self._connection.rollback()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._look_for_the_file()
        with self._connection_transaction():
            yield

    def _look_for_the_file(self) -> None:
        # A file that was removed takes rows all the same, as long as somebody has it open. It never shrinks either.
        try:
            status = self._path.stat()
        except OSError as error:
            raise FileReplaced("the file is gone") from error
        if _identity(status) != self._files[self._path]:
            raise FileReplaced("another file has taken its place")
        if status.st_size < self._least_bytes:
            self._is_suspect = True
            raise FileReplaced("the file has lost a part")
        self._least_bytes = status.st_size

    def _execute(self, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _insert(self, rows: Sequence[HistoryRow]) -> None:
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            n_even = len(some) // _STEP_OF_ROWS * _STEP_OF_ROWS
            for part in (some[:n_even], some[n_even:]):
                if part:
                    values = chain.from_iterable((*row[:-1], *row.customer) for row in part)
                    self._connection.execute(_insert_statement(len(part)), list(values))

    def scrub(self) -> None:
        """See `Store.scrub`. The log has the pages as they were; while somebody reads them, it is done later."""
        self._is_scrub_due = True
        self._end_copying()
        with suppress(sqlite3.OperationalError):
            # Rows wait behind this: it is tried again soon, and not waited for.
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                (is_busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._is_scrub_due = bool(is_busy)
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1e3:.0f}")

    def tidy_up(self) -> None:
        """Copy SQLite's log into the file once it has grown by so many rows.

        Another thread does it, which waits for the disk while this one goes on committing. What that adds to the log is
        copied here when the other is done, and then the log begins anew: little, where rows come one by one.
        """
        if self._is_scrub_due:
            self.scrub()
        elif self._copying is not None:
            if not self._copying.is_alive():
                self._copying = None
                _copy_log(self._connection)
        elif self._connection.total_changes - self._n_changes >= _ROWS_PER_LOG_COPY:
            self._n_changes = self._connection.total_changes
            copying = threading.Thread(
                target=self._copy_meanwhile, args=(self._files[self._path],), name="history-log", daemon=True
            )
            copying.start()
            self._copying = copying

    def _copy_meanwhile(self, identity: _Identity) -> None:
        with suppress(sqlite3.Error), closing(self._connect_to_read()) as connection:
            # Opened by its name: what lies there now may be another file.
            if _is_still(self._path, identity):
                _copy_log(connection)

    def _end_copying(self) -> None:
        copying, self._copying = self._copying, None
        if copying is not None:
            copying.join(_COPYING_ENDS_S)

    def check(self) -> None:
        """See `Store.check`."""
        with self._transaction():
            pass

    def read_stats(self) -> PortfolioStats:
        """See `Store.read_stats`."""
        with closing(self._connect_to_read()) as connection:
            return portfolio(connection.execute(STATS).fetchone())

    def read_portfolio(self, span: Span) -> PortfolioReading:
        """See `Store.read_portfolio`."""
        statement, values = days_of(span)
        with closing(self._connect_to_read()) as connection:
            connection.execute("BEGIN")  # all of it as it is at one moment
            days = [day_count(row) for row in connection.execute(statement, values)]
            return PortfolioReading(list(_cells(connection, span)), days)

    def _connect_to_read(self) -> sqlite3.Connection:
        # Never makes a file.
        address = f"{self._path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)


def _cells(connection: sqlite3.Connection, span: Span) -> Iterator[Cell]:
    """In parts of so many rows; customers who are alike may come in several of them."""
    condition, values = within(span)
    first, last = connection.execute(f"SELECT min(id), max(id) FROM predictions WHERE {condition}", values).fetchone()
    if first is None:
        return
    # The plus keeps SQLite from another index than the ids.
    condition, values = within(span, column="+this.created_at_ms")
    # Only what lies behind the span may be a later prediction without being one of the span.
    before, limit = within(Span(before_ms=span.before_ms), column="later.created_at_ms")
    statement = cells_of(f"""predictions AS this
        WHERE {IS_COMPLETE} AND {condition} AND id >= ? AND id < ? AND NOT EXISTS (
            SELECT 1 FROM predictions AS later WHERE later.customer_id = this.customer_id AND later.id > this.id
            AND later.churn_risk IS NOT NULL AND later.estimated_clv IS NOT NULL AND {before})""")
    for start in range(first, last + 1, _ROWS_PER_READ):
        yield from map(cell, connection.execute(statement, (*values, start, start + _ROWS_PER_READ, *limit)))
