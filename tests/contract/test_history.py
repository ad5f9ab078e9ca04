"""What the history promises, over either database."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from support.builders import a_customer, with_usage
from support.history import NO_CHURN, NO_CLV, ROW, add, add_once, kept, rows, until_storing
from support.postgres import needs_postgres, running_postgres
from telelink_gateway.history import postgres, sqlite
from telelink_gateway.history.history import DAY_MS, open_history
from telelink_gateway.history.postgres import PostgresStore
from telelink_gateway.history.sqlite import SqliteStore
from telelink_gateway.history.store import Cell, PortfolioStats, Span
from telelink_shared.customer import COLUMNS, Customer, row_of
from telelink_shared.problem import HistoryUnavailable
from telelink_shared.web.startup import StartupError


class SqliteFile:
    """A database in a file, as another program sees it."""

    def __init__(self, path):
        self.path = path

    def store(self):
        return SqliteStore(self.path)

    def ask(self, statement):
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return [*map(tuple, connection.execute(statement))]


class PostgresDatabase:
    """A database of a server, as another program sees it."""

    def __init__(self, server, options=""):
        self.server = server
        self.name = server.new_database(options)

    def store(self):
        return PostgresStore(self.server.url(self.name))

    def ask(self, statement):
        with self.server.connect(self.name) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def server():
    with running_postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def database(request, tmp_path):
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "history.db")
    return PostgresDatabase(request.getfixturevalue("server"))


@pytest.fixture
def registry():
    return CollectorRegistry()


def running(database, **more):
    return open_history(database.store(), CollectorRegistry(), **{"retention_days": 36_500, **more})


@pytest.fixture
async def history(database, registry):
    async with open_history(database.store(), registry, retention_days=36_500) as running:
        yield running


def stored(database):
    return database.ask("SELECT prediction_id, row_number FROM predictions ORDER BY id")


def keys(database):
    return [key for (key,) in database.ask("SELECT key FROM replies ORDER BY key")]


async def recall(history, key):
    return await history.recall(key, deadline=asyncio.get_running_loop().time() + 10)


async def test_rows_are_there_for_others_when_add_returns(history, database):
    assert await add(history, rows({}, {"customer_id": None}))
    assert stored(database) == [("p1", 0), ("p1", 1)]


async def test_rows_are_kept_all_or_none(history, database, registry):
    assert await add(history, rows({}))
    with structlog.testing.capture_logs() as lines:
        assert await add(history, [*rows({}, {}, prediction_id="p2"), *rows({})]) is False
    assert stored(database) == [("p1", 0)]
    # The database's own words may have values in them.
    assert "p1" not in str(lines)
    outcomes = {
        outcome: registry.get_sample_value("history_rows_total", {"outcome": outcome}) for outcome in ("stored", "lost")
    }
    assert outcomes == {"stored": 1.0, "lost": 3.0}
    assert registry.get_sample_value("history_up") == 1.0
    assert await add(history, rows({}, prediction_id="p3"))


async def test_every_value_comes_back_as_it_was(history, database):
    others = [
        ROW._replace(
            row_number=1, customer_id="Zoë \\ \t'\"{} %s ?", recommendation="a\nb", churn_probability=0.1 + 0.2
        ),
        ROW._replace(row_number=2, **NO_CHURN, customer=row_of(Customer.model_validate(a_customer()))),
    ]
    assert await add(history, [ROW, *others])
    names = [name for name in ROW._fields if name != "customer"]
    found = database.ask(f"SELECT {', '.join((*names, *COLUMNS))} FROM predictions ORDER BY row_number")
    assert found == [(*row[:-1], *row.customer) for row in (ROW, *others)]


async def test_what_is_there_survives_a_restart(database):
    for number in (1, 2):
        async with running(database) as history:
            assert await add(history, rows({}, prediction_id=f"p{number}"))
    assert stored(database) == [("p1", 0), ("p2", 0)]


async def test_several_gateways_open_and_write_it_at_once(database):
    async with running(database) as one, running(database) as two, running(database) as three:
        added = [
            add(history, rows({}, {}, prediction_id=f"{name}{number}"))
            for number in range(20)
            for name, history in (("a", one), ("b", two), ("c", three))
        ]
        assert await asyncio.gather(*added) == [True] * 60
    assert len(stored(database)) == 120


async def test_a_database_of_another_schema_stops_the_start_with_one_line(database):
    async with running(database):
        pass
    if isinstance(database, SqliteFile):
        database.ask("PRAGMA user_version = 99")
    else:
        database.ask("UPDATE history_schema SET version = 99")
    with pytest.raises(StartupError, match="schema 99") as refused:
        async with running(database):
            pytest.fail("the block must not begin")
    assert "\n" not in str(refused.value)


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


# Replies that are kept under a key


async def test_a_kept_reply_is_stored_with_its_rows_and_outlives_a_restart(database):
    reply = kept(degraded="clv", body=b'{"a": "\xc3\xa9"}')
    async with running(database) as history:
        assert await recall(history, "key") is None
        assert await add_once(history, rows({}, {}), reply) is reply
    async with running(database) as history:
        assert await recall(history, "key") == reply
        again = kept(prediction_id="p2", body=b"other")
        assert await add_once(history, rows({}, prediction_id="p2"), again) == reply
    assert stored(database) == [("p1", 0), ("p1", 1)]


async def test_of_requests_with_one_key_at_once_one_is_stored_and_all_are_told_the_same(database):
    async with running(database) as one, running(database) as other:
        told = await asyncio.gather(
            *(
                add_once(history, rows({}, {}, prediction_id=f"p{number}"), kept(prediction_id=f"p{number}"))
                for number in range(10)
                for history in (one, other)
                if (number % 2 == 0) == (history is one)
            )
        )
    assert len(set(told)) == 1
    assert stored(database) == [(told[0].prediction_id, 0), (told[0].prediction_id, 1)]


async def test_many_keys_at_once_over_two_gateways_are_each_stored_once(database):
    async with running(database) as one, running(database) as other:

        async def ask(history, key, gateway):
            prediction_id = f"{gateway}-{key}"
            return await add_once(
                history, rows({}, prediction_id=prediction_id), kept(key=key, prediction_id=prediction_id)
            )

        names = [f"k{number}" for number in range(50)]
        told = await asyncio.gather(
            *(ask(one, key, "one") for key in names), *(ask(other, key, "other") for key in reversed(names))
        )
    assert None not in told
    assert {reply.prediction_id for reply in told} == {prediction_id for prediction_id, _ in stored(database)}
    assert len(stored(database)) == 50


async def test_a_key_that_has_expired_is_free_again(history, database):
    first = kept()
    assert await add_once(history, rows({}), first) is first
    later = kept(prediction_id="p2", created_at_ms=first.expires_at_ms, expires_at_ms=first.expires_at_ms + 1)
    assert await add_once(history, rows({}, prediction_id="p2"), later) is later
    assert stored(database) == [("p1", 0), ("p2", 0)]
    assert keys(database) == ["key"]


async def test_rows_that_are_refused_leave_their_key_free(history, database):
    assert await add(history, rows({}))
    assert await add_once(history, rows({}), kept()) is None
    assert keys(database) == []


# Forgetting


def old(days):
    return time.time_ns() // 1_000_000 - days * DAY_MS


async def test_what_is_older_than_the_retention_goes_in_small_steps_and_the_rest_stays(database):
    async with running(database) as before:
        await add(before, rows(*[{"created_at_ms": old(91)}] * 1_200, prediction_id="old"))
        await add(before, rows({"created_at_ms": old(89)}, {"created_at_ms": old(-1)}, prediction_id="young"))
        assert await before.expire() == 0
    registry = CollectorRegistry()
    async with open_history(database.store(), registry, retention_days=90) as history:
        # By itself, from the start on.
        async with asyncio.timeout(20):
            while registry.get_sample_value("history_expired_total") != 1_200:
                await asyncio.sleep(0.01)
        assert await history.expire() == 0
    assert stored(database) == [("young", 0), ("young", 1)]


async def test_rows_are_stored_while_old_ones_go(database):
    async with running(database) as history:
        await add(history, rows(*[{"created_at_ms": old(91)}] * 5_000, prediction_id="old"))
    registry = CollectorRegistry()
    async with open_history(database.store(), registry, retention_days=90) as history:
        n_added = 0
        async with asyncio.timeout(60):
            while registry.get_sample_value("history_expired_total") != 5_000:
                n_added += 1
                assert await add(history, rows({"created_at_ms": old(0)}, prediction_id=f"p{n_added}"))
    assert n_added > 10
    assert len(stored(database)) == n_added


async def test_keys_go_when_they_have_expired(history, database):
    await add_once(history, rows({}), kept(created_at_ms=old(2), expires_at_ms=old(1)))
    fresh = kept(key="fresh", prediction_id="p2")
    await add_once(history, rows({}, prediction_id="p2"), fresh)
    assert await recall(history, "key") is None
    await history.expire()
    assert keys(database) == ["fresh"]
    assert await recall(history, "fresh") == fresh
    assert len(stored(database)) == 2


async def test_a_customer_is_erased_from_rows_and_kept_replies_and_nobody_else_is(history, database):
    await add(history, rows(*[{"customer_id": "a"}] * 1_100, prediction_id="many"))
    await add_once(history, rows({"customer_id": "a", **NO_CLV}), kept())
    await add_once(history, rows({"customer_id": "b"}, prediction_id="p2"), kept(key="other", prediction_id="p2"))
    await add(history, rows({"customer_id": None}, prediction_id="p3"))
    assert await history.erase("a") == 1_101
    assert await history.erase("a") == 0
    assert stored(database) == [("p2", 0), ("p3", 0)]
    assert keys(database) == ["other"]
    assert (await history.stats()).total_customers == 2


# PostgreSQL's own


@pytest.fixture
def postgresql(server):
    return PostgresDatabase(server)


@needs_postgres
async def test_a_server_that_is_stopped_costs_rows_until_it_is_back(postgresql):
    async with running(postgresql) as history:
        assert await add(history, rows({}))
        postgresql.server.stop()
        try:
            assert not await history.check()
            assert await add(history, rows({}, prediction_id="lost")) is False
            assert await add_once(history, rows({}, prediction_id="lost"), kept()) is None
            assert await recall(history, "key") is None
            for ask in (history.stats(), history.erase("c1")):
                with pytest.raises(HistoryUnavailable):
                    await ask
        finally:
            postgresql.server.start()
        await until_storing(history)
        assert await add(history, rows({}, prediction_id="p2"))
    assert stored(postgresql) == [("p1", 0), ("p2", 0)]


@needs_postgres
async def test_a_connection_that_is_cut_costs_no_rows(postgresql):
    async with running(postgresql) as history:
        assert await add(history, rows({}))
        cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'telelink-gateway'"
        assert postgresql.ask(cut) == [(True,)]
        assert await add(history, rows({}, prediction_id="p2"))
    assert stored(postgresql) == [("p1", 0), ("p2", 0)]


@needs_postgres
async def test_a_server_that_is_away_at_the_start_is_waited_for(postgresql):
    postgresql.server.stop()
    try:
        with structlog.testing.capture_logs() as lines:
            async with running(postgresql) as history:
                assert not history.is_storing
                assert await add(history, rows({})) is False
                postgresql.server.start()
                await until_storing(history)
                assert await add(history, rows({}))
    finally:
        if postgresql.server.process is None:
            postgresql.server.start()
    assert postgresql.server.password not in str(lines)


@pytest.fixture
def stranger(postgresql):
    """Somebody whom the server lets in, and who may make no tables; the name is also the password."""
    with postgresql.server.connect() as connection:
        connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
        yield "stranger"
        connection.execute("DROP ROLE stranger")


@needs_postgres
@pytest.mark.parametrize(
    ("user", "password", "database", "said"),
    [
        ("telelink", "wrong", None, "password authentication failed"),
        ("telelink", "", None, "no password"),
        ("nobody", None, None, "password authentication failed"),
        ("telelink", None, "nothing", "does not exist"),
        ("stranger", "stranger", None, "permission denied"),
    ],
)
async def test_a_server_that_will_never_take_the_gateway_stops_the_start_with_one_line(
    postgresql, stranger, user, password, database, said
):
    server = postgresql.server
    secret = server.password if password is None else password
    url = f"postgresql://{user}{secret and ':' + secret}@/{database or postgresql.name}?host={server.folder}"
    with pytest.raises(StartupError, match=said) as refused:
        async with open_history(PostgresStore(url), CollectorRegistry()):
            pytest.fail("the block must not begin")
    assert "\n" not in str(refused.value)
    assert server.password not in str(refused.value)


@needs_postgres
async def test_a_server_that_does_not_take_the_gateway_any_more_is_waited_for_while_it_runs(postgresql):
    server = postgresql.server
    with server.connect() as connection:
        async with running(postgresql) as history:
            connection.execute("ALTER ROLE telelink PASSWORD 'another'")
            try:
                cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(cut, (postgresql.name,))
                assert await add(history, rows({})) is False
            finally:
                connection.execute(f"ALTER ROLE telelink PASSWORD '{server.password}'")
            await until_storing(history)
            assert await add(history, rows({}))


@needs_postgres
async def test_a_lock_that_somebody_else_holds_costs_rows_until_it_is_let_go(postgresql):
    async with running(postgresql) as history:
        with postgresql.server.connect(postgresql.name) as other, other.transaction():
            other.execute("LOCK TABLE predictions, replies")
            assert await add(history, rows({})) is False
            assert not history.is_storing
        await until_storing(history)
        assert await add(history, rows({}, prediction_id="p2"))
    assert stored(postgresql) == [("p2", 0)]


@needs_postgres
async def test_the_password_may_be_given_apart_from_the_url(server):
    name = server.new_database()
    url = server.url(name, with_password=False)
    async with open_history(PostgresStore(url, password=SecretStr(server.password)), CollectorRegistry()) as history:
        assert history.is_storing
    wrong = PostgresStore(url, password=SecretStr("hunter2"))
    with pytest.raises(StartupError, match="password authentication failed") as refused:
        async with open_history(wrong, CollectorRegistry()):
            pytest.fail("the block must not begin")
    assert "hunter2" not in str(refused.value)


@needs_postgres
async def test_a_database_of_no_encoding_gives_back_text_and_not_bytes(server):
    database = PostgresDatabase(server, "ENCODING SQL_ASCII TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    async with running(database) as history:
        reply = kept(body="Zürich".encode())
        assert await add_once(history, rows({}), reply) == reply
        assert await recall(history, reply.key) == reply


@needs_postgres
async def test_a_gateway_that_dies_in_the_middle_of_a_transaction_keeps_no_key_from_the_others(postgresql):
    dead = postgresql.store()
    dead.open()
    try:
        dead._connection.execute("BEGIN")
        assert dead._keep(kept())
        async with running(postgresql) as history:
            assert await add_once(history, rows({}, prediction_id="p2"), kept(prediction_id="p2")) is not None
        assert stored(postgresql) == [("p2", 0)]
    finally:
        dead.close()
