"""The history in a real SQLite file."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from telelink_gateway.history.sqlite import HistoryUnavailable, open_sqlite_history
from telelink_gateway.history.store import HistoryRow, PortfolioStats
from telelink_shared.web.startup import StartupError

ROW = HistoryRow(
    prediction_id="p1",
    row_number=0,
    created_at_ms=1_700_000_000_000,
    request_id="r1",
    customer_id="c1",
    customer_json='{"state":"OH"}',
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
)
NO_CHURN = {"churn_probability": None, "churn_risk": None, "confidence": None, "churn_version": None}
NO_CLV = {"estimated_clv": None, "monthly_revenue": None, "clv_version": None}


def rows(*changes, prediction_id="p1"):
    """Rows of one prediction, each with these fields instead."""
    return [replace(ROW, prediction_id=prediction_id, row_number=i, **each) for i, each in enumerate(changes)]


def stored(path):
    """What another program finds in the file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT prediction_id, row_number FROM predictions ORDER BY id").fetchall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "history.db"


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
async def history(path, registry):
    async with open_sqlite_history(path, registry) as running:
        yield running


async def test_rows_are_on_disk_when_add_returns(history, path):
    assert await history.add(rows({}, {"customer_id": None}))
    assert stored(path) == [("p1", 0), ("p1", 1)]


async def test_rows_are_kept_all_or_none(history, path, registry):
    assert await history.add(rows({}))
    again = [*rows({}, {}, prediction_id="p2"), *rows({})]
    assert await history.add(again) is False
    assert stored(path) == [("p1", 0)]
    outcomes = {
        outcome: registry.get_sample_value("history_rows_total", {"outcome": outcome}) for outcome in ("stored", "lost")
    }
    assert outcomes == {"stored": 1.0, "lost": 3.0}
    assert await history.add(rows({}, prediction_id="p3"))


async def test_a_locked_file_loses_rows_without_raising_and_heals(history, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await history.add(rows({})) is False
        other.execute("ROLLBACK")
    assert await history.add(rows({}, prediction_id="p2"))
    assert stored(path) == [("p2", 0)]


async def test_what_is_there_survives_a_restart(path):
    for number in (1, 2):
        async with open_sqlite_history(path, CollectorRegistry()) as history:
            assert await history.add(rows({}, prediction_id=f"p{number}"))
    assert stored(path) == [("p1", 0), ("p2", 0)]


async def test_two_gateways_may_share_a_file(path):
    async with (
        open_sqlite_history(path, CollectorRegistry()) as one,
        open_sqlite_history(path, CollectorRegistry()) as other,
    ):
        assert await asyncio.gather(one.add(rows({})), other.add(rows({}, prediction_id="p2"))) == [True, True]
    assert sorted(stored(path)) == [("p1", 0), ("p2", 0)]


async def refusal(path):
    with pytest.raises(StartupError) as refused:
        async with open_sqlite_history(path, CollectorRegistry()):
            pytest.fail("the block must not begin")
    return str(refused.value)


async def test_a_file_of_another_schema_stops_the_start_with_one_line_and_is_left_alone(tmp_path):
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    reason = await refusal(path)
    assert "schema 99" in reason
    assert "\n" not in reason
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


async def test_a_file_that_is_no_database_stops_the_start_with_one_line_that_names_the_setting(tmp_path):
    path = tmp_path / "history.db"
    path.write_bytes(b"no database" * 100)
    reason = await refusal(path)
    assert str(path) in reason
    assert "TELELINK_HISTORY_URL" in reason
    assert "\n" not in reason


async def test_a_folder_that_cannot_be_made_stops_the_start_with_one_line(tmp_path):
    (tmp_path / "file").touch()
    reason = await refusal(tmp_path / "file" / "history.db")
    assert "TELELINK_HISTORY_URL" in reason
    assert "\n" not in reason


async def test_an_empty_history_knows_nothing(history):
    assert await history.stats() == PortfolioStats(0, None, None, 0, 0, 0)


async def test_statistics_count_each_customers_latest_prediction(history):
    await history.add(rows({"customer_id": "a", "churn_risk": "High", "estimated_clv": 1.0, "monthly_revenue": 1.0}))
    await history.add(
        rows(
            {"customer_id": "a", "churn_risk": "Low", "estimated_clv": 1_000.0, "monthly_revenue": 10.0},
            {"customer_id": "b", "churn_risk": "Medium", "estimated_clv": 2_000.504, "monthly_revenue": 20.25},
            prediction_id="p2",
        )
    )
    assert await history.stats() == PortfolioStats(2, 1_500.25, 30.25, 0, 1, 1)


async def test_a_prediction_with_a_missing_half_does_not_hide_the_last_complete_one(history):
    await history.add(rows({"customer_id": "a", "churn_risk": "High", "estimated_clv": 1_000.0}))
    await history.add(rows({"customer_id": "a", **NO_CLV}, {"customer_id": "a", **NO_CHURN}, prediction_id="p2"))
    await history.add(rows({"customer_id": "b", **NO_CHURN}, prediction_id="p3"))
    assert await history.stats() == PortfolioStats(1, 1_000.0, 60.0, 1, 0, 0)


async def test_customers_without_an_id_each_count(history):
    await history.add(rows({"customer_id": None}, {"customer_id": None}, {"customer_id": None, **NO_CLV}))
    assert (await history.stats()).total_customers == 2


async def test_revenue_is_the_sum_of_what_is_known_and_null_when_nothing_is(history):
    await history.add(rows({"customer_id": "a", "monthly_revenue": None}))
    assert (await history.stats()).monthly_revenue is None
    await history.add(rows({"customer_id": "b", "monthly_revenue": 12.5}, prediction_id="p2"))
    assert (await history.stats()).monthly_revenue == 12.5


async def test_a_history_that_cannot_be_read_is_one_of_our_problems(history, path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE predictions")
    with pytest.raises(HistoryUnavailable) as problem:
        await history.stats()
    assert (problem.value.status, problem.value.code) == (503, "history_unavailable")
    assert "predictions" not in problem.value.detail
    assert await history.add(rows({})) is False
