"""The public HTTP interface, in process, with stand-ins for the model services on real sockets."""

import asyncio
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from support.builders import ROOT, a_customer, some_customers, with_usage
from support.servers import wait_until
from support.stub_model import n_rows_of, stub_model
from telelink_gateway.app import create_app
from telelink_gateway.predicting import CHURN_OUTPUTS, CLV_OUTPUTS, ROWS_PER_CALL, Models, predict_one
from telelink_gateway.security_headers import PAGE_CSP
from telelink_gateway.settings import Settings
from telelink_gateway.upstream.client import ModelClient, UpstreamMetrics
from telelink_gateway.upstream.http import open_http
from telelink_gateway.upstream.model import Model
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN, Customer
from telelink_shared.decision import Policy
from telelink_shared.reasons import GROUP_NAMES

FIVE_KEYS = ["churn_probability", "churn_risk", "estimated_clv", "recommendation", "confidence"]
OPENAPI = Path(__file__).parent / "openapi" / "gateway.json"
LENIENT = {"Prefer": "handling=lenient"}


@pytest.fixture
def churn():
    with stub_model("churn") as stub:
        yield stub


@pytest.fixture
def clv():
    with stub_model("clv") as stub:
        yield stub


def settings_for(churn, clv, folder, **more):
    return Settings(churn_url=churn.url, clv_url=clv.url, history_url=f"sqlite:///{folder}/history.db", **more)


@pytest.fixture
def client(churn, clv, tmp_path):
    with TestClient(create_app(settings_for(churn, clv, tmp_path))) as running:
        yield running


def test_the_documented_request_gives_the_five_documented_keys_in_their_order(client):
    reply = client.post("/predict", json=a_customer())
    assert reply.status_code == 200
    assert list(reply.json()) == FIVE_KEYS
    assert reply.json() == {
        "churn_probability": 0.25,
        "churn_risk": "Medium",
        "estimated_clv": 12_000.0,
        "recommendation": "MONITOR: Send personalised offers and improve this customer's service.",
        "confidence": "High",
    }
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["X-Prediction-Id"])


def test_include_adds_an_object_of_each_name(client):
    names = ["interval", "models", "policy", "reasons", "value_at_risk"]
    reply = client.post("/predict?include=models,policy&include=value_at_risk,reasons,interval", json=a_customer())
    assert list(reply.json()) == [*FIVE_KEYS, *names]
    for name in names:
        alone = client.post(f"/predict?include={name}", json=a_customer()).json()
        assert list(alone) == [*FIVE_KEYS, name]
        assert alone[name] == reply.json()[name]


def included(client, name, **fields):
    return client.post(f"/predict?include={name}", json=a_customer(**fields)).json()[name]


def test_the_models_are_named_with_what_would_help_them(client, churn):
    minutes = ["totalDayMinutes", "totalEveMinutes", "totalNightMinutes", "totalIntlMinutes"]
    usage = {"name": "churn", "version": "1", "variant": "usage", "would_help": []}
    assert included(client, "models")["churn"] == usage
    churn.infer = lambda request: churn.valid_infer(request, {"variant": ["eleven"]})
    told = included(client, "models")
    assert told["churn"] == usage | {"variant": "eleven", "would_help": minutes}
    assert told["clv"] == usage | {"name": "clv"}
    assert included(client, "models", totalDayMinutes=3)["churn"]["would_help"] == minutes[1:]


def test_the_interval_the_policy_and_the_value_at_risk_are_told(client):
    interval = {"churn_probability": [0.2, 0.28], "estimated_clv": [10_500.0, 13_500.0]}
    assert included(client, "interval") == interval
    assert included(client, "policy")["high_value_from_usd"] == 15_000.0
    assert included(client, "value_at_risk") == {"usd": 3_000.0}


def test_reasons_are_told_in_words_the_weightiest_first_and_add_up(client):
    reasons = included(client, "reasons", customerServiceCalls=5)
    assert reasons["churn"]["baseline"] == 0.1
    assert reasons["churn"]["contributions"][:2] == [
        {
            "group": "service_calls",
            "contribution": 0.1,
            "phrase": "5 service calls raise the risk by 10 points",
        },
        {"group": "day", "contribution": 0.03, "phrase": "110 calls by day raise the risk by 3 points"},
    ]
    assert reasons["clv"]["contributions"][0]["phrase"] == "A tenure of 128 days raises the value by $2,900"
    for half, figure in (("churn", 0.25), ("clv", 12_000.0)):
        contributions = [each["contribution"] for each in reasons[half]["contributions"]]
        assert len(contributions) == len(GROUP_NAMES)
        assert [*map(abs, contributions)] == sorted(map(abs, contributions), reverse=True)
        assert reasons[half]["baseline"] + sum(contributions) == pytest.approx(figure)


def test_each_customer_of_a_batch_has_the_own_reasons(client, churn):
    def by_position(request):
        n_rows = n_rows_of(request)
        shares = [0.0] * (n_rows * len(GROUP_NAMES))
        for row in range(n_rows):
            shares[row * len(GROUP_NAMES) + row] = 0.15
        return churn.valid_infer(request, {"reasons": shares})

    churn.infer = by_position
    reply = client.post("/batch-predict?include=reasons", json=[a_customer()] * 3).json()
    first = [each["reasons"]["churn"]["contributions"][0]["group"] for each in reply["predictions"]]
    assert first == list(GROUP_NAMES[:3])


def test_reasons_for_more_than_a_thousand_customers_are_refused(client, churn):
    reply = client.post("/batch-predict?include=reasons", json=[a_customer()] * 1_001)
    assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
    assert "1,000" in reply.json()["detail"]
    assert churn.calls == []


def test_an_unknown_include_is_refused(client):
    reply = client.post("/predict?include=magic", json=a_customer())
    assert reply.status_code == 422
    assert "magic" not in reply.text.replace("?include=magic", "")


def test_a_batch_is_answered_in_order_with_its_count_and_one_call_to_each_service(client, churn, clv):
    churn.infer = lambda request: churn.valid_infer(request, {"churn_probability": [0.1, 0.2, 0.9]})
    reply = client.post("/batch-predict", json=[a_customer(), with_usage(), a_customer()]).json()
    assert list(reply) == ["predictions", "count"]
    assert [each["churn_probability"] for each in reply["predictions"]] == [0.1, 0.2, 0.9]
    assert reply["count"] == 3
    for stub in (churn, clv):
        assert [path for path in stub.calls if path.endswith("/infer")] == [f"/v2/models/{stub.model}/infer"]


def test_the_notes_of_a_model_are_told_with_its_state(client):
    churn, clv = client.get("/v1/services").json()["services"]
    assert (churn["state"], clv["state"]) == ("ready", "ready")
    assert clv["notes"] == ["The lifetime value is simulated."]


def test_an_empty_batch_is_answered_without_asking_anyone(client, churn):
    assert client.post("/batch-predict", json=[]).json() == {"predictions": [], "count": 0}
    assert churn.calls == []


def test_only_what_a_customer_has_is_sent(client, churn):
    seen = []

    def remember(request):
        seen.append({tensor["name"]: tensor["data"] for tensor in request["inputs"]})
        return churn.valid_infer(request)

    churn.infer = remember
    client.post("/predict", json=a_customer(state="oh", voiceMailPlan=True))
    client.post("/batch-predict", json=[a_customer(), with_usage()])
    assert "total_day_minutes" not in seen[0]
    assert (seen[0]["state"], seen[0]["voice_mail_plan"]) == (["OH"], ["yes"])
    assert seen[1]["total_day_minutes"] == [None, 180.5]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "pointer"),
    [
        ("POST", "/predict", "{", 400, "malformed_json", ""),
        ("POST", "/predict", "", 400, "malformed_json", ""),
        ("POST", "/predict", "[]", 422, "invalid_input", ""),
        ("POST", "/predict", "null", 422, "invalid_input", ""),
        ("POST", "/predict", json.dumps(a_customer(state=None)), 422, "invalid_input", "/state"),
        ("POST", "/predict", json.dumps(a_customer(state="XX")), 422, "invalid_input", "/state"),
        (
            "POST",
            "/predict",
            json.dumps(a_customer(accountLength="secret-words")),
            422,
            "invalid_input",
            "/accountLength",
        ),
        ("POST", "/predict", json.dumps(a_customer(totalDayCalls=-3)), 422, "invalid_input", "/totalDayCalls"),
        (
            "POST",
            "/predict",
            json.dumps(with_usage(totalDayMinutes=float("nan"))),
            422,
            "invalid_input",
            "/totalDayMinutes",
        ),
        ("POST", "/predict", json.dumps(a_customer() | {"secret": 1}), 422, "invalid_input", ""),
        ("POST", "/predict", b"\xff\xfe{}", 400, "not_utf8", None),
        ("POST", "/predict", "[" * 100_000, 413, "body_too_large", None),
        ("POST", "/predict", "[" * 250, 400, "malformed_json", ""),
        (
            "POST",
            "/batch-predict",
            json.dumps([a_customer(), a_customer(areaCode="999")]),
            422,
            "invalid_input",
            "/1/areaCode",
        ),
        ("POST", "/batch-predict", json.dumps(a_customer()), 422, "invalid_input", ""),
        ("POST", "/batch-predict", " " * 9_000_000, 413, "body_too_large", None),
        ("GET", "/predict", None, 405, "method_not_allowed", None),
        ("GET", "/nothing", None, 404, "not_found", None),
        ("GET", "/problems/nothing", None, 404, "not_found", None),
    ],
)
def test_every_error_is_one_shape_and_never_repeats_the_input(client, method, path, body, status, code, pointer):
    headers = {"Content-Type": "application/json", "X-Request-ID": "abc-1"}
    reply = client.request(method, path, content=body, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    problem = reply.json()
    assert set(problem) - {"errors", "n_errors"} == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
    }
    assert (problem["type"], problem["code"], problem["status"]) == (f"/problems/{code}", code, status)
    assert isinstance(problem["detail"], str)
    assert problem["request_id"] == "abc-1"
    assert "secret" not in reply.text
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer


def test_a_body_that_is_not_announced_as_json_is_refused(client):
    reply = client.post("/predict", content=json.dumps(a_customer()), headers={"Content-Type": "text/csv"})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


def test_at_most_twenty_errors_are_listed_and_all_are_counted(client):
    problem = client.post("/predict", json={f"field{number}": 1 for number in range(30)}).json()
    assert (len(problem["errors"]), problem["n_errors"]) == (20, 41)


def test_more_customers_than_a_batch_may_have_are_refused(client):
    reply = client.post("/batch-predict", json=[a_customer()] * 10_001)
    assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
    assert "10,000" in reply.json()["detail"]


@pytest.mark.parametrize("n_valid", [0, 2])
def test_of_many_bad_customers_only_the_first_is_looked_at(client, n_valid):
    reply = client.post("/batch-predict", json=[a_customer()] * n_valid + [{}] * 9_000)
    assert reply.status_code == 422
    problem = reply.json()
    # As many errors as one customer has required fields.
    assert (len(problem["errors"]), problem["n_errors"]) == (11, 11)
    assert {error["pointer"].split("/")[1] for error in problem["errors"]} == {str(n_valid)}


@pytest.mark.parametrize(
    ("element", "status", "n_errors"),
    [
        ("{}," * 1_700_000, 413, None),
        ('{"a":[' + "[]," * 2_600_000 + "0]},", 413, None),
        ('{"state":{' + '"a":[],' * 100_000 + '"b":0}},', 422, 11),
        ("{" + "".join(f'"{number}":0,' for number in range(100_000)) + '"a":0},', 422, 1),
    ],
    ids=["customers", "values", "within a field", "fields"],
)
def test_megabytes_of_nonsense_are_refused_with_a_few_errors(client, element, status, n_errors):
    reply = client.post("/batch-predict", content=f"[{element}{json.dumps(a_customer())}]")
    assert (reply.status_code, reply.json().get("n_errors")) == (status, n_errors)
    assert len(reply.content) < 3_000


@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "1e400", "-1e400", "1e-400", "415.5", "4e2", "true", "[415]", "{}"]
)
def test_a_number_that_is_no_area_code_is_refused(client, number):
    body = json.dumps(a_customer(areaCode=0)).replace('"areaCode": 0', f'"areaCode": {number}')
    reply = client.post("/predict", content=body)
    assert reply.status_code == 422
    assert [error["pointer"] for error in reply.json()["errors"]] == ["/areaCode"]


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


def test_a_service_that_hangs_is_given_up_at_the_deadline(churn, clv, tmp_path):
    with TestClient(create_app(settings_for(churn, clv, tmp_path, deadline_s=0.3))) as client:
        churn.release.clear()
        reply = client.post("/predict", json=a_customer(), headers=LENIENT)
        assert (reply.status_code, reply.headers["X-Degraded"]) == (200, "churn")
        assert churn.calls == ["/v2/models/churn/infer"]


async def test_each_of_a_call_is_answered_by_the_own_deadline(churn, clv):
    async with open_http() as http:
        metrics = UpstreamMetrics(CollectorRegistry())

        def model(stub, outputs):
            client = ModelClient(
                f"{stub.model}-service", stub.model, stub.url, http, metrics, input_schema_hash(ELEVEN), outputs
            )
            return Model(client)

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


def test_a_locked_history_costs_the_id_and_not_the_answer(churn, clv, tmp_path):
    with TestClient(create_app(settings_for(churn, clv, tmp_path, deadline_s=0.5))) as client:
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


def test_ids_are_taken_in_given_back_and_handed_on(client, churn):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reply = client.post("/predict", json=a_customer(), headers={"X-Request-ID": "me-1", "traceparent": trace})
    assert (reply.headers["X-Request-ID"], reply.headers["traceparent"]) == ("me-1", trace)
    assert (churn.headers[-1]["x-request-id"], churn.headers[-1]["traceparent"]) == ("me-1", trace)


@pytest.mark.parametrize("given", ["a b", "x" * 65, "<script>", ""])
def test_an_id_that_could_do_harm_is_replaced(client, given):
    reply = client.get("/livez", headers={"X-Request-ID": given, "traceparent": "nonsense"})
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["X-Request-ID"])
    assert "traceparent" not in reply.headers


def test_health_has_its_four_keys(client):
    assert client.get("/health").json() == {
        "status": "healthy",
        "churn_model": "loaded",
        "clv_model": "loaded",
        "api_version": "2.0.0",
    }


def test_statistics_come_from_history_and_nothing_is_invented(client, churn):
    empty = client.get("/stats").json()
    assert empty == {
        "total_customers": 0, "active_customers": None, "churned_customers": None, "churn_rate": None, "avg_clv": None,
        "monthly_revenue": None, "high_risk_customers": 0, "medium_risk_customers": 0, "low_risk_customers": 0,
    }  # fmt: skip
    client.post("/batch-predict", json=[a_customer(customerId="a"), a_customer(customerId="b"), a_customer()])
    churn.infer = lambda request: churn.valid_infer(request, {"churn_probability": [0.9]})
    client.post("/predict", json=a_customer(customerId="a"))
    stats = client.get("/stats").json()
    assert (stats["total_customers"], stats["avg_clv"], stats["monthly_revenue"]) == (3, 12_000.0, 180.0)
    assert (stats["high_risk_customers"], stats["medium_risk_customers"], stats["low_risk_customers"]) == (1, 2, 0)
    assert (stats["churn_rate"], stats["churned_customers"]) == (None, None)


def test_an_incomplete_prediction_does_not_hide_the_last_complete_one(client, clv):
    client.post("/predict", json=a_customer(customerId="a"))
    clv.infer = lambda _: (500, {}, b"")
    degraded = client.post("/predict", json=a_customer(customerId="a"), headers=LENIENT)
    assert "X-Prediction-Id" in degraded.headers
    assert client.get("/stats").json()["avg_clv"] == 12_000.0


def test_the_portfolio_of_a_new_system_is_empty_and_says_what_a_forecast_takes_for_true(client):
    reply = client.get("/v1/portfolio").json()
    assert reply["total"]["customers"] == 0
    assert (reply["from"], reply["to"], reply["total"]["avg_clv"]) == (None, None, None)
    assert reply["forecast"]["months"] == []
    assert [each["code"] for each in reply["forecast"]["assumptions"]] == [
        "churn_horizon", "even_departures", "unchanged_otherwise", "known_revenue_only",
    ]  # fmt: skip


def test_the_portfolio_agrees_with_the_statistics_and_the_span_is_asked_for_in_days(client):
    for customer_id in ("a", "b", "b"):
        client.post("/predict", json=with_usage(customerId=customer_id, state="OH"))
    reply, stats = client.get("/v1/portfolio").json(), client.get("/stats").json()
    assert reply["total"] == {
        "customers": stats["total_customers"],
        "mean_churn_probability": 0.25,
        "avg_clv": stats["avg_clv"],
        "value_at_risk": 6_000.0,
        "monthly_revenue": stats["monthly_revenue"],
        "customers_with_revenue": 2,
    }
    assert {each["tier"]: each["customers"] for each in reply["tiers"]} == {"High": 0, "Medium": 2, "Low": 0}
    assert reply["states"] == [{"state": "OH", "customers": 2, "high_risk_customers": 0, "value_at_risk": 6_000.0}]
    assert [each["predictions"] for each in reply["over_time"]["buckets"]] == [3]
    assert reply["traits"][0]["trait"] == "international_plan"
    assert reply["traits"][0]["without"] == {"customers": 2, "mean_churn_probability": 0.25}
    assert reply["forecast"]["months"][-1] == {"month": 12, "expected_revenue": 90.0}
    # Nothing that is about one customer.
    assert '"a"' not in json.dumps(reply)
    long_ago = client.get("/v1/portfolio?from=2001-01-01&to=2001-12-31").json()
    assert (long_ago["from"], long_ago["to"], long_ago["total"]["customers"]) == ("2001-01-01", "2001-12-31", 0)
    assert client.get("/v1/portfolio?from=2001-01-01&to=9999-12-31").json()["total"]["customers"] == 2


@pytest.mark.parametrize("query", ["from=2026-02-30", "to=yesterday", "from=2026-02-02&to=2026-02-01"])
def test_a_span_that_is_none_is_refused(client, query):
    reply = client.get(f"/v1/portfolio?{query}")
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input")
    assert "2026" not in reply.text.replace(reply.json()["request_id"], "")


MEASURED = {
    "rows": 667,
    "recall": 0.87,
    "recall_interval": [0.8, 0.93],
    "log_loss": 0.09,
    "at_best_f1": {"cut": 0.9},
    "reliability": [{"stated": 0.02, "share": 0.03, "share_interval": [0.01, 0.05], "rows": 584}],
}


def test_a_models_card_is_what_its_service_says_beside_what_the_original_claimed(client, churn):
    churn.told = {
        "created_at": "2026-11-25T02:35:10+00:00",
        "versions_on_disk": ["1", "2"],
        "data": {"source": "customers.csv", "rows": 2_666, "fingerprint": "f00d"},
        "metrics": {"reported_on": "others.csv", "variants": {"usage": MEASURED}, "drivers": {"usage": {"day": 0.08}}},
        "reference": {"state": "WV", "account_length": 100.0},
        "libraries": {"numpy": "2"},
        "notes": ["Knows few customers."],
        "card": "# Card",
    }
    reply = client.get("/v1/models/churn").json()
    assert {name: reply[name] for name in ("service", "state", "version", "versions_on_disk", "reported_on")} == {
        "service": "churn-service", "state": "ready", "version": "1", "versions_on_disk": ["1", "2"],
        "reported_on": "others.csv",
    }  # fmt: skip
    usage, eleven = reply["variants"]
    assert usage["metrics"] == [
        {"metric": "recall", "value": 0.87, "interval": [0.8, 0.93]},
        {"metric": "log_loss", "value": 0.09, "interval": None},
    ]
    assert (usage["rows"], usage["reliability"]) == (667, MEASURED["reliability"])
    assert eleven == {"name": "eleven", "needs": [], "rows": None, "metrics": [], "reliability": []}
    assert {"metric": "recall", "claimed": 0.894} in reply["claims"]
    assert reply["data"] == churn.told["data"] | {"target_is_simulated": False}
    for name in ("reference", "libraries", "notes", "card"):
        assert reply[name] == churn.told[name]
    assert reply["drivers"] == {"usage": {"day": 0.08}}


def test_what_another_make_of_server_says_otherwise_is_left_out_of_the_card(client, churn):
    bad = {
        "rows": "many",
        "recall": "0.9",
        "f1": True,
        "precision": 0.9,
        "precision_interval": [0.9],
        "reliability": "?",
    }
    churn.told = {"metrics": {"variants": {"usage": bad}, "drivers": 7}, "data": [], "card": 1, "created_at": {}}
    reply = client.get("/v1/models/churn")
    assert reply.status_code == 200
    usage = reply.json()["variants"][0]
    assert (usage["rows"], usage["reliability"]) == (None, [])
    assert usage["metrics"] == [{"metric": "precision", "value": 0.9, "interval": None}]
    assert [reply.json()[name] for name in ("data", "card", "created_at", "drivers")] == [None, None, None, {}]


def test_a_model_whose_service_is_out_is_listed_and_its_card_is_the_last_known(churn, clv, tmp_path):
    with stub_model("clv") as gone:
        pass
    settings = settings_for(churn, gone, tmp_path)
    with TestClient(create_app(settings)) as client:
        listed = client.get("/v1/models").json()["models"]
        assert [(each["name"], each["state"], each["version"]) for each in listed] == [
            ("churn", "ready", "1"), ("clv", "unreachable", None),
        ]  # fmt: skip
        reply = client.get("/v1/models/clv")
        assert (reply.status_code, reply.json()["code"]) == (503, "model_unavailable")
        assert reply.headers["Retry-After"]
    reply = client.get("/v1/models/<b>")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert "<b>" not in reply.text


def test_a_service_is_told_with_the_time_it_takes_to_answer(client):
    first = client.get("/v1/services").json()["services"][0]
    assert (first["latency_ms"], first["latency_p99_ms"], first["n_calls"]) == (None, None, 0)
    client.post("/predict", json=a_customer())
    told = client.get("/v1/services").json()["services"][0]
    assert told["n_calls"] == 1
    assert told["latency_p99_ms"] == told["latency_ms"] > 0


def test_the_policy_in_force_is_told(client):
    assert client.get("/v1/policy").json() == {
        "version": "2026-11",
        "medium_from": 0.15,
        "high_from": 0.3,
        "high_value_from_usd": 15_000.0,
        "top_value_from_usd": 18_000.0,
    }


def test_an_operators_own_value_limits_win(churn, clv, tmp_path):
    settings = settings_for(churn, clv, tmp_path, high_value_from_usd=12_000)
    churn.infer = None
    with TestClient(create_app(settings)) as client:
        assert client.post("/predict", json=a_customer()).json()["recommendation"].startswith("PROACTIVE:")


def test_every_problem_that_can_be_told_is_described(client):
    described = client.get("/problems/model_unavailable").json()
    assert (described["status"], described["type"]) == (503, "/problems/model_unavailable")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_documentation_loads_nothing_from_elsewhere_and_runs_nothing_inline(client, path):
    page = client.get(path)
    assert page.status_code == 200
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert re.search(r"<script(?![^>]*src=)", page.text) is None
    assert "unsafe-inline" not in page.headers["Content-Security-Policy"].split("style-src")[0]


def test_the_pages_policy_is_the_same_with_and_without_nginx():
    snippet = (ROOT / "frontend" / "nginx" / "snippets" / "security-headers.conf").read_text()
    assert f'"{PAGE_CSP}"' in snippet


def test_the_openapi_document_is_the_committed_one(client):
    document = client.get("/openapi.json").json()
    assert document == json.loads(OPENAPI.read_text()), (
        "the interface has changed: raise its version, then `make openapi`"
    )


def test_the_documents_example_is_accepted_and_its_schema_names_every_field(client):
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Customer"]
    assert client.post("/predict", json=schema["example"]).status_code == 200
    assert len(schema["required"]) == 11
    assert len(schema["properties"]) == 20


def test_metrics_count_calls_to_each_service(client):
    client.post("/predict", json=some_customers(1, seed=0)[0])
    text = client.get("/metrics").text
    assert 'upstream_calls_total{outcome="ok",service="churn-service"} 1.0' in text
    assert 'history_rows_total{outcome="stored"} 1.0' in text
