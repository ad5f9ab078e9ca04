"""Real nginx with the image's configuration, in front of the real system."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest

from support.builders import ROOT, a_customer
from support.nginx import frontend, needs_nginx
from support.servers import system
from telelink_gateway.routes.predictions import BATCH_LIMIT_BYTES
from telelink_gateway.security_headers import PAGE_CSP
from telelink_shared.problem import catalogue

pytestmark = needs_nginx
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def folder():
    # Short, and readable by the user that nginx's workers take when it is started by root.
    path = Path(tempfile.mkdtemp(prefix="telelink-nginx-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def url(folder):
    (folder / "a").mkdir(mode=0o777)
    with system(folder) as running, frontend(running.url, folder / "a") as address:
        yield address


@pytest.fixture(scope="module")
def alone(folder):
    (folder / "b").mkdir(mode=0o777)
    with frontend(NOBODY, folder / "b") as address:
        yield address


@pytest.fixture
def http(url):
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/js/main.js", "application/javascript"),
        ("/css/base.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/health", "application/json"),
        ("/livez", "application/json"),
        ("/readyz", "application/json"),
        ("/stats", "application/json"),
        ("/openapi.json", "application/json"),
        ("/docs", "text/html"),
        ("/redoc", "text/html"),
        ("/docs-assets/swagger-ui.css", "text/css"),
        ("/v1/services", "application/json"),
        ("/v1/policy", "application/json"),
        ("/problems/not_found", "application/json"),
    ],
)
def test_the_page_and_every_public_address_are_served(http, path, media_type):
    reply = http.get(path)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith(media_type)
    for header in ("content-security-policy", "x-content-type-options", "referrer-policy"):
        assert len(reply.headers.get_list(header)) == 1, header


def test_a_prediction_goes_through(http):
    reply = http.post("/predict", json=a_customer(), headers={"X-Request-ID": "mine"})
    assert reply.status_code == 200
    assert reply.json()["churn_risk"] in {"Low", "Medium", "High"}
    assert reply.headers.get_list("x-request-id") == ["mine"]
    assert reply.headers["x-prediction-id"]


def test_the_page_may_run_nothing_from_elsewhere_and_nothing_inline(http):
    page = http.get("/")
    assert page.headers["content-security-policy"] == PAGE_CSP
    assert not re.search(r"(?i)<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|(src|href)=\"(https?:)?//", page.text)


def test_metrics_are_not_public(http):
    assert http.get("/metrics").status_code == 404


def test_a_changed_page_is_seen_at_once_and_an_unchanged_one_is_not_sent_again(http):
    first = http.get("/js/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = http.get("/js/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("given", ["a b", "x" * 65, '"}{"'])
def test_an_id_that_could_do_harm_is_replaced(http, given):
    reply = http.get("/nothing-here", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


def assert_problem(reply, status, code):
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    problem = reply.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"/problems/{code}")
    known = catalogue()[code]
    assert (problem["title"], status) == (known.title, known.status)


def test_a_body_that_is_too_large_is_refused_as_a_problem(http):
    assert_problem(http.post("/batch-predict", content=b" " * 10_000_000), 413, "body_too_large")


def test_what_nginx_lets_through_is_what_the_gateway_takes():
    template = (ROOT / "frontend" / "nginx" / "templates" / "server.conf.template").read_text()
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", template)
    assert int(megabytes) * 1024 * 1024 == BATCH_LIMIT_BYTES


@pytest.mark.parametrize("path", ["/nothing", "/a%22b", "/x?secret=1", "/v1", "/js/"])
def test_an_unknown_address_is_a_problem_without_its_query(http, path):
    reply = http.get(path)
    assert_problem(reply, 404, "not_found")
    assert reply.json()["instance"] == path.partition("?")[0]


def test_nothing_outside_the_pages_folder_is_served(http):
    assert_problem(http.get("/..%2f..%2fetc/passwd"), 400, "bad_request")
    assert_problem(http.get("/.%2e/nginx.conf"), 400, "bad_request")


def test_a_method_that_a_file_does_not_take_is_a_problem(http):
    assert_problem(http.post("/index.html"), 405, "method_not_allowed")


def test_a_request_that_is_not_well_formed_is_a_problem(http):
    assert_problem(http.get("/" + "x" * 20_000), 400, "bad_request")


def test_without_a_gateway_the_page_is_still_served_and_a_request_is_answered_with_503(alone):
    assert httpx.get(alone, trust_env=False).status_code == 200
    reply = httpx.post(f"{alone}/predict", json=a_customer(), trust_env=False)
    assert_problem(reply, 503, "gateway_unavailable")
    assert reply.headers["retry-after"] == "2"
    assert reply.headers["content-security-policy"] == PAGE_CSP


def test_the_access_log_is_json_without_query_or_body(http, folder):
    http.get("/stats?name=secret-words")
    lines = [line for line in (folder / "a" / "nginx.log").read_text().splitlines() if line.startswith("{")]
    entry = next(each for each in map(json.loads, lines) if each["path"] == "/stats")
    assert (entry["service"], entry["status"]) == ("frontend", 200)
    assert not any("secret" in line for line in lines)
