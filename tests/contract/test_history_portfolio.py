"""Statistics and the portfolio, as either database reads them from the history."""

import pytest

from support.builders import a_customer, with_usage
from support.history import NO_CHURN, NO_CLV, ROW, SqliteFile, add, rows
from telelink_gateway.history import postgres, sqlite
from telelink_gateway.history.history import DAY_MS
from telelink_gateway.history.store import Cell, PortfolioStats, Span
from telelink_shared.customer import Customer, row_of
from telelink_shared.problem import HistoryUnavailable

# Statistics


async def test_an_empty_history_knows_nothing(history):
    assert await history.stats() == PortfolioStats(0, None, None, 0, 0, 0)


async def test_statistics_count_each_customers_latest_prediction(history):
    await add(history, rows({"customer_id": "a", "churn_risk": "High", "estimated_clv": 1.0, "monthly_revenue": 1.0}))
    await add(
        history,
        rows(
            {"customer_id": "a", "churn_risk": "Low", "estimated_clv": 1_000.0, "monthly_revenue": 10.0},
            {"customer_id": "b", "churn_risk": "Medium", "estimated_clv": 2_000.504, "monthly_revenue": 20.25},
            prediction_id="p2",
        ),
    )
    assert await history.stats() == PortfolioStats(2, 1_500.25, 30.25, 0, 1, 1)


async def test_a_prediction_with_a_missing_half_does_not_hide_the_last_complete_one(history):
    await add(history, rows({"customer_id": "a", "churn_risk": "High", "estimated_clv": 1_000.0}))
    await add(history, rows({"customer_id": "a", **NO_CLV}, {"customer_id": "a", **NO_CHURN}, prediction_id="p2"))
    await add(history, rows({"customer_id": "b", **NO_CHURN}, prediction_id="p3"))
    assert await history.stats() == PortfolioStats(1, 1_000.0, 60.0, 1, 0, 0)


async def test_customers_without_an_id_each_count(history):
    await add(history, rows({"customer_id": None}, {"customer_id": None}, {"customer_id": None, **NO_CLV}))
    assert (await history.stats()).total_customers == 2


async def test_revenue_is_the_sum_of_what_is_known_and_null_when_nothing_is(history):
    await add(history, rows({"customer_id": "a", "monthly_revenue": None}))
    assert (await history.stats()).monthly_revenue is None
    await add(history, rows({"customer_id": "b", "monthly_revenue": 12.5}, prediction_id="p2"))
    assert (await history.stats()).monthly_revenue == 12.5


def test_statistics_are_read_from_an_index_alone(database):
    store = database.store()
    store.open()
    try:
        if isinstance(database, SqliteFile):
            plan = str(store._connection.execute(f"EXPLAIN QUERY PLAN {sqlite.STATS}").fetchall())
            assert plan.count("COVERING INDEX predictions_of_customer") == 2
        else:
            # Of an empty table the server would rather read all.
            store._connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
            plan = str(store._connection.execute(f"EXPLAIN {postgres.STATS}").fetchall())
            assert plan.count("Index Only Scan using predictions_of_customer") == 2
    finally:
        store.close()


# The portfolio


ALWAYS = Span()

_NOON_MS = ROW.created_at_ms - ROW.created_at_ms % DAY_MS + DAY_MS // 2

_DAY = _NOON_MS // DAY_MS


def usual(**fields):
    """A customer with these columns instead."""
    return row_of(Customer.model_validate(with_usage(state="OH", internationalPlan="no", **fields)))


async def cells(history, span=ALWAYS):
    return sorted((await history.portfolio(span)).cells)


async def test_an_empty_history_has_no_portfolio(history):
    assert await history.portfolio(Span()) == ([], [])


async def test_the_portfolio_sums_up_customers_who_are_alike(history):
    one = {"churn_probability": 0.5, "churn_risk": "High", "estimated_clv": 100.0, "monthly_revenue": 40.0}
    other = one | {"churn_probability": 0.75, "estimated_clv": 300.0, "monthly_revenue": None}
    caller = {"customer": usual(customerServiceCalls=4, voiceMailPlan="yes", totalDayMinutes=240)}
    quiet = {"customer": usual(customerServiceCalls=3, voiceMailPlan="no", totalDayMinutes=239.9)}
    await add(
        history,
        rows(
            {"customer_id": "a", **one, **caller},
            {"customer_id": "b", **other, **caller},
            {"customer_id": "c", **quiet},
        ),
    )
    alike, alone = await cells(history)
    assert alike == Cell("High", "OH", False, True, True, True, 2, 1.25, 400.0, 275.0, 1, 40.0, 20.0)
    assert alone == Cell("Medium", "OH", False, False, False, False, 1, 0.25, 10_000.0, 2_500.0, 1, 60.0, 15.0)
    assert [type(value) for value in alone] == [type(value) for value in alike]


async def test_use_by_day_is_known_from_its_charge_or_is_not_known(history):
    from_charge = usual()[:-8] + (None,) * 4 + (41.0, None, None, None)
    unknown = row_of(Customer.model_validate(a_customer()))
    await add(history, rows({"customer_id": None, "customer": from_charge}, {"customer_id": None, "customer": unknown}))
    assert sorted(str(cell.has_high_day_use) for cell in await cells(history)) == ["None", "True"]


async def test_a_customer_counts_by_the_latest_complete_prediction_of_the_span(history):
    def made(risk, days_later, **more):
        return {"customer_id": "a", "churn_risk": risk, "created_at_ms": _NOON_MS + days_later * DAY_MS} | more

    await add(history, rows(made("High", 0), made("Medium", 1), made("Low", 2), made("High", 3, **NO_CLV)))
    await add(history, rows({"customer_id": None}, {"customer_id": None}, {**NO_CHURN}, prediction_id="p2"))

    async def risks(first, before):
        span = Span(_NOON_MS + first * DAY_MS, _NOON_MS + before * DAY_MS)
        return [(cell.churn_risk, cell.customers) for cell in await cells(history, span)]

    assert [(cell.churn_risk, cell.customers) for cell in await cells(history)] == [("Low", 1), ("Medium", 2)]
    assert await risks(1, 4) == [("Low", 1)]
    assert await risks(1, 2) == [("Medium", 1)]
    assert await risks(3, 4) == []


async def test_predictions_are_counted_by_day_and_tier(history):
    midnight = _DAY * DAY_MS
    await add(
        history,
        rows(
            {"created_at_ms": midnight - 1},
            {"created_at_ms": midnight},
            {"created_at_ms": midnight + DAY_MS - 1},
            {"created_at_ms": midnight + DAY_MS - 1, "churn_risk": "High"},
            {"created_at_ms": midnight, **NO_CLV},
            {"created_at_ms": midnight + DAY_MS},
        ),
    )
    assert (await history.portfolio(Span())).days == [
        (_DAY - 1, "Medium", 1), (_DAY, "High", 1), (_DAY, "Medium", 2), (_DAY + 1, "Medium", 1),
    ]  # fmt: skip
    assert (await history.portfolio(Span(midnight, midnight + DAY_MS))).days == [
        (_DAY, "High", 1), (_DAY, "Medium", 2),
    ]  # fmt: skip


async def test_the_parts_that_a_long_history_is_read_in_make_the_same_portfolio(history, monkeypatch):
    monkeypatch.setattr(sqlite, "_ROWS_PER_READ", 2)
    await add(history, rows(*[{"customer_id": f"c{number % 4}"} for number in range(9)]))
    assert sum(cell.customers for cell in await cells(history)) == 4


async def test_a_history_that_cannot_be_read_is_one_of_our_problems(history, database):
    database.ask("DROP TABLE predictions")
    with pytest.raises(HistoryUnavailable):
        await history.portfolio(Span())
    with pytest.raises(HistoryUnavailable) as problem:
        await history.stats()
    assert (problem.value.status, problem.value.code) == (503, "history_unavailable")
    assert "predictions" not in problem.value.detail
    assert await add(history, rows({})) is False
    assert not history.is_storing
