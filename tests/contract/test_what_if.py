"""POST /v1/what-if over HTTP, with stand-ins for the model services."""

import json

import pytest

from support.builders import a_customer, with_usage
from support.stub_model import column_of, n_rows_of, stub_model

FIGURES = ("churn_probability", "churn_lower", "churn_upper")


@pytest.fixture
def churn():
    """Customers leave for their service calls and for the international plan; anything else makes no difference."""

    def infer(request):
        calls, plans = column_of(request, "customer_service_calls"), column_of(request, "international_plan")
        risks = [0.05 * n_calls + 0.2 * (plan == "yes") for n_calls, plan in zip(calls, plans, strict=True)]
        return stub.valid_infer(request, dict.fromkeys(FIGURES, risks))

    with stub_model("churn") as stub:
        stub.infer = infer
        yield stub


RISKY = a_customer(internationalPlan="yes", customerServiceCalls=4)


def test_changes_are_tried_and_told_beside_the_customer_as_it_is(client):
    reply = client.post("/v1/what-if", json={"customer": RISKY, "changes": {"customerServiceCalls": 1}}).json()
    (trial,) = reply["trials"]
    assert (reply["prediction"]["churn_probability"], reply["prediction"]["churn_risk"]) == (0.4, "High")
    assert (trial["prediction"]["churn_probability"], trial["prediction"]["churn_risk"]) == (0.25, "Medium")
    assert trial["changes"] == {"customerServiceCalls": 1}
    assert trial["words"] == "Bring service calls to 1 a month by solving what they are about"


def test_a_prediction_in_it_is_as_that_of_predict(client):
    changed = RISKY | {"internationalPlan": "no"}
    reply = client.post("/v1/what-if", json={"customer": RISKY, "changes": {"internationalPlan": False}}).json()
    assert reply["prediction"] == client.post("/predict", json=RISKY).json()
    assert reply["trials"][0]["prediction"] == client.post("/predict", json=changed).json()


def test_a_lower_bill_is_asked_of_the_models_as_less_use(client, churn):
    seen = []
    answer = churn.infer
    churn.infer = lambda request: seen.append(column_of(request, "total_day_minutes")) or answer(request)
    customer = with_usage(totalDayMinutes=200)
    client.post("/v1/what-if", json={"customer": customer, "changes": {"billReduction": 0.25}})
    assert seen == [[200.0, 150.0]]


def test_the_smallest_changes_that_reach_a_tier_are_found_in_one_call(client, churn):
    reply = client.post("/v1/what-if", json={"customer": RISKY, "goal": "Medium"}).json()
    assert [trial["changes"] for trial in reply["trials"]] == [{"internationalPlan": "no"}, {"customerServiceCalls": 1}]
    assert {trial["prediction"]["churn_risk"] for trial in reply["trials"]} == {"Medium"}
    low = client.post("/v1/what-if", json={"customer": RISKY, "goal": "Low"}).json()
    assert low["trials"][0]["changes"] == {"internationalPlan": "no", "customerServiceCalls": 2}
    assert low["trials"][0]["words"].startswith("Drop the international plan and bring service calls to 2")
    assert churn.calls.count("/v2/models/churn/infer") == 2


def test_a_customer_who_is_there_already_is_suggested_nothing(client):
    safe = a_customer(internationalPlan="no", customerServiceCalls=1)
    reply = client.post("/v1/what-if", json={"customer": safe, "goal": "Low"}).json()
    assert reply["prediction"]["churn_risk"] == "Low"
    assert reply["trials"] == []


def test_where_nothing_reaches_the_tier_nothing_is_suggested(client, churn):
    churn.infer = lambda request: churn.valid_infer(request, dict.fromkeys(FIGURES, [0.9] * n_rows_of(request)))
    assert client.post("/v1/what-if", json={"customer": RISKY, "goal": "Low"}).json()["trials"] == []


def test_nothing_of_it_is_stored(client):
    reply = client.post("/v1/what-if", json={"customer": RISKY, "goal": "Low"})
    assert "X-Prediction-Id" not in reply.headers
    assert reply.headers["Cache-Control"] == "no-store"
    assert client.get("/stats").json()["total_customers"] == 0


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"customer": RISKY}, "", "changes_or_goal"),
        ({"customer": RISKY, "changes": {}, "goal": "Low"}, "", "changes_or_goal"),
        ({"customer": RISKY, "goal": "High"}, "/goal", "literal_error"),
        ({"goal": "Low"}, "/customer", "missing"),
        ({"customer": RISKY | {"state": "XX"}, "goal": "Low"}, "/customer/state", "unknown_state"),
        ({"customer": RISKY, "changes": {"accountLength": 1}}, "/changes/accountLength", "extra_forbidden"),
        ({"customer": RISKY, "changes": {"billReduction": 0.6}}, "/changes/billReduction", "less_than_equal"),
        ({"customer": RISKY, "changes": {"billReduction": float("nan")}}, "/changes/billReduction", None),
        ({"customer": RISKY, "changes": {"billReduction": True}}, "/changes/billReduction", "float_type"),
    ],
)
def test_a_faulty_question_is_refused_with_a_pointer(client, churn, body, pointer, code):
    reply = client.post("/v1/what-if", content=json.dumps(body))
    assert reply.status_code == 422
    (error,) = reply.json()["errors"]
    assert error["pointer"] == pointer
    assert code in (None, error["code"])
    assert churn.calls == []


def test_a_question_for_nothing_is_told_what_it_lacks(client):
    (error,) = client.post("/v1/what-if", json={"customer": RISKY}).json()["errors"]
    assert error["message"] == "needs either changes or a goal"


def test_without_the_churn_model_there_is_no_answer(client, churn):
    churn.infer = lambda _request: (500, {}, b"{}")
    assert client.post("/v1/what-if", json={"customer": RISKY, "goal": "Low"}).status_code == 503
