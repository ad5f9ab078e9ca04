"""Where jobs are kept: beside the history, in a database of its kind."""

from __future__ import annotations

from typing import Final

from telelink_gateway.jobs.sql_store import JobStore
from telelink_gateway.jobs.sqlite_store import SqliteJobStore
from telelink_gateway.settings import Settings

FILE_NAME: Final = "jobs.db"


def open_job_store(settings: Settings) -> JobStore:
    """The store, still to be opened."""
    if settings.history_path is not None:
        return SqliteJobStore(settings.history_path.with_name(FILE_NAME))
    # Imported by those who use it: it takes as long as all the rest, and memory.
    from telelink_gateway.jobs.postgres_store import PostgresJobStore

    return PostgresJobStore(settings.history_url, password=settings.history_password)
