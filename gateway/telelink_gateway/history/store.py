"""What the gateway remembers, and the interface of the databases that keep it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Protocol

from telelink_shared.customer import Row


class HistoryRow(NamedTuple):
    """One prediction for one customer. A batch shares its prediction id; `row_number` counts within it.

    Attributes:
        created_at_ms: Unix time in milliseconds.
        customer: the customer's values as they were understood, in the order of `COLUMNS`.
        churn_version, churn_variant, clv_version, clv_variant: what answered; None where that half is missing.
    """

    prediction_id: str
    row_number: int
    created_at_ms: int
    request_id: str
    customer_id: str | None
    churn_probability: float | None
    churn_risk: str | None
    estimated_clv: float | None
    monthly_revenue: float | None
    recommendation: str
    confidence: str | None
    churn_version: str | None
    churn_variant: str | None
    clv_version: str | None
    clv_variant: str | None
    policy_version: str
    customer: Row


class KeptReply(NamedTuple):
    """What is told to whoever repeats a request under its Idempotency-Key.

    Attributes:
        fingerprint: SHA-256 of what was asked; another one under the same key is another request.
        degraded: the models that did not answer, as `X-Degraded` has it.
        created_at_ms, expires_at_ms: Unix time in milliseconds.
    """

    key: str
    fingerprint: bytes
    prediction_id: str
    degraded: str | None
    body: bytes
    created_at_ms: int
    expires_at_ms: int


class Group(NamedTuple):
    """What is stored all or none: the rows of one request, with the reply if that carried a key."""

    rows: Sequence[HistoryRow]
    reply: KeptReply | None = None


@dataclass(frozen=True)
class PortfolioStats:
    """The portfolio as the latest complete prediction of each customer shows it. None: not known.

    Customers without an id cannot be told apart, so each of their predictions counts as a customer.
    """

    total_customers: int
    avg_clv: float | None
    monthly_revenue: float | None
    high_risk_customers: int
    medium_risk_customers: int
    low_risk_customers: int


MANY_SERVICE_CALLS: Final = 4
HIGH_DAY_MINUTES: Final = 240.0
"""From these on, `Cell` has a customer as one who calls often, or has much use by day."""


class Span(NamedTuple):
    """Moments from the first on and before the second, as Unix time in milliseconds; None: no limit on that side."""

    from_ms: int | None = None
    before_ms: int | None = None


class Cell(NamedTuple):
    """Customers who are alike in what the first six say, each by the latest complete prediction; sums over them.

    Attributes:
        has_high_day_use: None where neither minutes nor charge of the day are known.
        clv, at_risk, revenue, revenue_at_risk: US dollars; what is at risk is multiplied by the churn probability.
        billed: customers whose monthly revenue is known.
    """

    churn_risk: str
    state: str
    has_international_plan: bool
    has_voice_mail_plan: bool
    has_many_service_calls: bool
    has_high_day_use: bool | None
    customers: int
    probability: float
    clv: float
    at_risk: float
    billed: int
    revenue: float | None
    revenue_at_risk: float | None


class DayCount(NamedTuple):
    """How many predictions of one tier were made on a day, counted in days since 1970 by UTC."""

    day: int
    churn_risk: str
    predictions: int


class PortfolioReading(NamedTuple):
    """What the portfolio of a span is computed from; nothing in it is about one customer by name."""

    cells: Sequence[Cell]
    days: Sequence[DayCount]


class Store(Protocol):
    """A database. All of it is called by one thread at a time, `read_stats` and `read_portfolio` by others beside it.

    Attributes:
        row_errors: what a statement raises when its values are at fault, not the database.
    """

    row_errors: ClassVar[tuple[type[Exception], ...]]

    def open(self) -> None:
        """Connect, make or migrate the tables, and prove that they can be written.

        Raises:
            StartupError: not without a change of the settings, or of what they lead to.
            Exception: not now.
        """
        ...

    def close(self) -> None:
        """Let go of the connection, whatever state it is in."""
        ...

    def commit(self, groups: Sequence[Group], claim: Callable[[], Sequence[bool]]) -> Sequence[KeptReply | None]:
        """Write the groups in one transaction, or raise and write none.

        A group whose key is already taken is not written. Returned is, for each group, the reply that took it first.

        Args:
            claim: asked once, when all waiting for others is over; tells of each group whether it is to be written.
        """
        ...

    def recall(self, key: str, *, now_ms: int) -> KeptReply | None:
        """The reply that is kept under a key."""
        ...

    def erase_some(self, customer_id: str, *, limit: int) -> int:
        """Remove at most so many rows of a customer, with the replies that were kept for them; tells how many rows."""
        ...

    def expire_some(self, *, rows_before_ms: int, now_ms: int, limit: int) -> int:
        """Remove at most so many rows that are older, and as many replies that have expired; tells how many of both."""
        ...

    def scrub(self) -> None:
        """See to it that what was erased is not found in the database's files either, as far as it can."""
        ...

    def tidy_up(self) -> None:
        """What need not be done while anybody waits; called after each commit."""
        ...

    def check(self) -> None:
        """Raise what a commit would raise, as far as that is seen without writing."""
        ...

    def read_stats(self) -> PortfolioStats:
        """The portfolio now, over a connection of its own."""
        ...

    def read_portfolio(self, span: Span) -> PortfolioReading:
        """The predictions of a span as they are now, over a connection of its own."""
        ...
