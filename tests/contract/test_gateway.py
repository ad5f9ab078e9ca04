"""What the gateway says of itself: ids, health, policy, metrics, and the description of its interface."""

import json
import re
from pathlib import Path

import pytest

from support.builders import ROOT, a_customer, some_customers
from telelink_gateway.security_headers import PAGE_CSP

OPENAPI = Path(__file__).parent / "openapi" / "gateway.json"


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


def test_the_policy_in_force_is_told(client):
    assert client.get("/v1/policy").json() == {
        "version": "2026-11",
        "medium_from": 0.15,
        "high_from": 0.3,
        "high_value_from_usd": 15_000.0,
        "top_value_from_usd": 18_000.0,
    }


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
