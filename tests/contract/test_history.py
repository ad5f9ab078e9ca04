"""What the history keeps and forgets, over either database."""

import asyncio
import time

import pytest
import structlog
from prometheus_client import CollectorRegistry

from support.builders import a_customer
from support.history import (
    NO_CHURN,
    NO_CLV,
    ROW,
    SqliteFile,
    add,
    add_once,
    kept,
    keys,
    recall,
    rows,
    running,
    stored,
)
from telelink_gateway.history.history import DAY_MS, open_history
from telelink_shared.customer import COLUMNS, Customer, row_of
from telelink_shared.web.startup import StartupError


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
