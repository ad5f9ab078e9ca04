"""GET /v1/portfolio: all customers together, computed from history. What is not known is null."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from telelink_gateway.history.store import HIGH_DAY_MINUTES, MANY_SERVICE_CALLS
from telelink_gateway.portfolio import FORECAST_MONTHS, Portfolio, Tier, Trait, portfolio_of, span_of
from telelink_gateway.resources import Uses
from telelink_shared.problem import FieldError, InvalidInput

router = APIRouter(prefix="/v1", tags=["portfolio"])


class _Reply(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class GroupReply(_Reply):
    """Customers together. Money in US dollars."""

    customers: int
    mean_churn_probability: float | None
    avg_clv: float | None
    value_at_risk: float = Field(description="Sum of churn probability times lifetime value")
    monthly_revenue: float | None = Field(description="Of those customers whose usage is known")
    customers_with_revenue: int = Field(description="Those customers")


class TierReply(GroupReply):
    """Customers of one tier."""

    tier: Tier


class BucketReply(_Reply):
    """Complete predictions made from one day to another, both included; a customer may have several."""

    first_day: date = Field(serialization_alias="from")
    last_day: date = Field(serialization_alias="to")
    predictions: int
    high: int
    medium: int
    low: int


class OverTimeReply(_Reply):
    """Predictions by the days on which they were made, by UTC."""

    bucket_days: int = Field(description="Days in a bucket; the last one ends with the span")
    buckets: list[BucketReply]


class StateReply(_Reply):
    """Customers of one state."""

    state: str
    customers: int
    high_risk_customers: int
    value_at_risk: float = Field(description="US dollars")


class ShareReply(_Reply):
    """Customers with, or without, a trait."""

    customers: int
    mean_churn_probability: float | None


class TraitReply(_Reply):
    """Customers with a trait beside those without. They differ in more than the trait: this tells no cause."""

    trait: Trait
    description: str
    having: ShareReply = Field(serialization_alias="with")
    lacking: ShareReply = Field(serialization_alias="without")
    unknown: int = Field(description="Customers of whom it is not known")


class MonthReply(_Reply):
    """Expected monthly revenue after so many months."""

    month: int
    expected_revenue: float = Field(description="US dollars in that month")


class Assumption(BaseModel):
    """Something that a forecast takes for true without knowing it."""

    code: Literal["churn_horizon", "even_departures", "unchanged_otherwise", "known_revenue_only"]
    text: str


class ForecastReply(BaseModel):
    """Expected revenue of today's customers."""

    months: list[MonthReply] = Field(description="Empty where no customer's revenue is known")
    assumptions: list[Assumption]


class PortfolioReply(BaseModel):
    """Each customer counts once, by the latest complete prediction of the span; each without an id counts."""

    as_of: datetime = Field(description="When this was told; with much history, figures may be some minutes older")
    first_day: date | None = Field(serialization_alias="from", description="As asked for; null: no limit")
    last_day: date | None = Field(serialization_alias="to", description="As asked for; null: no limit")
    total: GroupReply
    tiers: list[TierReply]
    over_time: OverTimeReply
    states: list[StateReply] = Field(description="Most value at risk first")
    traits: list[TraitReply]
    forecast: ForecastReply


_DESCRIPTIONS: Final[dict[Trait, str]] = {
    "international_plan": "Has the international plan",
    "voice_mail_plan": "Has the voice mail plan",
    "many_service_calls": f"Called customer service {MANY_SERVICE_CALLS} times or more",
    "high_day_use": f"Has {HIGH_DAY_MINUTES:.0f} minutes of use by day or more",
}


def _assumptions(portfolio: Portfolio) -> list[Assumption]:
    total = portfolio.total
    return [
        Assumption(
            code="churn_horizon",
            text="The churn probability is taken as the chance to leave within "
            f"{FORECAST_MONTHS} months. The model does not say within which time customers leave: its training data "
            "tells who left, and not when.",
        ),
        Assumption(
            code="even_departures",
            text="Departures spread evenly: after m months a customer has left with a chance of m / "
            f"{FORECAST_MONTHS} times the churn probability.",
        ),
        Assumption(
            code="unchanged_otherwise",
            text="Those who stay pay what they pay now, nobody new comes, and nothing is done about those at risk.",
        ),
        Assumption(
            code="known_revenue_only",
            text=f"The revenue of {total.customers_with_revenue:,} of {total.customers:,} customers is known, from "
            "their usage; the others are left out.",
        ),
    ]


@router.get("/portfolio")
async def portfolio(
    uses: Uses,
    first_day: Annotated[date | None, Query(alias="from", description="First day, by UTC; without it, all")] = None,
    last_day: Annotated[date | None, Query(alias="to", description="Last day, by UTC; without it, to now")] = None,
) -> PortfolioReply:
    """Tiers, value at risk, states, traits and a revenue forecast of the customers that were predicted in a span."""
    if first_day is not None and last_day is not None and first_day > last_day:
        raise InvalidInput("The span ends before it begins.", errors=[FieldError("", "bad_span", "to is before from")])
    now = datetime.now(UTC)
    reading = await uses.history.portfolio(span_of(first_day, last_day, today=now.date()))
    found = portfolio_of(reading, first_day=first_day, last_day=last_day, today=now.date())
    return PortfolioReply(
        as_of=now,
        first_day=first_day,
        last_day=last_day,
        total=GroupReply.model_validate(found.total),
        tiers=[TierReply.model_validate(each) for each in found.tiers],
        over_time=OverTimeReply(
            bucket_days=found.bucket_days, buckets=[BucketReply.model_validate(each) for each in found.over_time]
        ),
        states=[StateReply.model_validate(each) for each in found.states],
        traits=[
            TraitReply.model_validate({**vars(each), "description": _DESCRIPTIONS[each.trait]}) for each in found.traits
        ],
        forecast=ForecastReply(
            months=[MonthReply.model_validate(each) for each in found.forecast], assumptions=_assumptions(found)
        ),
    )
