"""Real nginx with the image's configuration, in front of the real system."""

import json
import re
import shutil
import socket
import tempfile
import threading
import uuid
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from support.builders import ROOT, a_customer
from support.nginx import frontend, image_settings, needs_nginx
from support.servers import system, wait_until
from telelink_gateway.admission import LEAST
from telelink_gateway.routes.predictions import BATCH_LIMIT_BYTES, SINGLE_LIMIT_BYTES
from telelink_gateway.security_headers import PAGE_CSP
from telelink_shared.customer import EXAMPLE
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
def unused(folder):
    """An nginx that has nothing to do yet: what it was asked before may still be counted for a moment."""
    own = folder / uuid.uuid4().hex
    own.mkdir(mode=0o777)
    with frontend(NOBODY, own) as address:
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


@pytest.mark.parametrize(("path", "n_bytes"), [("/predict", SINGLE_LIMIT_BYTES), ("/batch-predict", BATCH_LIMIT_BYTES)])
def test_nginx_lets_through_what_the_gateway_takes_and_refuses_more_as_a_problem(http, path, n_bytes):
    assert http.post(path, content=b" " * n_bytes).json()["code"] == "malformed_json"
    assert_problem(http.post(path, content=b" " * (n_bytes + 1)), 413, "body_too_large")


@contextmanager
def under_way(url, head, n_requests, *, client="127.0.0.1"):
    """Requests whose bodies do not come to an end: taken in once the block begins, and done with after it."""
    host, _, port = url.removeprefix("http://").partition(":")
    senders = []
    with ExitStack() as stack:
        for _ in range(n_requests):
            each = stack.enter_context(socket.create_connection((host, int(port)), 20, source_address=(client, 0)))
            each.sendall(f"POST {head}\r\nHost: x\r\nExpect: 100-continue\r\n\r\n".encode())
            assert each.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            senders.append(each)
        yield
        for each in senders:
            each.shutdown(socket.SHUT_WR)
            assert each.recv(100) == b"", "it was refused"


LARGE_BODIES = ("Content-Length: 100000", "Content-Length: 8000000", "Transfer-Encoding: chunked")


def answer_to(client, url, path, n_bytes):
    with httpx.Client(transport=httpx.HTTPTransport(local_address=client), trust_env=False, timeout=20) as sender:
        return sender.post(url + path, content=b" " * n_bytes)


def assert_refused(reply):
    assert_problem(reply, 429, "too_many_requests")
    assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize("length", LARGE_BODIES)
def test_a_client_may_send_two_large_bodies_at_once_and_all_clients_together_four(unused, length):
    head = f"/batch-predict HTTP/1.1\r\n{length}"
    with under_way(unused, head, 2, client="127.0.0.1"):
        assert_refused(answer_to("127.0.0.1", unused, "/batch-predict", 100_000))
        assert_problem(answer_to("127.0.0.1", unused, "/batch-predict", 99_999), 503, "gateway_unavailable")
        with under_way(unused, head, 2, client="127.0.0.2"):
            assert_refused(answer_to("127.0.0.3", unused, "/batch-predict", 100_000))
    with under_way(unused, head, 2, client="127.0.0.1"):
        pass


def test_a_client_may_have_128_requests_under_way(unused):
    with under_way(unused, "/predict HTTP/1.1\r\nContent-Length: 9", 128):
        for path in ("/predict", "/batch-predict", "/v1/erasures", "/index.html"):
            assert_refused(answer_to("127.0.0.1", unused, path, 9))
        assert_problem(answer_to("127.0.0.2", unused, "/predict", 9), 503, "gateway_unavailable")
        assert httpx.get(f"{unused}/nginx-health", trust_env=False).status_code == 204
    assert_problem(answer_to("127.0.0.1", unused, "/predict", 9), 503, "gateway_unavailable")


def test_all_clients_together_may_have_160_requests_under_way_and_probes_are_not_among_them(unused):
    head = "/predict HTTP/1.1\r\nContent-Length: 9"
    with under_way(unused, head, 128, client="127.0.0.1"), under_way(unused, head, 32, client="127.0.0.2"):
        for path in ("/predict", "/batch-predict", "/v1/erasures", "/index.html"):
            assert_refused(answer_to("127.0.0.3", unused, path, 9))
        for client in ("127.0.0.1", "127.0.0.3"):
            for path in ("/health", "/livez", "/readyz"):
                assert_problem(answer_to(client, unused, path, 0), 503, "gateway_unavailable")
    assert_problem(answer_to("127.0.0.3", unused, "/predict", 9), 503, "gateway_unavailable")


def test_what_nginx_lets_in_the_gateway_lets_in_too():
    assert int(image_settings()["REQUESTS_OF_ALL"]) == LEAST


def test_those_who_are_refused_at_once_are_told_to_come_back_at_different_times(unused):
    with under_way(unused, "/predict HTTP/1.1\r\nContent-Length: 9", 128):
        told = {answer_to("127.0.0.1", unused, "/predict", 9).headers["retry-after"] for _ in range(40)}
    assert told == {"1", "2", "3"}


def test_a_jobs_file_may_be_larger_than_anything_that_nginx_keeps_and_its_events_come_at_once(http):
    header, row = ",".join([*EXAMPLE, "note"]), ",".join(map(str, EXAMPLE.values()))
    file = "\n".join([header, *[f"{row},{'x' * 200_000}"] * 50, ""])
    assert len(file) > BATCH_LIMIT_BYTES
    reply = http.post("/v1/jobs", content=file.encode(), headers={"Content-Type": "text/csv"}, timeout=60)
    assert reply.status_code == 202
    with http.stream("GET", f"{reply.headers['location']}/events", timeout=60) as events:
        lines = events.iter_lines()
        first = next(line for line in lines if line.startswith("data: "))
        assert json.loads(first.removeprefix("data: "))["state"] in ("queued", "running", "succeeded")
        told = [first, *(line for line in lines if line.startswith("data: "))]
    assert json.loads(told[-1].removeprefix("data: "))["state"] == "succeeded"
    part = http.get(f"{reply.headers['location']}/result", headers={"Range": "bytes=0-5"})
    assert (part.status_code, part.text) == (206, header[:6])


def test_the_large_bodies_that_are_let_in_fit_where_they_are_kept_and_that_fits_the_containers_memory():
    nginx = ROOT / "frontend" / "nginx"
    template = (nginx / "templates" / "server.conf.template").read_text()
    frontend_service = (ROOT / "docker-compose.yml").read_text().partition("  frontend:")[2].partition("  gateway:")[0]
    (n_bodies,) = map(int, re.findall(r"limit_conn large_bodies (\d+);", template))
    room, configuration = (int(size) * 1024 * 1024 for size in re.findall(r"size=(\d+)m", frontend_service))
    (limit,) = (int(size) * 1024 * 1024 for size in re.findall(r"mem_limit: (\d+)m", frontend_service))
    assert n_bodies * BATCH_LIMIT_BYTES < room
    assert room + configuration < 0.6 * limit
    assert "proxy_max_temp_file_size 0;" in (nginx / "snippets" / "limits.conf").read_text()


def test_a_large_body_that_finds_no_room_is_a_problem_of_its_own(alone, folder):
    (folder / "b" / "client_body").rename(folder / "b" / "elsewhere")
    try:
        reply = httpx.post(f"{alone}/batch-predict?no=room", content=b" " * 1_000_000, trust_env=False)
    finally:
        (folder / "b" / "elsewhere").rename(folder / "b" / "client_body")
    assert_problem(reply, 503, "unavailable")
    assert reply.headers["retry-after"] == "2"
    assert "no=room" not in (folder / "b" / "nginx.log").read_text()


@pytest.mark.parametrize("path", ["/nothing", "/a%22b", "/x?secret=1", "/v1", "/js/"])
def test_an_unknown_address_is_a_problem_that_does_not_repeat_it(http, path):
    reply = http.get(path)
    assert_problem(reply, 404, "not_found")
    assert reply.json()["instance"] == "/"


def test_a_refusal_names_the_address_only_where_it_is_one_of_the_apis(http):
    known = http.post("/predict?secret=1", content=b" " * (SINGLE_LIMIT_BYTES + 1))
    assert known.json()["instance"] == "/predict"
    long = http.get("/" + "secret" * 1_000)
    assert_problem(long, 404, "not_found")
    assert len(long.content) < 1_000


def test_nothing_outside_the_pages_folder_is_served(http):
    assert_problem(http.get("/..%2f..%2fetc/passwd"), 400, "bad_request")
    assert_problem(http.get("/.%2e/nginx.conf"), 400, "bad_request")


def test_a_method_that_a_file_does_not_take_is_a_problem(http):
    assert_problem(http.post("/index.html"), 405, "method_not_allowed")


def test_a_request_that_is_not_well_formed_is_a_problem(http):
    assert_problem(http.get("/" + "x" * 20_000), 400, "bad_request")


@pytest.mark.parametrize("path", ["/icon.svg", "/docs-assets/swagger-ui.css"])
def test_a_file_comes_whole_whatever_range_is_asked_for(http, path):
    whole = http.get(path)
    for value in ("bytes=0-5", "bytes=99999999-", "bytes=x"):
        reply = http.get(path, headers={"Range": value})
        assert (reply.status_code, reply.content) == (200, whole.content)


def test_a_condition_that_a_file_does_not_meet_is_a_problem(http):
    assert_problem(http.get("/icon.svg", headers={"If-Match": '"another"'}), 400, "bad_request")


def test_without_a_gateway_the_page_is_still_served_and_a_request_is_answered_with_503(alone):
    assert httpx.get(alone, trust_env=False).status_code == 200
    reply = httpx.post(f"{alone}/predict", json=a_customer(), trust_env=False)
    assert_problem(reply, 503, "gateway_unavailable")
    assert reply.headers["retry-after"] == "2"
    assert reply.headers["content-security-policy"] == PAGE_CSP


@pytest.fixture
def logged(folder):
    """The line of the access log for a path, once it is there."""

    def entry(path):
        lines = [line for line in (folder / "a" / "nginx.log").read_text().splitlines() if line.startswith("{")]
        return next((each for each in map(json.loads, lines) if each["path"] == path), None)

    return lambda path: wait_until(lambda: entry(path), what=f"a line about {path}")


def test_the_access_log_is_json_without_query_or_body(http, folder, logged):
    path = f"/v1/{uuid.uuid4()}"
    http.post(f"{path}?name=secret-words", content=b"secret-words")
    entry = logged(path)
    assert (entry["service"], entry["method"], entry["status"]) == ("frontend", "POST", 404)
    assert entry["upstream"]
    assert "secret-words" not in (folder / "a" / "nginx.log").read_text()


def test_the_error_log_has_no_query_either(alone, folder):
    httpx.post(f"{alone}/predict?name=secret-words", content=b"1", trust_env=False)
    httpx.post(f"{alone}/batch-predict?name=secret-words", content=b" " * (BATCH_LIMIT_BYTES + 1), trust_env=False)
    log = (folder / "b" / "nginx.log").read_text()
    assert '"status": 503' in log
    assert "secret-words" not in log


@pytest.mark.parametrize("path", ["/NAME", "/NAME%22%0a", '/NAME"\\'])
def test_the_access_log_has_the_path_that_was_asked_for_where_nginx_itself_answers(url, logged, path):
    path = path.replace("NAME", str(uuid.uuid4()))
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as sender:
        sender.sendall(f"GET {path}?name=x HTTP/1.0\r\n\r\n".encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 404 ")
    assert (logged(path)["status"], logged(path)["upstream"]) == (404, "")


def gateways_at(*hosts):
    """Servers that say which of these addresses they answer at, all at the same port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            host = self.server.server_address[0].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(host)))
            self.end_headers()
            self.wfile.write(host)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.n_taken += 1
            if self.path == "/v1/lost":
                self.close_connection = True
            else:
                self.do_GET()

        def log_message(self, *_):
            pass

    servers = []
    for host in hosts:
        servers.append(ThreadingHTTPServer((host, servers[0].server_port if servers else 0), Handler))
        servers[-1].daemon_threads = True
        servers[-1].n_taken = 0
    return servers


def test_a_gateway_with_another_address_is_used_without_a_restart_and_no_request_fails(folder):
    (folder / "c" / "bin").mkdir(parents=True)
    (folder / "c").chmod(0o777)
    address = folder / "c" / "address"
    getent = folder / "c" / "bin" / "getent"
    getent.write_text(f'#!/bin/sh\ncat "{address}"\n')
    getent.chmod(0o755)
    address.write_text("127.0.0.1 STREAM\n")
    old, new = gateways_at("127.0.0.1", "127.0.0.2")
    try:
        for each in (old, new):
            threading.Thread(target=each.serve_forever, daemon=True).start()
        with (
            frontend(f"http://gateway:{old.server_port}", folder / "c", GATEWAY_LOOK_EVERY_S="0.01") as url,
            httpx.Client(base_url=url, trust_env=False, timeout=20) as http,
        ):
            assert http.get("/v1/services").text == "127.0.0.1"
            (folder / "c" / "next").write_text("127.0.0.2 STREAM\n")
            (folder / "c" / "next").rename(address)
            wait_until(lambda: http.get("/v1/services").raise_for_status().text == "127.0.0.2", what="the new address")
    finally:
        for each in (old, new):
            each.shutdown()
            each.server_close()


@pytest.fixture
def two_gateways(folder):
    """Both, and a client of an nginx that takes them for ready whatever becomes of them."""
    own = folder / uuid.uuid4().hex
    (own / "bin").mkdir(parents=True)
    own.chmod(0o777)
    for name, does in (("getent", "printf '127.0.0.1 STREAM\\n127.0.0.2 STREAM\\n'"), ("curl", "exit 0")):
        (own / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (own / "bin" / name).chmod(0o755)
    both = gateways_at("127.0.0.1", "127.0.0.2")
    for each in both:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    try:
        with (
            frontend(f"http://gateway:{both[0].server_port}", own) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=20) as http,
        ):
            yield both, http
    finally:
        for each in both:
            each.shutdown()
            each.server_close()


def test_where_a_gateway_cannot_be_connected_to_another_is_asked(two_gateways):
    (gone, stays), http = two_gateways
    gone.shutdown()
    gone.server_close()
    assert [http.post("/predict", json={}).status_code for _ in range(10)] == [200] * 10
    assert stays.n_taken == 10


def test_what_a_gateway_was_sent_and_did_not_answer_is_not_sent_again(two_gateways):
    both, http = two_gateways
    assert_problem(http.post("/v1/lost", json={}), 503, "gateway_unavailable")
    assert sum(each.n_taken for each in both) == 1


def test_who_signs_in_is_kept_at_one_gateway_and_all_others_are_spread(two_gateways):
    _, http = two_gateways
    signed_in_at = http.post("/v1/session", json={}).text
    kept = {http.get("/stats", headers={"Cookie": f"telelink_session={n}"}).text for n in range(40)}
    assert kept == {signed_in_at}
    assert {http.get("/stats").text for _ in range(40)} == {"127.0.0.1", "127.0.0.2"}
