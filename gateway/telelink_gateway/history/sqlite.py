"""History in one SQLite file: a single writer thread that commits together what came in together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter

from telelink_gateway.history.store import HistoryRow, PortfolioStats
from telelink_gateway.history.writer import GroupCommitWriter
from telelink_shared.customer import CATEGORIES, COLUMNS
from telelink_shared.problem import HistoryUnavailable
from telelink_shared.web.startup import StartupError

_SCHEMA_VERSION: Final = 2
_BUSY_TIMEOUT_S: Final = 1.0

_CUSTOMER_COLUMNS: Final = [f"{column} {'TEXT' if column in CATEGORIES else 'REAL'}" for column in COLUMNS]
_SCHEMA: Final = f"""
CREATE TABLE predictions (
    id INTEGER PRIMARY KEY,
    prediction_id TEXT NOT NULL,
    row_number INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    customer_id TEXT,
    churn_probability REAL,
    churn_risk TEXT,
    estimated_clv REAL,
    monthly_revenue REAL,
    recommendation TEXT NOT NULL,
    confidence TEXT,
    churn_version TEXT,
    churn_variant TEXT,
    clv_version TEXT,
    clv_variant TEXT,
    policy_version TEXT NOT NULL,
    {", ".join(_CUSTOMER_COLUMNS)},
    UNIQUE (prediction_id, row_number)
) STRICT;
CREATE INDEX latest_of_customer ON predictions (customer_id, id)
    WHERE churn_risk IS NOT NULL AND estimated_clv IS NOT NULL;
"""

# Schema 1 kept a customer as JSON; its fields have columns of their own since.
_FROM_1: Final = f"""
{" ".join(f"ALTER TABLE predictions ADD COLUMN {each};" for each in _CUSTOMER_COLUMNS)}
UPDATE predictions SET {", ".join(f"{column} = customer_json ->> '$.{column}'" for column in COLUMNS)};
ALTER TABLE predictions DROP COLUMN customer_json;
"""

_COLUMNS: Final = (*(name for name in HistoryRow._fields if name != "customer"), *COLUMNS)
# One statement for many rows: the thread that runs it asks for the interpreter's lock once, not once a row.
_ROWS_PER_STATEMENT: Final = 64
# About 10 MB of log.
_ROWS_PER_LOG_COPY: Final = 20_000
_PLACEHOLDERS: Final = f"({', '.join('?' * len(_COLUMNS))})"

_STATS: Final = """
WITH complete AS (
    SELECT max(id) AS id FROM predictions
    WHERE churn_risk IS NOT NULL AND estimated_clv IS NOT NULL AND customer_id IS NOT NULL GROUP BY customer_id
    UNION ALL
    SELECT id FROM predictions
    WHERE churn_risk IS NOT NULL AND estimated_clv IS NOT NULL AND customer_id IS NULL
)
SELECT count(*), avg(estimated_clv), sum(monthly_revenue),
       total(churn_risk = 'High'), total(churn_risk = 'Medium'), total(churn_risk = 'Low')
FROM complete JOIN predictions USING (id)
"""

Sync = Literal["normal", "full"]

log = structlog.get_logger()


def _connect(path: Path, *, sync: Sync = "normal") -> sqlite3.Connection:
    # Opened by one thread and used by one other, never by two at once.
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # Normal: a committed row is with the operating system, and outlives this process however that ends. Full: it is on
    # the disk, and outlives a loss of power too, at a wait of milliseconds before every reply.
    connection.execute(f"PRAGMA synchronous = {sync.upper()}")
    # Copying the log into the file waits for the disk; `_LogCopier` does it when nobody waits.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def _prepare(path: Path, *, sync: Sync) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path, sync=sync)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    steps = {0: _SCHEMA, 1: _FROM_1}
    if found in steps:
        connection.executescript(f"BEGIN IMMEDIATE; {steps[found]} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
    elif found != _SCHEMA_VERSION:
        connection.close()
        raise StartupError(f"{path}: history of schema {found}, this gateway knows {_SCHEMA_VERSION}; use another file")
    return connection


@cache
def _insert(n_rows: int) -> str:
    return f"INSERT INTO predictions ({', '.join(_COLUMNS)}) VALUES {', '.join([_PLACEHOLDERS] * n_rows)}"


def _commit(connection: sqlite3.Connection, groups: Sequence[Sequence[HistoryRow]]) -> None:
    rows = list(chain.from_iterable(groups))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            values = chain.from_iterable((*row[:-1], *row.customer) for row in some)
            connection.execute(_insert(len(some)), list(values))
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


class _LogCopier:
    """Copies SQLite's log into the file once it has grown by so many rows, beside the requests."""

    def __init__(self) -> None:
        self._n_changes = 0

    def __call__(self, connection: sqlite3.Connection) -> None:
        if connection.total_changes - self._n_changes >= _ROWS_PER_LOG_COPY:
            self._n_changes = connection.total_changes
            with suppress(sqlite3.Error):  # a reader stands in the way: next time
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


class SqliteHistory:
    """See `open_sqlite_history`."""

    def __init__(self, path: Path, writer: GroupCommitWriter[HistoryRow], registry: CollectorRegistry) -> None:
        self._path = path
        self._writer = writer
        self._rows = Counter(
            "history_rows_total", "Predictions by what became of them", ("outcome",), registry=registry
        )

    async def add(self, rows: Sequence[HistoryRow], *, deadline: float) -> bool:
        """See `HistoryStore.add`."""
        try:
            await self._writer.add(rows, deadline=deadline)
        except Exception as error:  # whatever it is, the prediction itself stands
            log.warning("history not written", reason=str(error) or type(error).__name__, rows=len(rows))
            self._rows.labels("lost").inc(len(rows))
            return False
        self._rows.labels("stored").inc(len(rows))
        return True

    async def stats(self) -> PortfolioStats:
        """See `HistoryStore.stats`. Reads beside the writer, in a thread of its own."""
        try:
            return await asyncio.to_thread(self._read_stats)
        except sqlite3.Error as error:
            log.warning("history not read", reason=str(error))
            raise HistoryUnavailable("The history cannot be read right now.", retry_after_s=5) from error

    def _read_stats(self) -> PortfolioStats:
        with closing(_connect(self._path)) as connection:
            count, avg_clv, revenue, high, medium, low = connection.execute(_STATS).fetchone()
        return PortfolioStats(
            total_customers=count,
            avg_clv=None if avg_clv is None else round(avg_clv, 2),
            monthly_revenue=None if revenue is None else round(revenue, 2),
            high_risk_customers=int(high),
            medium_risk_customers=int(medium),
            low_risk_customers=int(low),
        )


@asynccontextmanager
async def open_sqlite_history(
    path: Path, registry: CollectorRegistry, *, sync: Sync = "normal"
) -> AsyncIterator[SqliteHistory]:
    """The history in `path`, made when it is not there; what was accepted is written before it closes.

    Args:
        sync: what a stored row outlives: the end of the process ('normal') or also a loss of power ('full').

    Raises:
        StartupError: the file cannot be opened or is of another schema.
    """

    def open_connection() -> sqlite3.Connection:
        try:
            return _prepare(path, sync=sync)
        except (OSError, sqlite3.Error) as error:
            raise StartupError(f"history {path} cannot be opened: {error}; set TELELINK_HISTORY_URL") from error

    async with GroupCommitWriter.open(open_connection, _commit, _LogCopier()) as writer:
        yield SqliteHistory(path, writer, registry)
