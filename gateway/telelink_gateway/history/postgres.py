"""History in PostgreSQL, for more than one machine with gateways."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, ClassVar, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from telelink_gateway.history.sql import (
    CELL_COLUMNS,
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
from telelink_gateway.history.store import HistoryRow, PortfolioReading, PortfolioStats, Span
from telelink_shared.web.startup import StartupError

_TYPES: Final = {
    "id": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "text": "text",
    "real": "double precision",
    "integer": "bigint",
    "bytes": "bytea",
    "strict": "",
}
# Any number that no other program in the same database uses.
_LOCK: Final = 7_463_518
_VERSIONS: Final = "CREATE TABLE IF NOT EXISTS history_schema (version integer NOT NULL)"
# A server that is gone without a word is noticed within seconds; the URL may say otherwise.
CONNECTION: Final = {
    "application_name": "telelink-gateway",
    # A database of SQL_ASCII, as is made where no locale is set, else has text come back as bytes.
    "client_encoding": "UTF8",
    "connect_timeout": 2,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}
_WRITE_TIMEOUT_MS: Final = 5_000
# The keys of a gateway that dies in the middle of a transaction are in nobody's way for longer. Not much less: on a
# busy machine one that lives may be kept from its next statement for half a second, and would lose its connection.
_IDLE_IN_TRANSACTION_MS: Final = 1_500
# As SQLite's patience with others who write.
_LOCK_TIMEOUT_MS: Final = 1_000
_READ_TIMEOUT_MS: Final = 30_000
# What no waiting changes, in the words of the server: psycopg has no SQLSTATE of a connection that was not made.
# One that says it in another language is waited for.
_SETTLED: Final = re.compile(
    r"FATAL: +(password authentication failed .*|.* does not exist|no pg_hba.conf entry .*|permission denied .*"
    r"|.* is not permitted to log in)|(no password supplied)"
)
_COPY: Final = f"COPY predictions ({', '.join(ROW_COLUMNS)}) FROM STDIN"

STATS: Final = """
WITH latest AS (
    (SELECT DISTINCT ON (customer_id) churn_risk, estimated_clv, monthly_revenue FROM predictions
     WHERE customer_id IS NOT NULL AND churn_risk IS NOT NULL AND estimated_clv IS NOT NULL
     ORDER BY customer_id, id DESC)
    UNION ALL
    SELECT churn_risk, estimated_clv, monthly_revenue FROM predictions
    WHERE customer_id IS NULL AND churn_risk IS NOT NULL AND estimated_clv IS NOT NULL
)
SELECT count(*), avg(estimated_clv), sum(monthly_revenue), count(*) FILTER (WHERE churn_risk = 'High'),
       count(*) FILTER (WHERE churn_risk = 'Medium'), count(*) FILTER (WHERE churn_risk = 'Low')
FROM latest
"""


class PostgresStore(SqlStore):
    """See `Store`. What a committed row outlives is the server's own affair (`synchronous_commit`).

    Args:
        url: `postgresql://…`, as libpq takes it.
        password: instead of the one in the URL.
    """

    row_errors: ClassVar[tuple[type[Exception], ...]] = (psycopg.IntegrityError, psycopg.DataError)

    def __init__(self, url: str, *, password: SecretStr | None = None) -> None:
        self._url = url
        self._password = password
        self._connection: psycopg.Connection[Any]

    def _connect(self, *, timeout_ms: int) -> psycopg.Connection[Any]:
        wanted: dict[str, Any] = CONNECTION | conninfo_to_dict(self._url)
        if self._password is not None:
            wanted["password"] = self._password.get_secret_value()
        connection = psycopg.connect(autocommit=True, **wanted)
        try:
            connection.execute(
                f"SET statement_timeout = {timeout_ms}; SET lock_timeout = {_LOCK_TIMEOUT_MS}; "
                f"SET idle_in_transaction_session_timeout = {_IDLE_IN_TRANSACTION_MS}"
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def open(self) -> None:
        """See `Store.open`."""
        try:
            self._connection = self._connect(timeout_ms=_WRITE_TIMEOUT_MS)
        except psycopg.OperationalError as error:
            if settled := _SETTLED.search(str(error)):
                raise _unusable(settled[1] or settled[2]) from error
            raise
        try:
            self._prepare()
            self._prove_it_can_be_written()
        except psycopg.errors.InsufficientPrivilege as error:
            self._connection.close()
            raise _unusable(error.diag.message_primary or "permission denied") from error
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        with self._connection.transaction():
            # One gateway at a time: "if not exists" does not hold against another that makes it just now.
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            self._connection.execute(_VERSIONS)
            found = self._connection.execute("SELECT version FROM history_schema").fetchone()
            if found is None:
                for statement in definitions((PREDICTIONS, *REPLIES, *INDEXES), _TYPES):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO history_schema VALUES (%s)", (SCHEMA_VERSION,))
            elif found != (SCHEMA_VERSION,):
                raise StartupError(
                    f"history of schema {found[0]}, this gateway knows {SCHEMA_VERSION}; use another database"
                )

    def close(self) -> None:
        """See `Store.close`."""
        with suppress(AttributeError, psycopg.Error):
            self._connection.close()

    def _transaction(self) -> AbstractContextManager[Any]:
        return self._connection.transaction()

    def _execute(self, statement: str, values: Sequence[Any]) -> psycopg.Cursor[Any]:
        return self._connection.execute(_in_its_words(statement), values)

    def _insert(self, rows: Sequence[HistoryRow]) -> None:
        if not rows:
            return
        with self._connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row((*row[:-1], *row.customer))

    def scrub(self) -> None:
        """Left to the server: its vacuum frees the space, and its own log and backups have rules of their own."""

    def tidy_up(self) -> None:
        """Left to the server."""

    def check(self) -> None:
        """See `Store.check`."""
        self._connection.execute("SELECT 1")

    def read_stats(self) -> PortfolioStats:
        """See `Store.read_stats`."""
        with self._connect(timeout_ms=_READ_TIMEOUT_MS) as connection:
            figures = connection.execute(STATS).fetchone()
        assert figures is not None
        return portfolio(figures)

    def read_portfolio(self, span: Span) -> PortfolioReading:
        """See `Store.read_portfolio`."""
        condition, values = within(span)
        # Those without an id are each a customer of their own.
        who = "customer_id, CASE WHEN customer_id IS NULL THEN id END"
        latest = cells_of(f"""(SELECT DISTINCT ON ({who}) {CELL_COLUMNS} FROM predictions
            WHERE {IS_COMPLETE} AND {condition} ORDER BY {who}, id DESC) AS latest""")
        by_day, day_values = days_of(span)
        with self._connect(timeout_ms=_READ_TIMEOUT_MS) as connection, connection.transaction():
            # All of it as it is at one moment.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cells = [cell(row) for row in connection.execute(_in_its_words(latest), values)]
            days = [day_count(row) for row in connection.execute(_in_its_words(by_day), day_values)]
        return PortfolioReading(cells, days)


def _unusable(why: str) -> StartupError:
    return StartupError(f"history: PostgreSQL says: {why}; set TELELINK_HISTORY_URL, or its password")


def _in_its_words(statement: str) -> str:
    return statement.replace("?", "%s")
