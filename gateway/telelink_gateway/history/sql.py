"""Tables, statements and steps that SQLite and PostgreSQL have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

from telelink_gateway.history.store import (
    HIGH_DAY_MINUTES,
    MANY_SERVICE_CALLS,
    Cell,
    DayCount,
    Group,
    HistoryRow,
    KeptReply,
    PortfolioStats,
    Span,
)
from telelink_shared.customer import CATEGORIES, COLUMNS, RATES_USD_PER_MINUTE

SCHEMA_VERSION: Final = 3
"""1 kept a customer as JSON, 2 had no replies."""

ROW_COLUMNS: Final = (*(name for name in HistoryRow._fields if name != "customer"), *COLUMNS)
CUSTOMER_COLUMNS: Final = {column: "{text}" if column in CATEGORIES else "{real}" for column in COLUMNS}

PREDICTIONS: Final = f"""
CREATE TABLE predictions (
    id {{id}},
    prediction_id {{text}} NOT NULL,
    row_number {{integer}} NOT NULL,
    created_at_ms {{integer}} NOT NULL,
    request_id {{text}} NOT NULL,
    customer_id {{text}},
    churn_probability {{real}},
    churn_risk {{text}},
    estimated_clv {{real}},
    monthly_revenue {{real}},
    recommendation {{text}} NOT NULL,
    confidence {{text}},
    churn_version {{text}},
    churn_variant {{text}},
    clv_version {{text}},
    clv_variant {{text}},
    policy_version {{text}} NOT NULL,
    {", ".join(f"{column} {kind}" for column, kind in CUSTOMER_COLUMNS.items())},
    UNIQUE (prediction_id, row_number)
){{strict}}
"""
REPLIES: Final = (
    """
CREATE TABLE replies (
    key {text} PRIMARY KEY,
    fingerprint {bytes} NOT NULL,
    prediction_id {text} NOT NULL,
    degraded {text},
    body {bytes} NOT NULL,
    created_at_ms {integer} NOT NULL,
    expires_at_ms {integer} NOT NULL
){strict}
""",
    "CREATE INDEX replies_of_prediction ON replies (prediction_id)",
    "CREATE INDEX replies_by_age ON replies (expires_at_ms)",
)
INDEXES: Final = (
    # Has all that the statistics ask for: they read the index alone.
    "CREATE INDEX predictions_of_customer ON predictions (customer_id, id, churn_risk, estimated_clv, monthly_revenue)",
    "CREATE INDEX predictions_by_age ON predictions (created_at_ms)",
)

_KEEP: Final = f"""
INSERT INTO replies ({", ".join(KeptReply._fields)}) VALUES ({", ".join("?" * len(KeptReply._fields))})
ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in KeptReply._fields if name != "key")}
WHERE replies.expires_at_ms <= excluded.created_at_ms
"""
_KEPT: Final = f"SELECT {', '.join(KeptReply._fields)} FROM replies WHERE key = ? AND expires_at_ms > ?"
_FORGET_KEY: Final = "DELETE FROM replies WHERE key = ?"
_FORGET_PREDICTION: Final = "DELETE FROM replies WHERE prediction_id = ?"
_ERASE: Final = """
DELETE FROM predictions WHERE id IN (SELECT id FROM predictions WHERE customer_id = ? ORDER BY id LIMIT ?)
RETURNING prediction_id
"""
_EXPIRE_ROWS: Final = """
DELETE FROM predictions WHERE id IN
    (SELECT id FROM predictions WHERE created_at_ms < ? ORDER BY created_at_ms LIMIT ?)
"""
_EXPIRE_REPLIES: Final = """
DELETE FROM replies WHERE key IN (SELECT key FROM replies WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)
"""
IS_COMPLETE: Final = "churn_risk IS NOT NULL AND estimated_clv IS NOT NULL"
CELL_COLUMNS: Final = """churn_risk, state, international_plan, voice_mail_plan, customer_service_calls,
    total_day_minutes, total_day_charge, churn_probability, estimated_clv, monthly_revenue"""
_KEYS: Final = f"""churn_risk, state, international_plan = 'yes', voice_mail_plan = 'yes',
    customer_service_calls >= {MANY_SERVICE_CALLS},
    coalesce(total_day_minutes, total_day_charge / {RATES_USD_PER_MINUTE["day"]}) >= {HIGH_DAY_MINUTES}"""
_SUMS: Final = """count(*), sum(churn_probability), sum(estimated_clv), sum(churn_probability * estimated_clv),
    count(monthly_revenue), sum(monthly_revenue), sum(churn_probability * monthly_revenue)"""
_DAY_MS: Final = 86_400_000

# As much as some customers take, so that what is almost full does not pass for well. No request has an empty key.
_TRIAL: Final = KeptReply("", b"", "", None, bytes(65_536), 0, 0)


def definitions(statements: Iterable[str], types: Mapping[str, str]) -> list[str]:
    """Statements that define tables, in the words of one database."""
    return [statement.format_map(types) for statement in statements]


class SqlStore(ABC):
    """The steps; a database adds how it connects, begins, executes and takes in rows. See `Store`."""

    row_errors: ClassVar[tuple[type[Exception], ...]]

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Any]:
        """Commits at its end, or rolls back."""

    @abstractmethod
    def _execute(self, statement: str, values: Sequence[Any]) -> Any:
        """A cursor, with what the statement returned or how many rows it changed."""

    @abstractmethod
    def _insert(self, rows: Sequence[HistoryRow]) -> None:
        """Write the rows, in their order."""

    def commit(self, groups: Sequence[Group], claim: Callable[[], Sequence[bool]]) -> Sequence[KeptReply | None]:
        """See `Store.commit`."""
        first: list[KeptReply | None] = [None] * len(groups)
        with self._transaction():
            replies = [(group.reply, position) for position, group in enumerate(groups) if group.reply is not None]
            # In one order everywhere, so that two gateways never wait for each other's keys.
            replies.sort(key=lambda each: each[0].key)
            for reply, position in replies:
                first[position] = self._first_under_key(reply)
            wanted = claim()
            dropped = {reply.key for reply, position in replies if first[position] is None and not wanted[position]}
            for key in dropped:
                self._execute(_FORGET_KEY, (key,))
            for reply, position in replies:
                # Who came second under such a key may be the first now.
                if reply.key in dropped and wanted[position]:
                    first[position] = self._first_under_key(reply)
            self._insert(
                [
                    row
                    for group, other, is_wanted in zip(groups, first, wanted, strict=True)
                    if other is None and is_wanted
                    for row in group.rows
                ]
            )
        return first

    def _first_under_key(self, reply: KeptReply) -> KeptReply | None:
        """None: this one, which is kept now."""
        return None if self._keep(reply) else self.recall(reply.key, now_ms=reply.created_at_ms)

    def _keep(self, reply: KeptReply) -> bool:
        return bool(self._execute(_KEEP, reply).rowcount)

    def recall(self, key: str, *, now_ms: int) -> KeptReply | None:
        """See `Store.recall`."""
        found = self._execute(_KEPT, (key, now_ms)).fetchone()
        return None if found is None else KeptReply(*found)

    def erase_some(self, customer_id: str, *, limit: int) -> int:
        """See `Store.erase_some`."""
        with self._transaction():
            erased = [prediction_id for (prediction_id,) in self._execute(_ERASE, (customer_id, limit)).fetchall()]
            for prediction_id in sorted(set(erased)):
                self._execute(_FORGET_PREDICTION, (prediction_id,))
        return len(erased)

    def expire_some(self, *, rows_before_ms: int, now_ms: int, limit: int) -> int:
        """See `Store.expire_some`."""
        with self._transaction():
            n_rows: int = self._execute(_EXPIRE_ROWS, (rows_before_ms, limit)).rowcount
            n_replies: int = self._execute(_EXPIRE_REPLIES, (now_ms, limit)).rowcount
        return n_rows + n_replies

    def _prove_it_can_be_written(self) -> None:
        with self._transaction():
            self._keep(_TRIAL)
        with self._transaction():
            self._execute(_FORGET_KEY, (_TRIAL.key,))


def within(span: Span, *, column: str = "created_at_ms") -> tuple[str, tuple[int, ...]]:
    """The condition that a row is of the span, and the values for its placeholders."""
    limits = ((f"{column} >= ?", span.from_ms), (f"{column} < ?", span.before_ms))
    given = [(condition, value) for condition, value in limits if value is not None]
    return " AND ".join(["TRUE", *(condition for condition, _ in given)]), tuple(value for _, value in given)


def cells_of(rows: str) -> str:
    """The statement that sums up rows, given as what stands behind FROM, into cells."""
    return f"SELECT {_KEYS}, {_SUMS} FROM {rows} GROUP BY 1, 2, 3, 4, 5, 6"


def cell(row: Sequence[Any]) -> Cell:
    """A row of that: SQLite has no booleans, and says 0 and 1."""
    flags = (None if value is None else bool(value) for value in row[2:6])
    return Cell._make((*row[:2], *flags, *row[6:]))


def days_of(span: Span) -> tuple[str, tuple[int, ...]]:
    """The statement that counts the predictions of each day and tier, and its values."""
    condition, values = within(span)
    return (
        f"SELECT created_at_ms / {_DAY_MS}, churn_risk, count(*) FROM predictions "
        f"WHERE {IS_COMPLETE} AND {condition} GROUP BY 1, 2 ORDER BY 1, 2"
    ), values


def day_count(row: Sequence[Any]) -> DayCount:
    """A row of that."""
    return DayCount(*row)


def portfolio(figures: Sequence[Any]) -> PortfolioStats:
    """The statistics from a count, a mean, a sum and the counts of the tiers, as both databases select them."""
    count, avg_clv, revenue, high, medium, low = figures
    return PortfolioStats(
        total_customers=count,
        avg_clv=None if avg_clv is None else round(avg_clv, 2),
        monthly_revenue=None if revenue is None else round(revenue, 2),
        high_risk_customers=int(high),
        medium_risk_customers=int(medium),
        low_risk_customers=int(low),
    )
