"""What the history shows of all customers together: tiers, value at risk, states, a revenue forecast. Knows no HTTP."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from telelink_gateway.history.store import Cell, DayCount, PortfolioReading, Span

Tier = Literal["High", "Medium", "Low"]
Trait = Literal["international_plan", "voice_mail_plan", "many_service_calls", "high_day_use"]

TIERS: Final[tuple[Tier, ...]] = ("High", "Medium", "Low")
FORECAST_MONTHS: Final = 12
# Days, weeks, four weeks or a year of weeks in one bar, the first that makes no more bars than a chart has room for.
_BUCKET_DAYS: Final = (1, 7, 28, 364)
_MOST_BUCKETS: Final = 60
_DAY: Final = timedelta(days=1)
_EPOCH: Final = date(1970, 1, 1)
_TRAITS: Final[dict[Trait, Callable[[Cell], bool | None]]] = {
    "international_plan": lambda cell: cell.has_international_plan,
    "voice_mail_plan": lambda cell: cell.has_voice_mail_plan,
    "many_service_calls": lambda cell: cell.has_many_service_calls,
    "high_day_use": lambda cell: cell.has_high_day_use,
}


@dataclass(frozen=True)
class Group:
    """Customers together; money in US dollars. None: not known, or a mean over nobody.

    Attributes:
        value_at_risk: sum of churn probability times lifetime value.
        customers_with_revenue: those whose monthly revenue is known; the revenue is theirs alone.
    """

    customers: int
    mean_churn_probability: float | None
    avg_clv: float | None
    value_at_risk: float
    monthly_revenue: float | None
    customers_with_revenue: int


@dataclass(frozen=True)
class TierGroup(Group):
    """Customers of one tier."""

    tier: Tier


@dataclass(frozen=True)
class Bucket:
    """Complete predictions made from one day to another, both included, by their tier."""

    first_day: date
    last_day: date
    predictions: int
    high: int
    medium: int
    low: int


@dataclass(frozen=True)
class StateGroup:
    """Customers of one state."""

    state: str
    customers: int
    high_risk_customers: int
    value_at_risk: float


@dataclass(frozen=True)
class Share:
    """Customers with, or without, a trait."""

    customers: int
    mean_churn_probability: float | None


@dataclass(frozen=True)
class TraitGroups:
    """How likely to leave customers with a trait are, and those without. Says nothing about causes.

    Attributes:
        unknown: customers of whom it is not known whether they have it.
    """

    trait: Trait
    having: Share
    lacking: Share
    unknown: int


@dataclass(frozen=True)
class Month:
    """Expected monthly revenue after so many months, in US dollars."""

    month: int
    expected_revenue: float


@dataclass(frozen=True)
class Portfolio:
    """All of it, each customer by the latest complete prediction of the span.

    Attributes:
        bucket_days: how many days a bucket has; the last may be cut short by the end of the span.
        forecast: empty where no customer's revenue is known.
    """

    total: Group
    tiers: Sequence[TierGroup]
    bucket_days: int
    over_time: Sequence[Bucket]
    states: Sequence[StateGroup]
    traits: Sequence[TraitGroups]
    forecast: Sequence[Month]


def span_of(first_day: date | None, last_day: date | None, *, today: date) -> Span:
    """From the beginning of one day to the end of another, by UTC. A day that is not over is as open as no end."""
    is_over = last_day is not None and last_day < today
    return Span(
        None if first_day is None else _ms(first_day),
        _ms(last_day + _DAY) if last_day is not None and is_over else None,
    )


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000


def portfolio_of(reading: PortfolioReading, *, first_day: date | None, last_day: date | None, today: date) -> Portfolio:
    """The figures of a span.

    Args:
        first_day, last_day: of the span; None: of the first prediction, and of the last. After today nothing is told.
    """
    cells = reading.cells
    days = [_EPOCH + timedelta(days=each.day) for each in reading.days]
    bucket_days, over_time = 1, list[Bucket]()
    if days:
        first_day = first_day or min(days)
        last_day = max(days) if last_day is None else max(min(last_day, today), max(days))
        n_days = (last_day - first_day).days + 1
        bucket_days = next((each for each in _BUCKET_DAYS if n_days <= each * _MOST_BUCKETS), _BUCKET_DAYS[-1])
        over_time = _buckets(reading.days, first_day, last_day, bucket_days)
    return Portfolio(
        total=_group(cells),
        tiers=[_tier(tier, [cell for cell in cells if cell.churn_risk == tier]) for tier in TIERS],
        bucket_days=bucket_days,
        over_time=over_time,
        states=_states(cells),
        traits=[_trait(trait, cells) for trait in _TRAITS],
        forecast=_forecast(cells),
    )


def _mean(total: float, n: int, *, digits: int) -> float | None:
    return round(total / n, digits) if n else None


def _group(cells: Iterable[Cell]) -> Group:
    cells = list(cells)
    n, billed = sum(cell.customers for cell in cells), sum(cell.billed for cell in cells)
    return Group(
        customers=n,
        mean_churn_probability=_mean(sum(cell.probability for cell in cells), n, digits=6),
        avg_clv=_mean(sum(cell.clv for cell in cells), n, digits=2),
        value_at_risk=round(sum(cell.at_risk for cell in cells), 2),
        monthly_revenue=round(sum(cell.revenue or 0.0 for cell in cells), 2) if billed else None,
        customers_with_revenue=billed,
    )


def _tier(tier: Tier, cells: Iterable[Cell]) -> TierGroup:
    return TierGroup(**vars(_group(cells)), tier=tier)


def _buckets(counts: Sequence[DayCount], first_day: date, last_day: date, bucket_days: int) -> list[Bucket]:
    by_bucket: dict[int, Counter[str]] = defaultdict(Counter)
    for each in counts:
        by_bucket[((_EPOCH + timedelta(days=each.day)) - first_day).days // bucket_days][each.churn_risk] += (
            each.predictions
        )
    buckets = []
    for position in range((last_day - first_day).days // bucket_days + 1):
        start = first_day + timedelta(days=position * bucket_days)
        end, counted = min(start + timedelta(days=bucket_days - 1), last_day), by_bucket[position]
        buckets.append(Bucket(start, end, counted.total(), counted["High"], counted["Medium"], counted["Low"]))
    return buckets


def _states(cells: Iterable[Cell]) -> list[StateGroup]:
    """The states that have customers, those with most value at risk first."""
    by_state: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_state[cell.state].append(cell)
    groups = [
        StateGroup(
            state=state,
            customers=sum(cell.customers for cell in its),
            high_risk_customers=sum(cell.customers for cell in its if cell.churn_risk == "High"),
            value_at_risk=round(sum(cell.at_risk for cell in its), 2),
        )
        for state, its in by_state.items()
    ]
    return sorted(groups, key=lambda group: (-group.value_at_risk, group.state))


def _share(cells: Iterable[Cell]) -> Share:
    cells = list(cells)
    n = sum(cell.customers for cell in cells)
    return Share(n, _mean(sum(cell.probability for cell in cells), n, digits=6))


def _trait(trait: Trait, cells: Sequence[Cell]) -> TraitGroups:
    has = _TRAITS[trait]
    return TraitGroups(
        trait=trait,
        having=_share(cell for cell in cells if has(cell) is True),
        lacking=_share(cell for cell in cells if has(cell) is False),
        unknown=sum(cell.customers for cell in cells if has(cell) is None),
    )


def _forecast(cells: Sequence[Cell]) -> list[Month]:
    """Today's revenue times the chance to stay, which falls on a straight line to one less the churn probability."""
    if not any(cell.billed for cell in cells):
        return []
    revenue = sum(cell.revenue or 0.0 for cell in cells)
    at_risk = sum(cell.revenue_at_risk or 0.0 for cell in cells)
    return [
        Month(month, round(revenue - at_risk * month / FORECAST_MONTHS, 2)) for month in range(1, FORECAST_MONTHS + 1)
    ]
