"""What the gateway refuses: in one shape, in few words, and without repeating the input."""

import json

import pytest

from support.builders import a_customer, with_usage


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "pointer"),
    [
        ("POST", "/predict", "{", 400, "malformed_json", ""),
        ("POST", "/predict", "", 400, "malformed_json", ""),
        ("POST", "/predict", "[]", 422, "invalid_input", ""),
        ("POST", "/predict", "null", 422, "invalid_input", ""),
        ("POST", "/predict", json.dumps(a_customer(state=None)), 422, "invalid_input", "/state"),
        ("POST", "/predict", json.dumps(a_customer(state="XX")), 422, "invalid_input", "/state"),
        (
            "POST",
            "/predict",
            json.dumps(a_customer(accountLength="secret-words")),
            422,
            "invalid_input",
            "/accountLength",
        ),
        ("POST", "/predict", json.dumps(a_customer(totalDayCalls=-3)), 422, "invalid_input", "/totalDayCalls"),
        (
            "POST",
            "/predict",
            json.dumps(with_usage(totalDayMinutes=float("nan"))),
            422,
            "invalid_input",
            "/totalDayMinutes",
        ),
        ("POST", "/predict", json.dumps(a_customer() | {"secret": 1}), 422, "invalid_input", ""),
        ("POST", "/predict", b"\xff\xfe{}", 400, "not_utf8", None),
        ("POST", "/predict", "[" * 100_000, 413, "body_too_large", None),
        ("POST", "/predict", "[" * 250, 400, "malformed_json", ""),
        (
            "POST",
            "/batch-predict",
            json.dumps([a_customer(), a_customer(areaCode="999")]),
            422,
            "invalid_input",
            "/1/areaCode",
        ),
        ("POST", "/batch-predict", json.dumps(a_customer()), 422, "invalid_input", ""),
        ("POST", "/batch-predict", " " * 9_000_000, 413, "body_too_large", None),
        ("GET", "/predict", None, 405, "method_not_allowed", None),
        ("GET", "/nothing", None, 404, "not_found", None),
        ("GET", "/problems/nothing", None, 404, "not_found", None),
        # Not sent on, either, to an address that the Host header would name.
        ("GET", "/stats/", None, 404, "not_found", None),
        ("POST", "/predict/", json.dumps(a_customer()), 404, "not_found", None),
    ],
)
def test_every_error_is_one_shape_and_never_repeats_the_input(client, method, path, body, status, code, pointer):
    headers = {"Content-Type": "application/json", "X-Request-ID": "abc-1"}
    reply = client.request(method, path, content=body, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    problem = reply.json()
    assert set(problem) - {"errors", "n_errors"} == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
    }
    assert (problem["type"], problem["code"], problem["status"]) == (f"/problems/{code}", code, status)
    assert isinstance(problem["detail"], str)
    assert problem["request_id"] == "abc-1"
    assert "secret" not in reply.text
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer


def test_a_body_that_is_not_announced_as_json_is_refused(client):
    reply = client.post("/predict", content=json.dumps(a_customer()), headers={"Content-Type": "text/csv"})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


def test_at_most_twenty_errors_are_listed_and_all_are_counted(client):
    problem = client.post("/predict", json={f"field{number}": 1 for number in range(30)}).json()
    assert (len(problem["errors"]), problem["n_errors"]) == (20, 41)


def test_more_customers_than_a_batch_may_have_are_refused(client):
    reply = client.post("/batch-predict", json=[a_customer()] * 10_001)
    assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
    assert "10,000" in reply.json()["detail"]


@pytest.mark.parametrize("n_valid", [0, 2])
def test_of_many_bad_customers_only_the_first_is_looked_at(client, n_valid):
    reply = client.post("/batch-predict", json=[a_customer()] * n_valid + [{}] * 9_000)
    assert reply.status_code == 422
    problem = reply.json()
    # As many errors as one customer has required fields.
    assert (len(problem["errors"]), problem["n_errors"]) == (11, 11)
    assert {error["pointer"].split("/")[1] for error in problem["errors"]} == {str(n_valid)}


@pytest.mark.parametrize(
    ("element", "status", "n_errors"),
    [
        ("{}," * 1_700_000, 413, None),
        ('{"a":[' + "[]," * 2_600_000 + "0]},", 413, None),
        ('{"state":{' + '"a":[],' * 100_000 + '"b":0}},', 422, 11),
        ("{" + "".join(f'"{number}":0,' for number in range(100_000)) + '"a":0},', 422, 1),
    ],
    ids=["customers", "values", "within a field", "fields"],
)
def test_megabytes_of_nonsense_are_refused_with_a_few_errors(client, element, status, n_errors):
    reply = client.post("/batch-predict", content=f"[{element}{json.dumps(a_customer())}]")
    assert (reply.status_code, reply.json().get("n_errors")) == (status, n_errors)
    assert len(reply.content) < 3_000


@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "1e400", "-1e400", "1e-400", "415.5", "4e2", "true", "[415]", "{}"]
)
def test_a_number_that_is_no_area_code_is_refused(client, number):
    body = json.dumps(a_customer(areaCode=0)).replace('"areaCode": 0', f'"areaCode": {number}')
    reply = client.post("/predict", content=body)
    assert reply.status_code == 422
    assert [error["pointer"] for error in reply.json()["errors"]] == ["/areaCode"]


def test_every_problem_that_can_be_told_is_described(client):
    described = client.get("/problems/model_unavailable").json()
    assert (described["status"], described["type"]) == (503, "/problems/model_unavailable")
