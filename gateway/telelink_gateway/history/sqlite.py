"""History in one SQLite file: a single writer thread that commits together what came in together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import astuple, fields
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter

from telelink_gateway.history.store import HistoryRow, PortfolioStats
from telelink_gateway.history.writer import GroupCommitWriter
from telelink_shared.problem import Unavailable
from telelink_shared.web.startup import StartupError

_SCHEMA_VERSION: Final = 1
_BUSY_TIMEOUT_S: Final = 1.0

_SCHEMA: Final = """
CREATE TABLE predictions (
    id INTEGER PRIMARY KEY,
    prediction_id TEXT NOT NULL,
    row_number INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    customer_id TEXT,
    customer_json TEXT NOT NULL,
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
    UNIQUE (prediction_id, row_number)
) STRICT;
CREATE INDEX latest_of_customer ON predictions (customer_id, id)
    WHERE churn_risk IS NOT NULL AND estimated_clv IS NOT NULL;
"""

_COLUMNS: Final = tuple(field.name for field in fields(HistoryRow))
_INSERT: Final = f"INSERT INTO predictions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"

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

log = structlog.get_logger()


class HistoryUnavailable(Unavailable):
    """The history cannot be read."""

    code, title = "history_unavailable", "The history cannot be read"


def _connect(path: Path) -> sqlite3.Connection:
    # Opened by one thread and used by one other, never by two at once.
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # A reply may name its history row only after the row is on disk.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _prepare(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
    elif found != _SCHEMA_VERSION:
        connection.close()
        raise StartupError(f"{path}: history of schema {found}, this gateway knows {_SCHEMA_VERSION}; use another file")
    return connection


class SqliteHistory:
    """See `open_sqlite_history`."""

    def __init__(self, path: Path, writer: GroupCommitWriter[HistoryRow], registry: CollectorRegistry) -> None:
        self._path = path
        self._writer = writer
        self._rows = Counter(
            "history_rows_total", "Predictions by what became of them", ("outcome",), registry=registry
        )

    async def add(self, rows: Sequence[HistoryRow]) -> bool:
        """See `HistoryStore.add`."""
        try:
            await self._writer.add(rows)
        except sqlite3.Error as error:
            log.warning("history not written", reason=str(error), rows=len(rows))
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
async def open_sqlite_history(path: Path, registry: CollectorRegistry) -> AsyncIterator[SqliteHistory]:
    """The history in `path`, made when it is not there; what was accepted is written before it closes.

    Raises:
        StartupError: the file cannot be opened or is of another schema.
    """

    def open_connection() -> sqlite3.Connection:
        try:
            return _prepare(path)
        except (OSError, sqlite3.Error) as error:
            raise StartupError(f"history {path} cannot be opened: {error}; set TELELINK_HISTORY_URL") from error

    def commit(connection: sqlite3.Connection, groups: Sequence[Sequence[HistoryRow]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_INSERT, (astuple(row) for group in groups for row in group))
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    async with GroupCommitWriter.open(open_connection, commit) as writer:
        yield SqliteHistory(path, writer, registry)
