"""Jobs in PostgreSQL, in the history's database: for more than one machine with gateways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from telelink_gateway.history.postgres import CONNECTION
from telelink_gateway.jobs.sql_store import SCHEMA_VERSION, TABLES, JobStore
from telelink_shared.web.startup import StartupError

_TYPES: Final = {"text": "text", "integer": "bigint", "bytes": "bytea", "strict": ""}
# Any number that no other program in the same database uses.
_LOCK: Final = 7_463_519
_TIMEOUT_MS: Final = 30_000


class PostgresJobStore(JobStore):
    """See `JobStore`.

    Args:
        url: `postgresql://…`, as libpq takes it.
        password: instead of the one in the URL.
    """

    # A server that has become a standby, which only reads, says so by an InternalError.
    outages: ClassVar[tuple[type[Exception], ...]] = (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.InternalError,
    )

    def __init__(self, url: str, *, password: SecretStr | None = None) -> None:
        super().__init__()
        self._url = url
        self._password = password
        self._connection: psycopg.Connection[Any] | None = None

    def open(self) -> None:
        """See `JobStore.open`. A server that is out just now is connected to later."""
        with suppress(psycopg.OperationalError):
            self._connect()

    def _connect(self) -> psycopg.Connection[Any]:
        wanted: dict[str, Any] = CONNECTION | conninfo_to_dict(self._url)
        if self._password is not None:
            wanted["password"] = self._password.get_secret_value()
        connection = psycopg.connect(autocommit=True, **wanted)
        try:
            connection.execute(f"SET statement_timeout = {_TIMEOUT_MS}")
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def close(self) -> None:
        """See `JobStore.close`."""
        with self._lock, suppress(AttributeError, psycopg.Error):
            if self._connection is not None:
                self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            connection = self._connection
            if connection is None or connection.closed:
                connection = self._connect()
            with connection.transaction():
                yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._transaction():
            yield

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        assert self._connection is not None
        return self._connection.execute(statement.replace("%", "%%").replace("?", "%s"), values)


def _prepare(connection: psycopg.Connection[Any]) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute("CREATE TABLE IF NOT EXISTS jobs_schema (version integer NOT NULL)")
        found = connection.execute("SELECT version FROM jobs_schema").fetchone()
        if found is None:
            for statement in TABLES:
                connection.execute(statement.format_map(_TYPES))
            # Not compressed, so that a row of the result is read without all that stands before it.
            connection.execute(
                "ALTER TABLE job_parts ALTER body SET STORAGE EXTERNAL, ALTER places SET STORAGE EXTERNAL"
            )
            connection.execute("INSERT INTO jobs_schema VALUES (%s)", (SCHEMA_VERSION,))
        elif found != (SCHEMA_VERSION,):
            raise StartupError(f"jobs of schema {found[0]}, this gateway knows {SCHEMA_VERSION}; use another database")
