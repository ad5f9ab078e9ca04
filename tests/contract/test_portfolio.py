"""/stats and /v1/portfolio: the customers of the history as a whole."""

import json

import pytest

from support.builders import a_customer, with_usage


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
    degraded = client.post("/predict", json=a_customer(customerId="a"), headers={"Prefer": "handling=lenient"})
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
