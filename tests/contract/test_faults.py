"""What a client is answered while a model service or the history fails, or a model is replaced."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from support.builders import a_customer
from support.servers import wait_until
from support.stub_model import n_rows_of
from telelink_gateway.app import create_app
from telelink_gateway.predicting import CHURN_OUTPUTS, CLV_OUTPUTS, ROWS_PER_CALL, Models, predict_one
from telelink_gateway.upstream.client import ModelClient, UpstreamMetrics
from telelink_gateway.upstream.http import open_http
from telelink_gateway.upstream.model import Model
from telelink_gateway.upstream.service import ModelService
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN, Customer
from telelink_shared.decision import Policy

LENIENT = {"Prefer": "handling=lenient"}

GARBAGE = {
    "html": lambda stub, _: (200, {"Content-Type": "text/html"}, b"<html>busy</html>"),
    "truncated": lambda stub, request: (200, {}, stub.valid_infer(request)[2][:-20]),
    "no rows": lambda stub, request: stub.valid_infer(request, outputs=[]),
    "another model": lambda stub, request: stub.valid_infer(request, model_name="other"),
    "status 500": lambda stub, _: (500, {}, b"{}"),
    "redirect": lambda stub, _: (307, {"Location": "/v2/health/live"}, b""),
    "too many rows": lambda stub, request: stub.valid_infer(request, {"churn_probability": [0.1, 0.2]}),
    "a number as a word": lambda stub, request: stub.valid_infer(request, {"variant": [1]}),
    "no interval": lambda stub, request: stub.valid_infer(request, {"churn_upper": [None]}),
    **{
        name: lambda stub, request, value=value: stub.valid_infer(request, {"churn_probability": [value]})
        for name, value in {"not a number": float("nan"), "above one": 1.01, "below zero": -0.1, "a word": "0.5",
                            "nothing": None, "true": True, "beyond all numbers": 10**400, "a list": [0.5]}.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_from_a_model_service_reaches_nobody(client, churn, garbage):
    churn.infer = lambda request: GARBAGE[garbage](churn, request)
    strict = client.post("/predict", json=a_customer())
    assert (strict.status_code, strict.json()["code"]) == (503, "model_unavailable")
    assert int(strict.headers["Retry-After"]) > 0
    lenient = client.post("/predict", json=a_customer(), headers=LENIENT)
    assert lenient.status_code == 200
    assert lenient.headers["X-Degraded"] == "churn"
    reply = lenient.json()
    assert (reply["churn_probability"], reply["churn_risk"], reply["confidence"]) == (None, None, None)
    assert reply["estimated_clv"] == 12_000.0
    assert "not known" in reply["recommendation"]


def test_without_the_value_model_the_risk_is_still_told_on_request(client, clv):
    clv.infer = lambda _: (503, {}, b"")
    assert client.post("/predict", json=a_customer()).status_code == 503
    wanted = "interval,models,reasons,value_at_risk"
    lenient = client.post(f"/predict?include={wanted}", json=a_customer(), headers=LENIENT)
    assert lenient.headers["X-Degraded"] == "clv"
    reply = lenient.json()
    assert (reply["churn_risk"], reply["estimated_clv"]) == ("Medium", None)
    for name, half in (("models", "clv"), ("reasons", "clv"), ("interval", "estimated_clv")):
        assert reply[name].pop(half) is None
        assert None not in reply[name].values()
    assert reply["value_at_risk"] == {"usd": None}


def test_with_both_out_even_a_lenient_client_gets_503_and_bad_input_is_still_422(client, churn, clv):
    churn.infer = clv.infer = lambda _: (500, {}, b"")
    assert client.post("/predict", json=a_customer(), headers=LENIENT).status_code == 503
    assert client.post("/predict", json=a_customer(state="XX"), headers=LENIENT).status_code == 422


def test_a_service_built_for_another_schema_is_not_used(client, churn):
    churn.schema_hash = "0" * 64
    assert client.post("/predict", json=a_customer()).status_code == 503
    services = {each["name"]: each for each in client.get("/v1/services").json()["services"]}
    assert services["churn-service"]["state"] == "not ready"
    assert services["churn-service"]["last_error"] == "schema"
    assert client.get("/health").json()["churn_model"] == "not loaded"


def test_a_service_that_hangs_is_given_up_at_the_deadline(settings, churn):
    with TestClient(create_app(settings.model_copy(update={"deadline_s": 0.3}))) as client:
        churn.release.clear()
        reply = client.post("/predict", json=a_customer(), headers=LENIENT)
        assert (reply.status_code, reply.headers["X-Degraded"]) == (200, "churn")
        assert churn.calls == ["/v2/models/churn/infer"]


async def test_each_of_a_call_is_answered_by_the_own_deadline(churn, clv):
    async with open_http() as http:
        metrics = UpstreamMetrics(CollectorRegistry())

        def model(stub, outputs):
            service = ModelService(f"{stub.model}-service", stub.model, stub.url, http, input_schema_hash(ELEVEN))
            return Model(ModelClient(service, metrics, outputs))

        models = Models(model(churn, CHURN_OUTPUTS), model(clv, CLV_OUTPUTS), Policy())
        customer = Customer.model_validate(a_customer())

        def ask(within_s):
            deadline = asyncio.get_running_loop().time() + within_s
            return asyncio.create_task(predict_one(customer, models, deadline=deadline, is_lenient=True))

        churn.release.clear()
        patient, hasty = ask(30.0), ask(0.3)
        assert (await hasty).missing == ("churn",)
        assert not patient.done()
        churn.release.set()
        assert (await patient).missing == ()
    assert churn.calls[0] == "/v2/models/churn/infer"
    assert churn.calls.count("/v2/models/churn/infer") == 1


MANY = [a_customer(accountLength=number % 243) for number in range(ROWS_PER_CALL + 1)]


def test_a_half_that_is_missing_in_a_part_of_a_batch_is_missing_everywhere(client, churn):
    def refuse_the_last_part(request):
        return churn.valid_infer(request) if n_rows_of(request) == ROWS_PER_CALL else (500, {}, b"{}")

    churn.infer = refuse_the_last_part
    assert client.post("/batch-predict", json=MANY).status_code == 503
    reply = client.post("/batch-predict", json=MANY, headers=LENIENT)
    assert (reply.status_code, reply.headers["X-Degraded"], reply.json()["count"]) == (200, "churn", len(MANY))
    predictions = reply.json()["predictions"]
    assert {(each["churn_probability"], each["estimated_clv"]) for each in predictions} == {(None, 12_000.0)}


def test_a_batch_during_which_a_model_is_replaced_is_answered_by_one_version(client, churn):
    for churn.version in ("2", "1"):
        assert client.post("/predict", json=a_customer()).status_code == 200

    def replaced_after_the_first_part(request):
        return churn.valid_infer(request, model_version="1" if n_rows_of(request) == ROWS_PER_CALL else "2")

    churn.infer = replaced_after_the_first_part
    reply = client.post("/batch-predict?include=models", json=MANY).json()
    assert reply["count"] == len(MANY)
    assert {each["models"]["churn"]["version"] for each in reply["predictions"]} == {"2"}


def test_a_locked_history_costs_the_id_and_not_the_answer(settings, tmp_path):
    with TestClient(create_app(settings.model_copy(update={"deadline_s": 0.5}))) as client:
        assert "X-Prediction-Id" in client.post("/predict", json=a_customer()).headers
        with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            reply = client.post("/predict", json=a_customer())
            assert (reply.status_code, reply.json()["churn_probability"]) == (200, 0.25)
            assert "X-Prediction-Id" not in reply.headers
            assert 'history_rows_total{outcome="lost"} 1.0' in client.get("/metrics").text
            other.execute("ROLLBACK")
        wait_until(
            lambda: "X-Prediction-Id" in client.post("/predict", json=a_customer()).headers, what="the history to heal"
        )


def test_a_new_version_is_asked_for_its_metadata_and_named(client, churn):
    client.post("/predict", json=a_customer())
    churn.version = "2"
    reply = client.post("/predict?include=models", json=a_customer()).json()
    assert reply["models"]["churn"]["version"] == "2"
    assert "/v2/models/churn/versions/2" in churn.calls
