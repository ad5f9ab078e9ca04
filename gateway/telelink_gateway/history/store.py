"""What the gateway remembers, and the interface of whatever keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One prediction for one customer. A batch shares its prediction id; `row_number` counts within it.

    Attributes:
        created_at_ms: Unix time in milliseconds.
        customer_json: the customer's fields as they were understood.
        churn_version, churn_variant, clv_version, clv_variant: what answered; None where that half is missing.
    """

    prediction_id: str
    row_number: int
    created_at_ms: int
    request_id: str
    customer_id: str | None
    customer_json: str
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

    async def add(self, rows: Sequence[HistoryRow]) -> bool:
        """Store the rows durably, all or none. False when they could not be stored; never raises for that."""
        ...

    async def stats(self) -> PortfolioStats:
        """The portfolio now.

        Raises:
            HistoryUnavailable: the store cannot be read.
        """
        ...
