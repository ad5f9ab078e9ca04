"""Jobs in one SQLite file beside the history's. Several gateways and workers of one machine share it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

from telelink_gateway.jobs.sql_store import SCHEMA_VERSION, TABLES, JobStore
from telelink_shared.web.startup import StartupError

# A worker's commit of a chunk takes a hundredth of this.
_BUSY_TIMEOUT_S: Final = 5.0
_TYPES: Final = {"text": "TEXT", "integer": "INTEGER", "bytes": "BLOB", "strict": " STRICT"}
_LOG_BYTES: Final = 16 * 1024 * 1024
_CACHE_KIB: Final = 2_048
# Parts have about a megabyte.
_PAGE_BYTES: Final = 16 * 1024


_Identity = tuple[int, int]


def _identity(path: Path) -> _Identity | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


class SqliteJobStore(JobStore):
    """See `JobStore`. What is committed outlives the end of this process however that comes."""

    outages: ClassVar[tuple[type[Exception], ...]] = (sqlite3.OperationalError,)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._connection: sqlite3.Connection
        # Of the file, and of what SQLite keeps beside it.
        self._identity: _Identity | None = None
        self._beside: dict[Path, _Identity | None] = {}

    def open(self) -> None:
        """See `JobStore.open`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._identity = _identity(self._path)
            try:
                for name, value in (
                    ("page_size", _PAGE_BYTES),
                    ("auto_vacuum", "INCREMENTAL"),
                    ("journal_mode", "WAL"),
                    ("synchronous", "NORMAL"),
                    ("journal_size_limit", _LOG_BYTES),
                    ("cache_size", -_CACHE_KIB),
                    # What is removed is overwritten, where that costs no further writing.
                    ("secure_delete", "FAST"),
                ):
                    self._connection.execute(f"PRAGMA {name} = {value}")
                self._prepare()
                beside = (self._path.with_name(f"{self._path.name}-{ending}") for ending in ("wal", "shm"))
                self._beside = {path: _identity(path) for path in beside}
            except BaseException:
                self._identity = None
                self._connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise StartupError(f"jobs {self._path} cannot be opened: {error}; set TELELINK_HISTORY_URL") from error

    def _prepare(self) -> None:
        with self._transaction():
            (found,) = self._execute("PRAGMA user_version").fetchone()
            if found == 0:
                for statement in TABLES:
                    self._execute(statement.format_map(_TYPES))
                self._execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif found != SCHEMA_VERSION:
                raise StartupError(
                    f"{self._path}: jobs of schema {found}, this gateway knows {SCHEMA_VERSION}; put it aside"
                )

    def close(self) -> None:
        """See `JobStore.close`."""
        with self._lock, suppress(AttributeError, sqlite3.Error):
            self._connection.close()

    @contextmanager
    def _at_the_file(self) -> Iterator[None]:
        """What is open may have been removed or replaced: what it takes then would be gone with this process."""
        with self._lock:
            if self._identity is None or _identity(self._path) != self._identity:
                self._connection.close()
                self._remove_orphans()
                self.open()
            yield

    def _remove_orphans(self) -> None:
        # SQLite would take the log of the file that was there for that of the one that is there now.
        beside, self._beside = self._beside, {}
        for path, identity in beside.items():
            if identity is not None and _identity(path) == identity:
                path.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._at_the_file():
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def _reading(self) -> AbstractContextManager[Any]:
        return self._at_the_file()

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _tidy_up(self) -> None:
        with self._lock:
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
