"""The portfolio's figures from what was read, each worked by hand."""

from datetime import date

import pytest

from telelink_gateway.history.store import Cell, DayCount, PortfolioReading, Span
from telelink_gateway.portfolio import Month, Share, portfolio_of, span_of

TODAY = date(2026, 11, 25)
EPOCH = date(1970, 1, 1)
DAY_MS = 86_400_000
# Two customers, of 0.5 and 0.7, worth 100 and 300 dollars; one pays 40 dollars a month, of the other it is not known.
HIGH = Cell("High", "OH", True, False, True, None, 2, 1.2, 400.0, 260.0, 1, 40.0, 20.0)
LOW = Cell("Low", "OH", False, False, False, False, 1, 0.1, 50.0, 5.0, 1, 60.0, 6.0)
ELSEWHERE = Cell("Low", "AK", False, True, False, True, 1, 0.1, 4_000.0, 400.0, 0, None, None)


def ordinal(day):
    return (day - EPOCH).days


def told(cells=(), days=(), **span):
    return portfolio_of(PortfolioReading(cells, days), **{"first_day": None, "last_day": None, "today": TODAY} | span)


def test_nothing_is_invented_for_nobody():
    empty = told()
    assert (empty.total.customers, empty.total.value_at_risk) == (0, 0.0)
    assert (empty.total.avg_clv, empty.total.monthly_revenue, empty.total.mean_churn_probability) == (None, None, None)
    assert [tier.customers for tier in empty.tiers] == [0, 0, 0]
    assert (empty.over_time, empty.states, empty.forecast) == ([], [], [])


def test_customers_value_and_revenue_add_up_in_all_and_by_tier():
    found = told([HIGH, LOW, ELSEWHERE])
    assert vars(found.total) == {
        "customers": 4,
        "mean_churn_probability": 0.35,
        "avg_clv": 1_112.5,
        "value_at_risk": 665.0,
        "monthly_revenue": 100.0,
        "customers_with_revenue": 2,
    }
    high, medium, low = found.tiers
    assert (high.tier, high.customers, high.avg_clv, high.value_at_risk, high.monthly_revenue) == (
        "High", 2, 200.0, 260.0, 40.0,
    )  # fmt: skip
    assert (medium.tier, medium.customers, medium.monthly_revenue) == ("Medium", 0, None)
    assert (low.tier, low.customers, low.value_at_risk, low.customers_with_revenue) == ("Low", 2, 405.0, 1)


def test_a_year_from_now_each_customers_revenue_is_expected_times_the_chance_to_stay():
    forecast = told([HIGH, LOW, ELSEWHERE]).forecast
    # 100 dollars now, of which 26 are lost by then; a twelfth of that each month.
    assert forecast[0] == Month(1, 97.83)
    assert forecast[5] == Month(6, 87.0)
    assert forecast[11] == Month(12, 74.0)
    assert len(forecast) == 12


def test_where_no_revenue_is_known_none_is_expected():
    found = told([ELSEWHERE])
    assert (found.total.monthly_revenue, found.forecast) == (None, [])


def test_states_come_with_most_value_at_risk_first():
    found = told([HIGH, LOW, ELSEWHERE]).states
    assert [(each.state, each.customers, each.high_risk_customers, each.value_at_risk) for each in found] == [
        ("AK", 1, 0, 400.0),
        ("OH", 3, 2, 265.0),
    ]


def test_a_trait_is_told_of_those_of_whom_it_is_known():
    traits = {each.trait: each for each in told([HIGH, LOW, ELSEWHERE]).traits}
    assert traits["international_plan"].having == Share(2, 0.6)
    assert traits["international_plan"].lacking == Share(2, 0.1)
    assert traits["voice_mail_plan"].having == Share(1, 0.1)
    assert traits["many_service_calls"].having == Share(2, 0.6)
    day = traits["high_day_use"]
    assert (day.having, day.lacking, day.unknown) == (Share(1, 0.1), Share(1, 0.1), 2)
    assert {each.having.mean_churn_probability for each in told().traits} == {None}


def counts(*days):
    return [DayCount(ordinal(day), "High", 1) for day in days]


def test_days_without_predictions_are_among_the_days_of_a_span():
    days = [DayCount(ordinal(date(2026, 11, 3)), "High", 2), DayCount(ordinal(date(2026, 11, 3)), "Low", 5)]
    found = told(days=days, first_day=date(2026, 11, 2), last_day=date(2026, 11, 4))
    assert found.bucket_days == 1
    assert [(each.first_day.day, each.predictions, each.high, each.medium, each.low) for each in found.over_time] == [
        (2, 0, 0, 0, 0),
        (3, 7, 2, 0, 5),
        (4, 0, 0, 0, 0),
    ]


@pytest.mark.parametrize(
    ("first", "bucket_days", "n"),
    [
        (date(2026, 9, 27), 1, 60),
        (date(2026, 9, 26), 7, 9),
        (date(2025, 10, 2), 7, 60),
        (date(2025, 9, 1), 28, 17),
        (date(2010, 1, 1), 364, 17),
    ],
)
def test_a_longer_span_has_longer_buckets_and_never_too_many(first, bucket_days, n):
    found = told(days=counts(first, TODAY))
    assert (found.bucket_days, len(found.over_time)) == (bucket_days, n)
    assert (found.over_time[0].first_day, found.over_time[-1].last_day) == (first, TODAY)
    assert sum(each.predictions for each in found.over_time) == 2


def test_a_span_that_ends_in_the_future_ends_today():
    found = told(days=counts(date(2026, 11, 24)), last_day=date(9999, 12, 31))
    assert found.over_time[-1].last_day == TODAY


def test_a_day_lasts_from_midnight_to_midnight_by_utc_and_today_is_open():
    yesterday = ordinal(date(2026, 11, 24)) * DAY_MS
    assert span_of(date(2026, 11, 24), date(2026, 11, 24), today=TODAY) == Span(yesterday, yesterday + DAY_MS)
    assert span_of(None, TODAY, today=TODAY) == span_of(None, date.max, today=TODAY) == Span(None, None)
    assert span_of(date.min, None, today=TODAY).before_ms is None
