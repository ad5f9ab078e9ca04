"""/v1/models and /v1/services: what is told of the models and of who serves them."""

from fastapi.testclient import TestClient

from support.builders import a_customer
from support.stub_model import stub_model
from telelink_gateway.app import create_app
from telelink_gateway.settings import Settings


def test_the_notes_of_a_model_are_told_with_its_state(client):
    churn, clv = client.get("/v1/services").json()["services"]
    assert (churn["state"], clv["state"]) == ("ready", "ready")
    assert clv["notes"] == ["The lifetime value is simulated."]


def test_a_service_is_told_with_the_time_it_takes_to_answer(client):
    first = client.get("/v1/services").json()["services"][0]
    assert (first["latency_ms"], first["latency_p99_ms"], first["n_calls"]) == (None, None, 0)
    client.post("/predict", json=a_customer())
    told = client.get("/v1/services").json()["services"][0]
    assert told["n_calls"] == 1
    assert told["latency_p99_ms"] == told["latency_ms"] > 0


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


def test_a_model_whose_service_is_out_is_listed_and_its_card_is_the_last_known(churn, tmp_path):
    with stub_model("clv") as gone:
        pass
    settings = Settings(churn_url=churn.url, clv_url=gone.url, history_url=f"sqlite:///{tmp_path}/history.db")
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
