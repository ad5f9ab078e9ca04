"""What surrounds every reply is the same whichever way a request takes: through the framework or directly."""

from contextlib import asynccontextmanager

import pytest
import structlog
from fastapi import Request
from fastapi.testclient import TestClient
from starlette.responses import Response

from telelink_gateway.security_headers import API_CSP, security_headers
from telelink_shared.problem import ModelUnavailable
from telelink_shared.web.app import FurnishedApp
from telelink_shared.web.request_id import current_request_id

WAYS = ("/framework", "/direct")


async def fails(_request: Request) -> Response:
    raise ZeroDivisionError("secret-words")


async def is_out(_request: Request) -> Response:
    raise ModelUnavailable("The model is out.", retry_after_s=7)


async def answers(_request: Request) -> Response:
    return Response(f'"{current_request_id()}"', media_type="application/json")


@asynccontextmanager
async def nothing_to_open(_app):
    yield {}


def client_of(handler):
    app = FurnishedApp(
        title="test",
        version="1",
        description="",
        lifespan=nothing_to_open,
        direct={"/direct": handler},
        extra_headers=security_headers,
    )
    app.add_api_route("/framework", handler, methods=["POST"], response_model=None)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("way", WAYS)
def test_a_bug_is_answered_as_a_problem_with_id_and_security_headers_and_tells_nothing(way):
    with client_of(fails) as client:
        reply = client.post(way, headers={"X-Request-ID": "abc-1"})
    assert (reply.status_code, reply.headers["content-type"]) == (500, "application/problem+json")
    problem = reply.json()
    assert (problem["code"], problem["instance"], problem["request_id"]) == ("internal_error", way, "abc-1")
    assert reply.headers["X-Request-ID"] == "abc-1"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Security-Policy"] == API_CSP
    assert "secret" not in reply.text
    assert "Zero" not in reply.text


@pytest.mark.parametrize("way", WAYS)
def test_a_bug_is_logged_with_its_cause_and_the_request_with_one_line(way):
    with client_of(fails) as client, structlog.testing.capture_logs() as lines:
        client.post(way)
    (bug,) = (line for line in lines if line["event"] == "unexpected error")
    assert isinstance(bug["exc_info"], ZeroDivisionError)
    (request,) = (line for line in lines if line["event"] == "request")
    assert (request["method"], request["route"], request["status"]) == ("POST", way, 500)


@pytest.mark.parametrize("way", WAYS)
def test_a_problem_is_answered_alike(way):
    with client_of(is_out) as client:
        reply = client.post(way)
    assert (reply.status_code, reply.json()["code"], reply.headers["Retry-After"]) == (503, "model_unavailable", "7")
    assert reply.headers["Content-Security-Policy"] == API_CSP


@pytest.mark.parametrize(("handler", "status"), [(answers, 200), (is_out, 503), (fails, 500)])
@pytest.mark.parametrize("way", WAYS)
def test_each_request_is_counted_by_its_route_and_status_and_none_stays_in_flight(way, handler, status):
    with client_of(handler) as client:
        client.post(way)
        text = client.get("/metrics").text
    assert f'http_requests_total{{method="POST",route="{way}",status="{status}"}} 1.0' in text
    assert f'http_request_duration_seconds_count{{route="{way}"}} 1.0' in text
    assert "http_requests_in_flight 1.0" in text  # the question itself


@pytest.mark.parametrize("way", WAYS)
def test_the_id_of_a_request_is_known_where_it_is_answered_and_is_the_replys(way):
    with client_of(answers) as client:
        first, second = client.post(way), client.post(way, headers={"X-Request-ID": "mine"})
    assert first.json() == first.headers["X-Request-ID"] != "mine"
    assert second.json() == second.headers["X-Request-ID"] == "mine"


@pytest.mark.parametrize("way", WAYS)
def test_other_methods_are_refused(way):
    with client_of(answers) as client:
        reply = client.get(way)
    assert (reply.status_code, reply.json()["code"]) == (
        (405, "method_not_allowed") if way == WAYS[0] else (404, "not_found")
    )


@pytest.mark.parametrize(("handler", "status"), [(answers, 200), (fails, 500)])
@pytest.mark.parametrize("way", WAYS)
def test_a_process_that_is_about_to_stop_answers_and_asks_for_another_connection(way, handler, status):
    with client_of(handler) as client:
        assert "Connection" not in client.post(way).headers
        client.app.state.lifecycle.is_ready = False
        reply = client.post(way)
    assert (reply.status_code, reply.headers["Connection"]) == (status, "close")
