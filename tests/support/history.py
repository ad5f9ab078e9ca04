"""Rows of the history, the databases that they are in, and waiting for it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from support.builders import with_usage
from support.postgres import Postgres
from telelink_gateway.history.history import History, open_history
from telelink_gateway.history.postgres import PostgresStore
from telelink_gateway.history.sqlite import SqliteStore
from telelink_gateway.history.store import HistoryRow, KeptReply
from telelink_shared.customer import Customer, row_of

ROW = HistoryRow(
    prediction_id="p1",
    row_number=0,
    created_at_ms=1_700_000_000_000,
    request_id="r1",
    customer_id="c1",
    churn_probability=0.25,
    churn_risk="Medium",
    estimated_clv=10_000.0,
    monthly_revenue=60.0,
    recommendation="MONITOR: …",
    confidence="High",
    churn_version="1",
    churn_variant="usage",
    clv_version="1",
    clv_variant="usage",
    policy_version="2026-11",
    customer=row_of(Customer.model_validate(with_usage(state="OH"))),
)
# One moment for all, so that they compare.
_NOW_MS = time.time_ns() // 1_000_000
NO_CHURN: dict[str, Any] = {
    "churn_probability": None, "churn_risk": None, "confidence": None, "churn_version": None,
}  # fmt: skip
NO_CLV: dict[str, Any] = {"estimated_clv": None, "monthly_revenue": None, "clv_version": None}


def rows(*changes: dict[str, Any], prediction_id: str = "p1") -> list[HistoryRow]:
    """Rows of one prediction, each with these fields instead."""
    return [ROW._replace(prediction_id=prediction_id, row_number=i, **each) for i, each in enumerate(changes)]


def kept(**changes: Any) -> KeptReply:
    """A reply that is kept from now on for an hour, with these fields instead."""
    return KeptReply("key", b"asked", "p1", None, b"{}", _NOW_MS, _NOW_MS + 3_600_000)._replace(**changes)


async def add(history: History, some: Sequence[HistoryRow], *, within_s: float = 10.0) -> bool:
    """Add with plenty of time."""
    return await history.add(some, deadline=asyncio.get_running_loop().time() + within_s)


async def add_once(history: History, some: Sequence[HistoryRow], reply: KeptReply) -> KeptReply | None:
    """The same under a key."""
    return await history.add_once(some, reply, deadline=asyncio.get_running_loop().time() + 10.0)


async def until_storing(history: History) -> None:
    """Wait until the history has healed."""
    async with asyncio.timeout(20):
        while not history.is_storing:
            await asyncio.sleep(0.01)


async def recall(history: History, key: str) -> KeptReply | None:
    """What is kept under a key."""
    return await history.recall(key, deadline=asyncio.get_running_loop().time() + 10)


class SqliteFile:
    """A database in a file, as another program sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def store(self) -> SqliteStore:
        """The gateway's way to it."""
        return SqliteStore(self.path)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Of another connection."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return [*map(tuple, connection.execute(statement))]


class PostgresDatabase:
    """A database of a server, as another program sees it."""

    def __init__(self, server: Postgres, options: str = "") -> None:
        self.server = server
        self.name = server.new_database(options)

    def store(self) -> PostgresStore:
        """The gateway's way to it."""
        return PostgresStore(self.server.url(self.name))

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Of another connection."""
        with self.server.connect(self.name) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


Database = SqliteFile | PostgresDatabase


def running(database: Database, **more: Any) -> AbstractAsyncContextManager[History]:
    """A history that forgets nothing by itself, unless told otherwise."""
    return open_history(database.store(), CollectorRegistry(), **{"retention_days": 36_500, **more})


def stored(database: Database) -> list[tuple[Any, ...]]:
    """Which rows another program finds."""
    return database.ask("SELECT prediction_id, row_number FROM predictions ORDER BY id")


def keys(database: Database) -> list[str]:
    """Which keys another program finds."""
    return [key for (key,) in database.ask("SELECT key FROM replies ORDER BY key")]
