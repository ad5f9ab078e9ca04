"""Gateway and both model services as real processes with the bundled models."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, r2_score, roc_auc_score

from support.builders import (
    CHURN_MODELS,
    CLV_MODELS,
    PUBLIC_DATA,
    ROOT,
    a_customer,
    some_customers,
    v2_request,
    with_usage,
)
from support.servers import churn_service, clean_environ, clv_service, gateway, system, wait_until

LENIENT = {"Prefer": "handling=lenient"}
HOLD_OUT = PUBLIC_DATA / "churn-bigml-20.csv"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with system(tmp_path_factory.mktemp("system")) as processes:
        yield processes


@pytest.fixture(scope="module")
def http(running):
    with httpx.Client(base_url=running.url, trust_env=False, timeout=20) as client:
        yield client


def test_the_documented_request_gives_five_sane_values(http):
    reply = http.post("/predict", json=a_customer()).json()
    assert list(reply) == ["churn_probability", "churn_risk", "estimated_clv", "recommendation", "confidence"]
    assert 0 < reply["churn_probability"] < 0.15
    assert reply["churn_risk"] == "Low"
    assert 10_000 < reply["estimated_clv"] < 20_000
    assert reply["recommendation"].split(":")[0] in {"NURTURE", "MAINTAIN"}


@pytest.mark.parametrize(("yes", "no"), [("yes", "no"), ("Yes", "No"), ("YES", "NO"), (True, False), ("true", "false")])
def test_every_spelling_of_a_plan_gives_the_same_answer(http, yes, no):
    wanted = http.post("/predict", json=with_usage(internationalPlan="yes", voiceMailPlan="no")).json()
    assert http.post("/predict", json=with_usage(internationalPlan=yes, voiceMailPlan=no)).json() == wanted
    other = http.post("/predict", json=with_usage(internationalPlan=no, voiceMailPlan=yes)).json()
    assert other != wanted


def test_charges_stand_in_for_minutes(http):
    rates = {"Day": 0.17, "Eve": 0.085, "Night": 0.045, "Intl": 0.27}
    minutes = with_usage()
    charges = a_customer(
        **{f"total{period}Charge": minutes[f"total{period}Minutes"] * rates[period] for period in rates}
    )
    one, other = (http.post("/predict?include=models", json=each).json() for each in (minutes, charges))
    assert one["models"]["churn"]["variant"] == "usage"
    assert other == one


def test_a_thousand_customers_one_by_one_and_at_once_get_identical_answers(http):
    customers = some_customers(1_000, seed=1)
    with ThreadPoolExecutor(8) as pool:
        singles = list(pool.map(lambda customer: http.post("/predict", json=customer).json(), customers))
    batch = http.post("/batch-predict", json=customers).json()
    assert batch["count"] == 1_000
    assert batch["predictions"] == singles
    assert {each["churn_risk"] for each in singles} == {"Low", "Medium", "High"}


def test_the_largest_batch_is_answered(http):
    reply = http.post("/batch-predict", json=some_customers(10_000, seed=2))
    assert reply.status_code == 200
    assert reply.json()["count"] == 10_000


def hold_out_rows():
    with HOLD_OUT.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def as_customer(row, *, usage):
    customer = a_customer(
        accountLength=int(row["Account length"]),
        state=row["State"],
        areaCode=row["Area code"],
        internationalPlan=row["International plan"],
        voiceMailPlan=row["Voice mail plan"],
        numberOfVmailMessages=int(row["Number vmail messages"]),
        customerServiceCalls=int(row["Customer service calls"]),
        **{f"total{period.capitalize()}Calls": int(row[f"Total {period} calls"]) for period in USAGE_PERIODS},
    )
    if usage:
        customer |= {
            f"total{period.capitalize()}Minutes": float(row[f"Total {period} minutes"]) for period in USAGE_PERIODS
        }
    return customer


USAGE_PERIODS = ("day", "eve", "night", "intl")
needs_public_data = pytest.mark.skipif(
    not HOLD_OUT.exists(), reason="the public data set is not beside this repository (../shared/data/telecom-churn)"
)


@needs_public_data
@pytest.mark.parametrize("usage", [True, False])
def test_churn_on_unseen_rows_is_as_good_as_the_readme_says(http, usage):
    rows = hold_out_rows()
    leaves = np.array([row["Churn"] == "True" for row in rows])
    predictions = http.post("/batch-predict", json=[as_customer(row, usage=usage) for row in rows]).json()[
        "predictions"
    ]
    probability = np.array([each["churn_probability"] for each in predictions])
    if usage:
        assert accuracy_score(leaves, probability >= 0.5) >= 0.975
        assert f1_score(leaves, probability >= 0.5) >= 0.90
    else:
        assert roc_auc_score(leaves, probability) >= 0.69


@needs_public_data
def test_lifetime_value_on_unseen_rows_is_as_good_as_the_readme_says(http):
    rows = hold_out_rows()
    bill = sum(np.array([float(row[f"Total {period} charge"]) for row in rows]) for period in USAGE_PERIODS)
    simulated = (
        100 * np.array([float(row["Account length"]) for row in rows])
        + 35 * bill
        + 500 * np.array([row["International plan"] == "Yes" for row in rows])
        + 300 * np.array([row["Voice mail plan"] == "Yes" for row in rows])
        + np.random.default_rng(7).normal(0, 1_000, len(rows))
    )
    predictions = http.post("/batch-predict", json=[as_customer(row, usage=True) for row in rows]).json()["predictions"]
    assert r2_score(np.maximum(simulated, 50), [each["estimated_clv"] for each in predictions]) >= 0.93


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"state": None}, "/state"),
        ({"totalDayCalls": "110"}, "/totalDayCalls"),
        ({"totalDayCalls": True}, "/totalDayCalls"),
        ({"totalDayCalls": 1.5}, "/totalDayCalls"),
        ({"state": "ZZ"}, "/state"),
        ({"customerServiceCalls": -1}, "/customerServiceCalls"),
        ({"totalDayMinutes": float("nan")}, "/totalDayMinutes"),
        ({"totalDayMinutes": 1e300}, "/totalDayMinutes"),
        ({"internationalPlan": "maybe"}, "/internationalPlan"),
    ],
)
def test_bad_input_is_refused_with_the_name_of_the_field(http, changes, pointer):
    import json

    body = json.dumps(a_customer(**changes))
    reply = http.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")
    assert [error["pointer"] for error in reply.json()["errors"]] == [pointer]


def test_one_request_can_be_followed_through_every_service(http, running):
    http.post("/predict", json=a_customer(customerId="secret-person"), headers={"X-Request-ID": "follow-me"})
    for server in (running.gateway, running.churn, running.clv):
        wait_until(lambda server=server: any("follow-me" in line for line in server.lines), what="the log line")


def test_no_personal_value_reaches_logs_or_metrics(http, running):
    http.post("/predict", json=a_customer(customerId="secret-person", state="WY"), headers={"X-Request-ID": "last"})
    wait_until(lambda: any('"last"' in line for line in running.gateway.lines), what="the log line")
    for server in (running.gateway, running.churn, running.clv):
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert "http_requests_total" in metrics
        assert "secret-person" not in metrics + "".join(server.lines)


def revived(name, port):
    return churn_service(port) if name == "churn" else clv_service(port)


@pytest.mark.parametrize("name", ["churn", "clv"])
def test_a_killed_model_service_takes_only_its_half_along_and_is_used_again_when_it_is_back(name, tmp_path):
    with system(tmp_path) as running, httpx.Client(base_url=running.url, trust_env=False, timeout=20) as http:
        getattr(running, name).kill()
        wait_until(lambda: http.get("/health").json()["status"] == "degraded", what="degraded health")
        health = http.get("/health").json()
        assert health[f"{name}_model"] == "not loaded"
        assert list(health.values()).count("loaded") == 1
        strict = http.post("/predict", json=a_customer())
        assert (strict.status_code, strict.json()["code"]) == (503, "model_unavailable")
        assert int(strict.headers["Retry-After"]) >= 1
        lenient = http.post("/predict", json=a_customer(), headers=LENIENT)
        assert (lenient.status_code, lenient.headers["X-Degraded"]) == (200, name)
        assert (lenient.json()["churn_probability"] is None) == (name == "churn")
        assert (lenient.json()["estimated_clv"] is None) == (name == "clv")
        with revived(name, getattr(running, name).port):
            wait_until(lambda: http.get("/health").json()["status"] == "healthy", what="healthy again")
            assert http.post("/predict", json=a_customer()).status_code == 200


def test_what_was_predicted_outlives_a_killed_gateway(tmp_path):
    history = tmp_path / "history.db"
    with churn_service() as churn, clv_service() as clv:
        with gateway(churn.url, clv.url, history) as first:
            reply = httpx.post(f"{first.url}/batch-predict", json=some_customers(50, seed=3), trust_env=False)
            assert "X-Prediction-Id" in reply.headers
            first.kill()
        with gateway(churn.url, clv.url, history) as second:
            assert httpx.get(f"{second.url}/stats", trust_env=False).json()["total_customers"] == 50


def test_each_service_ends_by_itself_when_it_is_told_to(tmp_path):
    with system(tmp_path) as running:
        processes = [running.gateway.process, running.churn.process, running.clv.process]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(timeout=15) for process in processes] == [0, 0, 0]


def test_a_gateway_that_is_about_to_stop_answers_to_the_end_and_asks_for_other_connections(tmp_path):
    with (
        churn_service() as churn,
        clv_service() as clv,
        gateway(churn.url, clv.url, tmp_path / "history.db", DRAIN_S="60") as front,
        httpx.Client(base_url=front.url, trust_env=False, timeout=20) as http,
    ):
        assert "Connection" not in http.post("/predict", json=a_customer()).headers
        front.process.send_signal(signal.SIGTERM)
        wait_until(lambda: http.get("/readyz").status_code == 503, what="the gateway to leave the pool")
        for path in ("/predict", "/batch-predict"):  # each over a connection of its own
            reply = http.post(path, json=a_customer() if path == "/predict" else [a_customer()])
            assert (reply.status_code, reply.headers["Connection"]) == (200, "close")
            assert "X-Prediction-Id" in reply.headers
        assert http.get("/nothing").headers["Connection"] == "close"
        front.process.send_signal(signal.SIGTERM)  # the second signal ends it at once
        assert front.process.wait(timeout=15) == 0


def test_a_model_service_that_is_about_to_stop_answers_to_the_end_and_asks_for_other_connections():
    with (
        churn_service(DRAIN_S="60") as churn,
        httpx.Client(base_url=churn.url, trust_env=False, timeout=20) as http,
    ):
        churn.process.send_signal(signal.SIGTERM)
        wait_until(lambda: http.get("/v2/health/ready").status_code == 503, what="the service to leave the pool")
        reply = http.post("/v2/models/churn/infer", json=v2_request([a_customer()]))
        assert (reply.status_code, reply.headers["Connection"]) == (200, "close")
        churn.process.send_signal(signal.SIGTERM)
        assert churn.process.wait(timeout=15) == 0


def start(module, **settings):
    environ = clean_environ() | {f"TELELINK_{name}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "manifest.json.sha256"])
@pytest.mark.parametrize(
    ("module", "models", "name"), [("telelink_churn", CHURN_MODELS, "churn"), ("telelink_clv", CLV_MODELS, "clv")]
)
def test_a_tampered_model_is_not_served_and_the_reason_is_told(tmp_path, module, models, name, file):
    shutil.copytree(models, tmp_path / "models")
    path = tmp_path / "models" / name / "1" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    ended = start(module, PORT="0", MODELS_DIR=str(tmp_path / "models"))
    assert ended.returncode != 0
    assert "content differs from" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_pipe_in_a_models_place_is_not_waited_for(tmp_path):
    shutil.copytree(CHURN_MODELS, tmp_path / "models")
    path = tmp_path / "models" / "churn" / "1" / "model.onnx"
    path.unlink()
    os.mkfifo(path)
    ended = start("telelink_churn", PORT="0", MODELS_DIR=str(tmp_path / "models"))
    assert ended.returncode != 0
    assert "model.onnx: cannot be read (not a regular file)" in ended.stdout + ended.stderr


@pytest.mark.parametrize("module", ["telelink_gateway", "telelink_churn", "telelink_clv"])
def test_a_misspelt_setting_stops_the_start_with_one_line(module):
    ended = start(module, PROT="1")
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "did you mean TELELINK_PORT?" in said
    assert len(said.splitlines()) == 1
