"""Idempotency-Key on the predicting endpoints, in process, with stand-ins for the model services."""

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from fastapi.testclient import TestClient

from support.builders import a_customer, with_usage
from support.servers import wait_until
from telelink_gateway.app import create_app

LENIENT = {"Prefer": "handling=lenient"}
ONE = "/predict"
MANY = "/batch-predict"


def key(value="8e03978e-40d5-43dd-bc93-6894a57f9324"):
    return {"Idempotency-Key": f'"{value}"'}


@pytest.fixture
def stored(tmp_path):
    """How many rows the history has, or other things that another program asks of it."""

    def ask(statement="SELECT count(*) FROM predictions"):
        with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
            return connection.execute(statement).fetchone()[0]

    return ask


def told(reply):
    """What must be the same each time."""
    return reply.status_code, reply.content, reply.headers["X-Prediction-Id"], reply.headers.get("X-Degraded")


BODIES = [(ONE, a_customer()), (MANY, [a_customer(), with_usage(customerId="a")])]


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_who_repeats_a_request_gets_the_first_reply_and_it_is_stored_once(client, churn, stored, path, body):
    first = client.post(path, json=body, headers=key())
    churn.infer = lambda _: (500, {}, b"{}")
    n_calls = len(churn.calls)
    for _ in range(2):
        again = client.post(path, json=body, headers=key())
        assert told(again) == told(first)
        assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
        assert again.headers["Content-Type"] == first.headers["Content-Type"]
        assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert len(churn.calls) == n_calls
    assert stored() == (len(body) if isinstance(body, list) else 1)


def test_other_keys_and_none_are_other_requests(client, stored):
    ids = {
        client.post(ONE, json=a_customer(), headers=each).headers["X-Prediction-Id"] for each in (key("a"), key("b"))
    }
    ids |= {client.post(ONE, json=a_customer()).headers["X-Prediction-Id"] for _ in range(2)}
    assert len(ids) == stored() == 4


def test_a_key_with_and_without_quotes_is_the_same(client, stored):
    first = client.post(ONE, json=a_customer(), headers={"Idempotency-Key": '"abc"'})
    assert told(client.post(ONE, json=a_customer(), headers={"Idempotency-Key": "abc"})) == told(first)
    assert stored() == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ONE, a_customer(accountLength=1)),
        (ONE, a_customer(state="no state")),
        (f"{ONE}?include=models", a_customer()),
        (MANY, [a_customer()]),
        (MANY, []),
    ],
)
def test_a_key_that_belongs_to_another_request_is_refused(client, churn, stored, path, body):
    assert client.post(ONE, json=a_customer(), headers=key()).status_code == 200
    n_calls = len(churn.calls)
    reply = client.post(path, json=body, headers=key())
    assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_key_reused")
    assert "X-Prediction-Id" not in reply.headers
    assert len(churn.calls) == n_calls
    assert stored() == 1
    assert client.post(ONE, json=a_customer(), headers=key()).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        *("", '""', '"', '"a', 'a"', '"a"b"', '"a";x=1', "a b", "a,b", '"a", "b"', r'"a\b"', b"\xff", b'"\xc3\xa9"'),
        *("x" * 256, '"' + "x" * 256 + '"'),
    ],
)
def test_a_key_that_is_none_is_refused_and_not_repeated(client, stored, value):
    reply = client.post(ONE, json=a_customer(), headers={"Idempotency-Key": value})
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_idempotency_key")
    assert len(value) < 3 or str(value) not in reply.text
    assert stored() == 0


def test_two_keys_at_once_are_refused(client):
    reply = client.post(ONE, json=a_customer(), headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "a")])
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_idempotency_key")


@pytest.mark.parametrize("value", ["x" * 255, '"' + "x" * 255 + '"', r'"a \" \\ b"', "!#$%&'*+-.^_`|~:/=@0Az"])
def test_any_other_key_is_taken(client, value):
    first = client.post(ONE, json=a_customer(), headers={"Idempotency-Key": value})
    assert first.status_code == 200
    assert told(client.post(ONE, json=a_customer(), headers={"Idempotency-Key": value})) == told(first)


def test_a_request_that_failed_is_not_remembered(client, churn, stored):
    churn.infer = lambda _: (500, {}, b"{}")
    assert client.post(ONE, json=a_customer(), headers=key()).status_code == 503
    assert client.post(ONE, json=a_customer(state="XX"), headers=key()).status_code == 422
    assert client.post(ONE, content="{", headers=key()).status_code == 400
    churn.infer = None
    assert client.post(ONE, json=a_customer(), headers=key()).status_code == 200
    assert stored() == 1


def test_half_an_answer_is_repeated_as_such(client, clv):
    clv.infer = lambda _: (500, {}, b"{}")
    first = client.post(ONE, json=a_customer(), headers=key() | LENIENT)
    assert first.headers["X-Degraded"] == "clv"
    clv.infer = None
    assert told(client.post(ONE, json=a_customer(), headers=key() | LENIENT)) == told(first)
    # Whoever wants a whole one has not asked the same.
    assert client.post(ONE, json=a_customer(), headers=key()).json()["code"] == "idempotency_key_reused"


def test_of_requests_with_one_key_at_once_all_get_the_reply_of_one(client, churn, stored):
    churn.release.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.post, ONE, json=a_customer(), headers=key()) for _ in range(8)]
        # This one is counted too.
        wait_until(lambda: "http_requests_in_flight 9.0" in client.get("/metrics").text, what="all to be on their way")
        churn.release.set()
        replies = [each.result() for each in asked]
    assert len({told(reply) for reply in replies}) == 1
    assert [reply.headers.get("Idempotency-Replayed") for reply in replies].count(None) == 1
    assert stored() == 1


def test_of_different_requests_with_one_key_at_once_one_is_answered(client, churn, stored):
    churn.release.clear()
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(client.post, ONE, json=a_customer(accountLength=number), headers=key()) for number in range(2)
        ]
        wait_until(lambda: "http_requests_in_flight 3.0" in client.get("/metrics").text, what="both to be on their way")
        churn.release.set()
        assert sorted(each.result().status_code for each in asked) == [200, 422]
    assert stored() == 1


def test_a_reply_is_repeated_after_a_restart_and_by_another_gateway(settings, stored):
    with TestClient(create_app(settings)) as client:
        first = client.post(ONE, json=a_customer(), headers=key())
    with TestClient(create_app(settings)) as one, TestClient(create_app(settings)) as other:
        for client in (one, other):
            assert told(client.post(ONE, json=a_customer(), headers=key())) == told(first)
    assert stored() == 1


def test_a_key_is_forgotten_after_its_time(settings, stored):
    with TestClient(create_app(settings.model_copy(update={"idempotency_hours": 1e-9}))) as client:
        ids = {client.post(ONE, json=a_customer(), headers=key()).headers["X-Prediction-Id"] for _ in range(2)}
    assert len(ids) == stored() == 2


def test_without_the_history_the_prediction_goes_out_and_the_key_stays_free(client, tmp_path, stored):
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for body in (a_customer(), a_customer(accountLength=1)):
            reply = client.post(ONE, json=body, headers=key())
            assert reply.status_code == 200
            assert "X-Prediction-Id" not in reply.headers
        assert client.get("/health").json()["status"] == "degraded"
        assert client.get("/health?include=history").json()["history"] == "not storing"
        other.execute("ROLLBACK")
    wait_until(lambda: client.get("/health").json()["status"] == "healthy", what="the history to heal")
    first = client.post(ONE, json=a_customer(), headers=key())
    assert told(client.post(ONE, json=a_customer(), headers=key())) == told(first)
    assert stored() == 1


def test_a_request_without_a_key_keeps_no_reply(client, stored):
    client.post(ONE, json=a_customer())
    client.post(MANY, json=[a_customer()])
    client.post(MANY, json=[], headers=key())
    assert stored("SELECT count(*) FROM replies") == 0


def test_the_body_is_kept_byte_by_byte(client):
    first = client.post(f"{MANY}?include=reasons,models", json=[a_customer()], headers=key())
    assert json.loads(first.content)["count"] == 1
    assert told(client.post(f"{MANY}?include=reasons,models", json=[a_customer()], headers=key())) == told(first)


# Erasure


def test_a_customer_is_erased_from_the_history_and_what_was_kept_for_them(client, stored):
    client.post(ONE, json=a_customer(customerId="a"), headers=key())
    first = client.post(MANY, json=[a_customer(customerId="a/ü"), a_customer(customerId="b")])
    assert first.headers["X-Prediction-Id"]
    for customer_id, n_erased in (("a", 1), ("a", 0), ("a/ü", 1), ("nobody", 0)):
        reply = client.post("/v1/erasures", json={"customerId": customer_id})
        assert (reply.status_code, reply.json()) == (200, {"erased": n_erased})
    assert stored("SELECT group_concat(customer_id) FROM predictions") == "b"
    assert stored("SELECT count(*) FROM replies") == 0
    assert client.get("/stats").json()["total_customers"] == 1


@pytest.mark.parametrize("body", [{}, {"customerId": ""}, {"customerId": "x" * 65}, {"customerId": "a", "more": 1}, []])
def test_what_names_no_customer_erases_nobody(client, stored, body):
    client.post(ONE, json=a_customer(customerId="a"))
    reply = client.post("/v1/erasures", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input")
    assert stored() == 1


def test_an_erasure_that_is_not_complete_is_told_as_such(client, tmp_path):
    client.post(ONE, json=a_customer(customerId="a"))
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        reply = client.post("/v1/erasures", json={"customerId": "a"})
        assert (reply.status_code, reply.json()["code"]) == (503, "history_unavailable")
        assert int(reply.headers["Retry-After"]) > 0
        other.execute("ROLLBACK")
    wait_until(
        lambda: client.post("/v1/erasures", json={"customerId": "a"}).json().get("erased") == 1, what="the erasure"
    )


# Health


def test_health_adds_the_history_on_request_and_nothing_else(client):
    plain = client.get("/health").json()
    assert list(plain) == ["status", "churn_model", "clv_model", "api_version"]
    assert client.get("/health?include=history").json() == plain | {"history": "storing"}
    assert client.get("/health?include=magic").status_code == 422
    assert re.search(r"^history_up 1\.0$", client.get("/metrics").text, re.MULTILINE)
