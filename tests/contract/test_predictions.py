"""POST /predict and /batch-predict: what they answer, what they add when asked to, and what they ask the models."""

import re

import pytest
from fastapi.testclient import TestClient

from support.builders import a_customer, with_usage
from support.stub_model import n_rows_of
from telelink_gateway.app import create_app
from telelink_shared.reasons import GROUP_NAMES

FIVE_KEYS = ["churn_probability", "churn_risk", "estimated_clv", "recommendation", "confidence"]


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


def test_an_operators_own_value_limits_win(settings):
    with TestClient(create_app(settings.model_copy(update={"high_value_from_usd": 12_000}))) as client:
        assert client.post("/predict", json=a_customer()).json()["recommendation"].startswith("PROACTIVE:")
