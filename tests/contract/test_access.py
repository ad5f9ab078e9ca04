"""Who may ask what of the gateway, with API keys and in demo mode."""

import pytest
from fastapi.testclient import TestClient

from support.builders import a_customer
from support.stub_model import stub_model
from telelink_gateway.api_keys.guard import COOKIE
from telelink_gateway.api_keys.keys import SCOPES, new_key, write_keys
from telelink_gateway.app import create_app
from telelink_gateway.settings import Settings

PUBLIC = {
    ("GET", "/health"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/problems/{code}"),
    ("GET", "/v1/session"),
    ("POST", "/v1/session"),
    ("DELETE", "/v1/session"),
}


@pytest.fixture(scope="module")
def stubs():
    with stub_model("churn") as churn, stub_model("clv") as clv:
        yield churn, clv


def running(stubs, folder, **more):
    churn, clv = stubs
    history = f"sqlite:///{folder}/history.db"
    app = create_app(Settings(churn_url=churn.url, clv_url=clv.url, history_url=history, **more))
    return TestClient(app, base_url="http://localhost:8000")


@pytest.fixture
def keys(tmp_path):
    """The text of a key for each scope alone, and of one for all, and their file."""
    made = {scope: new_key(scope, [scope]) for scope in SCOPES} | {"all": new_key("all", SCOPES)}
    write_keys(tmp_path / "keys.json", {key.id: key for _, key in made.values()})
    return {name: text for name, (text, _) in made.items()}


@pytest.fixture
def client(stubs, keys, tmp_path):
    with running(stubs, tmp_path, api_keys_file=tmp_path / "keys.json") as client:
        yield client


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


def operations(client):
    """Method, path with its parameters filled in, and path as declared, of all that is documented."""
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            yield method.upper(), path.replace("{code}", "not_found").replace("{", "").replace("}", ""), path


def test_all_that_is_documented_is_closed_but_what_is_public(client):
    public = {
        (method, declared)
        for method, path, declared in operations(client)
        if client.request(method, path, json={}).status_code != 401
    }
    assert public == PUBLIC - {("GET", "/v1/session")}


def test_without_a_key_and_with_a_wrong_one_nothing_is_told_but_how(client, keys):
    for headers in ({}, bearer("tlk_unknown"), bearer(keys["all"] + "x"), {"Authorization": f"Basic {keys['all']}"}):
        reply = client.post("/predict", content="not even JSON", headers=headers)
        assert (reply.status_code, reply.headers["content-type"]) == (401, "application/problem+json")
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert reply.json()["code"] == "unauthenticated"
        assert reply.json()["instance"] == "/predict"
        assert "unknown" not in reply.text


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [("POST", "/predict", "predict"), ("GET", "/stats", "history"), ("POST", "/v1/erasures", "admin")],
)
def test_each_scope_opens_what_is_its_own(client, keys, method, path, scope):
    for name in SCOPES:
        reply = client.request(method, path, json=a_customer(), headers=bearer(keys[name]))
        if name == scope:
            assert reply.status_code not in (401, 403)
        else:
            assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")


def test_who_signs_in_has_a_cookie_that_is_not_the_key_until_signing_out(client, keys):
    reply = client.post("/v1/session", json={"key": keys["predict"]})
    assert reply.json() == {"mode": "keys", "name": "predict", "scopes": ["predict"]}
    cookie = reply.headers["set-cookie"]
    for part in (f"{COOKIE}=", "HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert part in cookie
    assert "Secure" not in cookie
    assert keys["predict"].split("_", 2)[2] not in cookie
    assert client.post("/predict", json=a_customer()).status_code == 200
    assert client.get("/stats").status_code == 403
    assert client.get("/v1/session").json()["name"] == "predict"
    kept = client.cookies[COOKIE]
    assert client.delete("/v1/session").status_code == 204
    assert COOKIE not in client.cookies
    # The session itself is over, not only the browser's cookie.
    assert client.post("/predict", json=a_customer(), headers={"Cookie": f"{COOKIE}={kept}"}).status_code == 401


def test_over_https_the_cookie_is_for_https_alone(client, keys):
    reply = client.post("/v1/session", json={"key": keys["predict"]}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in reply.headers["set-cookie"]


def test_a_wrong_key_signs_nobody_in(client):
    for key, status in (("tlk_0123456789ab_secret", 401), ("", 422), ("k" * 200, 422)):
        reply = client.post("/v1/session", json={"key": key})
        assert reply.status_code == status
        assert "set-cookie" not in reply.headers
        assert "secret" not in reply.text


def test_a_page_of_another_origin_cannot_use_a_session(client, keys):
    client.post("/v1/session", json={"key": keys["all"]})
    elsewhere = ({"Origin": "http://localhost:9000"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"})
    for headers in elsewhere:
        for method, path in (("POST", "/predict"), ("DELETE", "/v1/session"), ("POST", "/v1/session")):
            reply = client.request(method, path, json={"key": keys["all"]}, headers=headers)
            assert (reply.status_code, reply.json()["code"]) == (403, "forbidden"), (headers, path)
    here = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/predict", json=a_customer(), headers=here).status_code == 200
    # A key is not sent by a browser of its own accord.
    assert client.post("/predict", json=a_customer(), headers=elsewhere[0] | bearer(keys["all"])).status_code == 200


def test_a_revoked_key_ends_its_sessions(stubs, tmp_path):
    file = tmp_path / "keys.json"
    (text, key), (_, other) = new_key("one", ["predict"]), new_key("two", ["predict"])
    write_keys(file, {key.id: key, other.id: other})
    with running(stubs, tmp_path, api_keys_file=file) as client:
        client.post("/v1/session", json={"key": text})
        assert client.post("/predict", json=a_customer()).status_code == 200
        write_keys(file, {other.id: other})
        keyring = client.app_state["resources"].access.keyring
        keyring._looked_at = float("-inf")
        assert client.post("/predict", json=a_customer()).status_code == 401


def test_in_demo_mode_everything_is_open_and_there_is_nothing_to_sign_in_to(stubs, tmp_path):
    with running(stubs, tmp_path) as client:
        assert client.post("/predict", json=a_customer()).status_code == 200
        assert client.get("/stats").status_code == 200
        demo = {"mode": "demo", "name": None, "scopes": list(SCOPES)}
        assert client.get("/v1/session").json() == demo
        reply = client.post("/v1/session", json={"key": "anything"})
        assert (reply.json(), reply.headers.get("set-cookie")) == (demo, None)
        assert client.delete("/v1/session").status_code == 204


@pytest.mark.parametrize("mode", ["demo", "keys"])
def test_no_reply_allows_another_origin_anything(stubs, keys, tmp_path, mode):
    more = {"api_keys_file": tmp_path / "keys.json"} if mode == "keys" else {}
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
    with running(stubs, tmp_path, **more) as client:
        paths = {path for _, path, _ in operations(client)} | {
            "/",
            "/docs",
            "/redoc",
            "/openapi.json",
            "/metrics",
            "/x",
        }
        for path in sorted(paths):
            for method in ("OPTIONS", "GET", "POST"):
                for headers in (asked, asked | bearer(keys["all"])):
                    reply = client.request(method, path, json={}, headers=headers)
                    assert not [name for name in reply.headers if name.startswith("access-control-")], (method, path)


def test_the_code_names_no_key_or_token_in_a_log_line(client, keys, capsys):
    client.post("/v1/session", json={"key": keys["all"]})
    client.get("/stats", headers=bearer(keys["history"]))
    client.get("/stats", headers=bearer("tlk_canary"))
    logged = capsys.readouterr().out
    assert logged
    for secret in (*(text.split("_", 2)[2] for text in keys.values()), "canary", client.cookies[COOKIE]):
        assert secret not in logged
