"""What the gateway remembers, and the interface of whatever keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

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


class HistoryStore(Protocol):
    """Keeps predictions."""

    async def add(self, rows: Sequence[HistoryRow], *, deadline: float) -> bool:
        """Store the rows, all or none, so that they outlive this process. False when that failed; never raises for it.

        Args:
            deadline: on the event loop's clock; what is not stored by then is given up.
        """
        ...

    async def stats(self) -> PortfolioStats:
        """The portfolio now.

        Raises:
            HistoryUnavailable: the store cannot be read.
        """
        ...
