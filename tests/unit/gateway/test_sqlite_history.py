"""What is particular to the history in a SQLite file: the file itself."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
import structlog
from prometheus_client import CollectorRegistry

from support.builders import ROOT, a_customer, with_usage
from support.history import ROW, add, add_once, kept, rows, until_storing
from telelink_gateway.history import sqlite
from telelink_gateway.history.history import open_history
from telelink_gateway.history.sqlite import SqliteStore
from telelink_gateway.history.store import Group
from telelink_shared.customer import COLUMNS, Customer, row_of
from telelink_shared.problem import HistoryUnavailable
from telelink_shared.web.startup import StartupError


def running(path, **more):
    """A history in this file."""
    return open_history(SqliteStore(path), CollectorRegistry(), retention_days=36_500, **more)


def stored(path):
    """What another program finds in the file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT prediction_id, row_number FROM predictions ORDER BY id").fetchall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "history.db"


@pytest.fixture
async def history(path):
    async with running(path) as history:
        yield history


async def test_rows_are_on_disk_when_add_returns(history, path):
    assert await add(history, rows({}, {"customer_id": None}))
    assert stored(path) == [("p1", 0), ("p1", 1)]


async def test_a_locked_file_loses_rows_without_raising_and_heals(history, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await add(history, rows({})) is False
        assert not history.is_storing
        assert not await history.check()
        other.execute("ROLLBACK")
    await until_storing(history)
    assert await history.check()
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
    await until_storing(history)
    assert await add(history, rows({}, prediction_id="p2"))
    # Nor were they written afterwards, having waited for the lock.
    assert stored(path) == [("p2", 0)]


async def test_a_file_that_was_removed_is_made_anew_before_anything_is_told_as_stored(history, path):
    assert await add(history, rows({}))
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()
    assert await add(history, rows({}, prediction_id="p2"))
    assert stored(path) == [("p2", 0)]


async def test_another_file_in_its_place_is_the_history_from_then_on(history, path, tmp_path):
    assert await add(history, rows({}))
    async with running(tmp_path / "other.db") as other:
        assert await add(other, rows({}, prediction_id="other"))
    (tmp_path / "other.db").replace(path)
    assert await add(history, rows({}, prediction_id="p2"))
    assert stored(path) == [("other", 0), ("p2", 0)]


async def test_garbage_in_its_place_is_left_alone_and_costs_rows_until_it_is_gone(history, path, tmp_path):
    (tmp_path / "garbage").write_bytes(b"no database" * 1_000)
    (tmp_path / "garbage").replace(path)
    assert await add(history, rows({})) is False
    assert not history.is_storing
    with pytest.raises(HistoryUnavailable):
        await history.stats()
    with pytest.raises(HistoryUnavailable):
        await history.erase("c1")
    assert path.read_bytes() == b"no database" * 1_000
    path.unlink()
    await until_storing(history)
    assert await add(history, rows({}, prediction_id="p2"))
    assert stored(path) == [("p2", 0)]


async def test_a_file_that_is_overwritten_never_gets_rows_that_cannot_be_read(history, path):
    for number in range(200):
        assert await add(history, rows({}, {}, {}, prediction_id=f"p{number}"))
    await history.erase("nobody")  # empties the log into the file
    path.write_bytes(b"no database" * 10)
    assert await add(history, rows({}, prediction_id="told as lost")) is False
    path.unlink()
    await until_storing(history)
    assert await add(history, rows({}, prediction_id="p2"))
    assert stored(path) == [("p2", 0)]


def test_reading_makes_no_file(tmp_path):
    with pytest.raises(sqlite3.OperationalError):
        SqliteStore(tmp_path / "history.db").read_stats()
    assert [*tmp_path.iterdir()] == []


async def test_an_erased_customer_is_in_none_of_the_files(history, path):
    secret = "customer-7f3a"
    for number in range(300):
        customer_id = secret if number % 3 == 0 else f"other-{number}"
        prediction_id = f"p{number}"
        reply = kept(key=f"{customer_id}/{number}", body=customer_id.encode() * 50, prediction_id=prediction_id)
        assert await add_once(history, rows({"customer_id": customer_id}, prediction_id=prediction_id), reply) is reply
    assert any(secret.encode() in each.read_bytes() for each in path.parent.iterdir())
    assert await history.erase(secret) == 100
    assert [each.name for each in path.parent.iterdir() if secret.encode() in each.read_bytes()] == []
    assert len(stored(path)) == 200


async def test_what_a_reader_keeps_from_being_scrubbed_goes_with_the_next_commit(history, path):
    await add(history, rows({"customer_id": "customer-7f3a"}))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM predictions").fetchone()
        assert await history.erase("customer-7f3a") == 1
        reader.execute("ROLLBACK")
    assert await add(history, rows({}, prediction_id="p2"))
    assert await history.check()  # behind the tidying up
    assert [each.name for each in path.parent.iterdir() if b"customer-7f3a" in each.read_bytes()] == []


_OPEN = """
import sys
from pathlib import Path
from telelink_gateway.history.sqlite import SqliteStore
print("ready", flush=True)
for line in sys.stdin:
    store = SqliteStore(Path(line.rstrip()))
    store.open()
    print("open", flush=True)
"""


def test_gateways_that_open_a_new_file_at_once_all_get_it(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for _ in range(6)
    ]  # fmt: skip
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 6
        for number in range(40):
            for process in processes:
                process.stdin.write(f"{tmp_path}/{number}.db\n")
                process.stdin.flush()
            assert [process.stdout.readline() for process in processes] == ["open\n"] * 6
        assert [process.communicate(timeout=30) for process in processes] == [("", "")] * 6
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("sync", "level"), [("normal", 1), ("full", 2)])
def test_the_disk_is_waited_for_only_where_a_row_must_outlive_a_loss_of_power(path, sync, level):
    store = SqliteStore(path, sync=sync)
    store.open()
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (level,)
    store.close()


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
    async with running(path) as history:
        assert (await history.stats()).total_customers == 3
        assert await add(history, rows({"customer_id": "c0"}, prediction_id="p2"))
        assert (await history.stats()).total_customers == 3
    *old, new = everything(path)
    for was, is_now, customer in zip(before, old, OLD_CUSTOMERS, strict=True):
        del was["customer_json"]
        assert is_now == was | dict(zip(COLUMNS, row_of(customer), strict=True))
    assert (new["prediction_id"], new["total_day_minutes"]) == ("p2", 180.5)


# What schema 3 has and schema 2 had not.
SCHEMA_2 = """
DROP TABLE replies;
DROP INDEX predictions_of_customer;
DROP INDEX predictions_by_age;
CREATE INDEX latest_of_customer ON predictions (customer_id, id)
    WHERE churn_risk IS NOT NULL AND estimated_clv IS NOT NULL;
PRAGMA user_version = 2;
"""


async def write_schema_2(path):
    """A file of schema 2 with a prediction."""
    async with running(path) as history:
        await add(history, rows({}))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_2)


async def test_a_file_without_replies_gets_them(path):
    await write_schema_2(path)
    async with running(path) as history:
        reply = kept(prediction_id="p2")
        assert await add_once(history, rows({}, prediction_id="p2"), reply) is reply
        assert await add_once(history, rows({}, prediction_id="p3"), kept(prediction_id="p3")) == reply
    assert stored(path) == [("p1", 0), ("p2", 0)]


@pytest.mark.parametrize("schema", [1, 2])
async def test_a_file_that_was_taken_over_is_like_a_new_one(path, tmp_path, schema):
    if schema == 1:
        write_schema_1(path, OLD_CUSTOMERS)
    else:
        await write_schema_2(path)
    for each in (path, tmp_path / "new.db"):
        async with running(each):
            pass
    seen = []
    for each in (path, tmp_path / "new.db"):
        with closing(sqlite3.connect(each)) as connection:
            columns = connection.execute("SELECT name, type, \"notnull\", pk FROM pragma_table_info('predictions')")
            version = connection.execute("PRAGMA user_version").fetchone()
            others = connection.execute("SELECT name, sql FROM sqlite_schema WHERE name <> 'predictions'").fetchall()
            seen.append((version, sorted(columns), sorted(others, key=str)))
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
        async with running(path):
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


def times_begun(path):
    """How often the log has begun anew, as its header says."""
    header = path.with_name(f"{path.name}-wal").read_bytes()[:32]
    return int.from_bytes(header[12:16], "big")


def copying():
    """The thread that copies the log, in a list, which is empty once it has ended."""
    return [thread for thread in threading.enumerate() if thread.name == "history-log"]


def wait_for_the_copying():
    for thread in copying():
        thread.join()


@pytest.fixture
def store(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_ROWS_PER_LOG_COPY", 1)
    store = SqliteStore(path)
    store.open()
    store.commit([Group(rows({}))], lambda: [True])
    yield store
    store.close()


@pytest.fixture
def held(monkeypatch):
    """Holds the copying up until it is set."""
    copy, held = sqlite._copy_log, threading.Event()

    def when_let_go(connection):
        if threading.current_thread().name == "history-log":
            assert held.wait(10)
        copy(connection)

    monkeypatch.setattr(sqlite, "_copy_log", when_let_go)
    yield held
    held.set()


def test_rows_are_committed_while_the_log_is_copied_and_then_it_begins_anew(store, path, held):
    before = times_begun(path)
    store.tidy_up()
    store.commit([Group(rows({}, prediction_id="p2"))], lambda: [True])
    store.tidy_up()
    assert stored(path) == [("p1", 0), ("p2", 0)]
    held.set()
    wait_for_the_copying()
    store.tidy_up()
    store.commit([Group(rows({}, prediction_id="p3"))], lambda: [True])
    assert times_begun(path) == before + 1
    assert stored(path) == [("p1", 0), ("p2", 0), ("p3", 0)]


def test_an_erasure_waits_for_the_copying_of_the_log_for_a_moment_only_and_is_made_good(store, path, held):
    store.tidy_up()
    assert store.erase_some("c1", limit=10) == 1
    store.scrub()
    held.set()
    store.tidy_up()
    assert path.with_name(f"{path.name}-wal").stat().st_size == 0


def test_the_log_of_a_file_that_was_replaced_is_not_copied_into_the_next(store, path, monkeypatch):
    monkeypatch.setattr(sqlite, "_is_still", lambda _path, _identity: False)
    before = times_begun(path)
    store.tidy_up()
    wait_for_the_copying()
    store.commit([Group(rows({}, prediction_id="p2"))], lambda: [True])
    assert times_begun(path) == before


def test_a_history_closes_while_its_log_is_copied(store, path, held):
    store.tidy_up()
    (thread,) = copying()
    store.close()
    held.set()
    thread.join()
    assert stored(path) == [("p1", 0)]


def test_who_came_second_under_the_key_of_one_who_is_left_out_is_the_first(store):
    groups = [Group(rows({}, prediction_id=each), kept(prediction_id=each)) for each in ("p2", "p3", "p4")]
    first = store.commit(groups, lambda: [False, True, True])
    assert [each and each.prediction_id for each in first] == [None, None, "p3"]
    assert store.recall("key", now_ms=groups[0].reply.created_at_ms).prediction_id == "p3"
    assert [prediction_id for prediction_id, _ in stored(store._path)] == ["p1", "p3"]
