"""GET /stats: the portfolio, computed from history. What is not known is null."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from telelink_gateway.resources import Uses

router = APIRouter(tags=["portfolio"])


class StatsReply(BaseModel):
    """Customers by their latest prediction. Nobody tells this system who left, so what rests on that is null."""

    total_customers: int = Field(description="Customers with a complete prediction; each one without an id counts")
    active_customers: int | None = Field(description="Null: outcomes are not reported to this system")
    churned_customers: int | None = Field(description="Null: outcomes are not reported to this system")
    churn_rate: float | None = Field(description="Null: outcomes are not reported to this system")
    avg_clv: float | None = Field(description="US dollars")
    monthly_revenue: float | None = Field(description="US dollars; sum of the bills of customers whose usage is known")
    high_risk_customers: int
    medium_risk_customers: int
    low_risk_customers: int


@router.get("/stats")
async def stats(uses: Uses) -> StatsReply:
    """The portfolio as the predictions so far show it."""
    portfolio = await uses.history.stats()
    return StatsReply(
        total_customers=portfolio.total_customers,
        active_customers=None,
        churned_customers=None,
        churn_rate=None,
        avg_clv=portfolio.avg_clv,
        monthly_revenue=portfolio.monthly_revenue,
        high_risk_customers=portfolio.high_risk_customers,
        medium_risk_customers=portfolio.medium_risk_customers,
        low_risk_customers=portfolio.low_risk_customers,
    )
