"""The history in a real SQLite file."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
import structlog
from prometheus_client import CollectorRegistry

from support.builders import a_customer, with_usage
from telelink_gateway.history.sqlite import HistoryUnavailable, open_sqlite_history
from telelink_gateway.history.store import HistoryRow, PortfolioStats
from telelink_shared.customer import COLUMNS, Customer, row_of
from telelink_shared.web.startup import StartupError

ROW = HistoryRow(
    prediction_id="p1",
    row_number=0,
    created_at_ms=1_700_000_000_000,
    request_id="r1",
    customer_id="c1",
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
    customer=row_of(Customer.model_validate(with_usage(state="OH"))),
)
NO_CHURN = {"churn_probability": None, "churn_risk": None, "confidence": None, "churn_version": None}
NO_CLV = {"estimated_clv": None, "monthly_revenue": None, "clv_version": None}


def rows(*changes, prediction_id="p1"):
    """Rows of one prediction, each with these fields instead."""
    return [ROW._replace(prediction_id=prediction_id, row_number=i, **each) for i, each in enumerate(changes)]


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


async def add(history, some, *, within_s=10.0):
    """Add with plenty of time."""
    return await history.add(some, deadline=asyncio.get_running_loop().time() + within_s)


async def test_rows_are_on_disk_when_add_returns(history, path):
    assert await add(history, rows({}, {"customer_id": None}))
    assert stored(path) == [("p1", 0), ("p1", 1)]


async def test_rows_are_kept_all_or_none(history, path, registry):
    assert await add(history, rows({}))
    again = [*rows({}, {}, prediction_id="p2"), *rows({})]
    assert await add(history, again) is False
    assert stored(path) == [("p1", 0)]
    outcomes = {
        outcome: registry.get_sample_value("history_rows_total", {"outcome": outcome}) for outcome in ("stored", "lost")
    }
    assert outcomes == {"stored": 1.0, "lost": 3.0}
    assert await add(history, rows({}, prediction_id="p3"))


async def test_a_locked_file_loses_rows_without_raising_and_heals(history, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await add(history, rows({})) is False
        other.execute("ROLLBACK")
    assert await add(history, rows({}, prediction_id="p2"))
    assert stored(path) == [("p2", 0)]


async def test_a_file_that_is_locked_beyond_the_deadline_is_given_up_by_then(history, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with structlog.testing.capture_logs() as lines:
            assert await add(history, rows({}), within_s=0.01) is False
        # Not the lock's own, longer patience.
        assert [line["reason"] for line in lines] == ["TimeoutError"]
        other.execute("ROLLBACK")
    assert await add(history, rows({}, prediction_id="p2"))


async def test_a_customers_fields_are_columns_that_anybody_can_ask_about(history, path):
    await add(history, rows({}, {"customer": row_of(Customer.model_validate(a_customer(state="NJ")))}))
    asked = (
        "SELECT row_number FROM predictions WHERE state = 'NJ' AND account_length = 128 AND total_day_minutes IS NULL"
    )
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(asked).fetchall() == [(1,)]
        kept = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM predictions WHERE row_number = 0").fetchone()
    assert kept == ROW.customer


@pytest.mark.parametrize(("sync", "level"), [("normal", 1), ("full", 2)])
async def test_the_disk_is_waited_for_only_where_a_row_must_outlive_a_loss_of_power(path, sync, level):
    async with open_sqlite_history(path, CollectorRegistry(), sync=sync) as history:
        assert history._writer._connection.execute("PRAGMA synchronous").fetchone() == (level,)


async def test_what_is_there_survives_a_restart(path):
    for number in (1, 2):
        async with open_sqlite_history(path, CollectorRegistry()) as history:
            assert await add(history, rows({}, prediction_id=f"p{number}"))
    assert stored(path) == [("p1", 0), ("p2", 0)]


async def test_two_gateways_may_share_a_file(path):
    async with (
        open_sqlite_history(path, CollectorRegistry()) as one,
        open_sqlite_history(path, CollectorRegistry()) as other,
    ):
        assert await asyncio.gather(add(one, rows({})), add(other, rows({}, prediction_id="p2"))) == [True, True]
    assert sorted(stored(path)) == [("p1", 0), ("p2", 0)]


# As gateways before typed columns wrote it.
SCHEMA_1 = """
CREATE TABLE predictions (
    id INTEGER PRIMARY KEY,
    prediction_id TEXT NOT NULL,
    row_number INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    customer_id TEXT,
    customer_json TEXT NOT NULL,
    churn_probability REAL,
    churn_risk TEXT,
    estimated_clv REAL,
    monthly_revenue REAL,
    recommendation TEXT NOT NULL,
    confidence TEXT,
    churn_version TEXT,
    churn_variant TEXT,
    clv_version TEXT,
    clv_variant TEXT,
    policy_version TEXT NOT NULL,
    UNIQUE (prediction_id, row_number)
) STRICT;
CREATE INDEX latest_of_customer ON predictions (customer_id, id)
    WHERE churn_risk IS NOT NULL AND estimated_clv IS NOT NULL;
PRAGMA user_version = 1;
"""


def write_schema_1(path, customers):
    """A file of schema 1 with a prediction for each of the customers."""
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_1)
        for number, customer in enumerate(customers):
            told = ROW._replace(row_number=number, customer_id=f"c{number}")._asdict()
            told.pop("customer")
            told["customer_json"] = customer.model_dump_json(exclude_none=True, exclude={"customer_id"})
            statement = f"INSERT INTO predictions ({', '.join(told)}) VALUES ({', '.join('?' * len(told))})"
            connection.execute(statement, [*told.values()])
        connection.commit()


def everything(path):
    """All that the file has of predictions, by column name."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM predictions ORDER BY id")]


OLD_CUSTOMERS = [
    Customer.model_validate(each)
    for each in (a_customer(), with_usage(state="NJ", accountLength=1), a_customer(totalDayCharge=30.5))
]


async def test_a_file_of_the_schema_before_is_taken_over_with_all_its_rows(path):
    write_schema_1(path, OLD_CUSTOMERS)
    before = everything(path)
    async with open_sqlite_history(path, CollectorRegistry()) as history:
        assert (await history.stats()).total_customers == 3
        assert await add(history, rows({"customer_id": "c0"}, prediction_id="p2"))
        assert (await history.stats()).total_customers == 3
    *old, new = everything(path)
    for was, is_now, customer in zip(before, old, OLD_CUSTOMERS, strict=True):
        del was["customer_json"]
        assert is_now == was | dict(zip(COLUMNS, row_of(customer), strict=True))
    assert (new["prediction_id"], new["total_day_minutes"]) == ("p2", 180.5)


async def test_a_file_that_was_taken_over_is_like_a_new_one(path, tmp_path):
    write_schema_1(path, OLD_CUSTOMERS)
    for each in (path, tmp_path / "new.db"):
        async with open_sqlite_history(each, CollectorRegistry()):
            pass
    seen = []
    for each in (path, tmp_path / "new.db"):
        with closing(sqlite3.connect(each)) as connection:
            columns = connection.execute("SELECT name, type, \"notnull\", pk FROM pragma_table_info('predictions')")
            version = connection.execute("PRAGMA user_version").fetchone()
            seen.append((version, sorted(columns), connection.execute("PRAGMA index_list(predictions)").fetchall()))
    assert seen[0] == seen[1]


async def test_a_file_that_cannot_be_taken_over_stays_as_it_is(path):
    write_schema_1(path, OLD_CUSTOMERS)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE predictions SET customer_json = '{' WHERE row_number = 1")
        connection.commit()
    before = everything(path)
    reason = await refusal(path)
    assert "TELELINK_HISTORY_URL" in reason
    assert everything(path) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


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


async def test_a_history_that_cannot_be_read_is_one_of_our_problems(history, path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE predictions")
    with pytest.raises(HistoryUnavailable) as problem:
        await history.stats()
    assert (problem.value.status, problem.value.code) == (503, "history_unavailable")
    assert "predictions" not in problem.value.detail
    assert await add(history, rows({})) is False
