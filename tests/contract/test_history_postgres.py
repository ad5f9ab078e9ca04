"""A server of PostgreSQL that is away, cut off, locked or not willing, and what of that costs rows."""

import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from support.history import PostgresDatabase, add, add_once, kept, recall, rows, running, stored, until_storing
from support.postgres import needs_postgres
from telelink_gateway.history.history import open_history
from telelink_gateway.history.postgres import PostgresStore
from telelink_shared.problem import HistoryUnavailable
from telelink_shared.web.startup import StartupError


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
