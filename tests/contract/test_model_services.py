"""One suite over every model service and over a toy that proves the toolkit knows none of them."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import anyio.to_thread
import numpy as np
import pytest
from fastapi.testclient import TestClient

import telelink_churn.app
import telelink_clv.app
from support.builders import (
    CHURN_MODELS,
    CLV_MODELS,
    TOY,
    TOY_DEFINITION,
    some_customers,
    v2_request,
    with_usage,
    write_toy,
)
from support.servers import wait_until
from telelink_churn.definition import CHURN
from telelink_clv.definition import CLV
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import CATEGORIES, ELEVEN
from telelink_shared.reasons import GROUP_NAMES
from telelink_shared.serving.app import ModelServiceSettings, create_model_service

DEFINITIONS = {"churn": CHURN, "clv": CLV, TOY: TOY_DEFINITION}
OPENAPI = Path(__file__).parent / "openapi"


def make_app(name, folder, runtime="onnx"):
    if name == "churn":
        settings = telelink_churn.app.Settings(models_dir=CHURN_MODELS, model_runtime=runtime)
        return telelink_churn.app.create_app(settings)
    if name == "clv":
        return telelink_clv.app.create_app(telelink_clv.app.Settings(models_dir=CLV_MODELS, model_runtime=runtime))
    write_toy(folder)
    return create_model_service(TOY_DEFINITION, ModelServiceSettings(models_dir=folder))


@pytest.fixture(params=sorted(DEFINITIONS))
def service(request, tmp_path):
    with TestClient(make_app(request.param, tmp_path)) as client:
        yield client, DEFINITIONS[request.param]


def infer(client, definition, body):
    return client.post(f"/v2/models/{definition.name}/infer", content=json.dumps(body))


def test_it_is_live_and_ready(service):
    client, definition = service
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get(f"/v2/models/{definition.name}/ready").json() == {"name": definition.name, "ready": True}


def test_metadata_names_inputs_outputs_and_the_schema_hash(service):
    client, definition = service
    metadata = client.get(f"/v2/models/{definition.name}").json()
    assert metadata["versions"] == ["1"]
    assert [tensor["name"] for tensor in metadata["inputs"]] == [*definition.required, *definition.optional]
    assert {tensor["name"] for tensor in metadata["outputs"]} >= {output.name for output in definition.outputs}
    assert metadata["parameters"]["input_schema_hash"] == input_schema_hash(ELEVEN)
    assert client.get(f"/v2/models/{definition.name}/versions/1").json() == metadata


def test_a_reply_names_who_answered_and_has_a_value_in_range_for_each_row(service):
    client, definition = service
    reply = infer(client, definition, v2_request(some_customers(50, seed=2), id="abc")).json()
    assert (reply["model_name"], reply["model_version"], reply["id"]) == (definition.name, "1", "abc")
    outputs = {tensor["name"]: tensor for tensor in reply["outputs"]}
    assert tuple(outputs) == definition.standard_outputs
    for output in definition.outputs:
        if output.on_request:
            continue
        tensor = outputs[output.name]
        assert (tensor["shape"], tensor["datatype"], len(tensor["data"])) == ([50], "FP64", 50)
        for value in tensor["data"]:
            assert (value is None and output.may_be_unknown) or output.lower <= value <= output.upper


def test_one_by_one_and_at_once_are_the_same_numbers(service):
    client, definition = service
    customers = some_customers(40, seed=3)
    at_once = infer(client, definition, v2_request(customers)).json()["outputs"]
    one_by_one = [infer(client, definition, v2_request([customer])).json()["outputs"] for customer in customers]
    for position, tensor in enumerate(at_once):
        assert tensor["data"] == [outputs[position]["data"][0] for outputs in one_by_one]


def test_the_variant_is_told_when_asked_for_by_name(service):
    client, definition = service
    body = v2_request(some_customers(20, seed=4), outputs=[{"name": "variant"}])
    (tensor,) = infer(client, definition, body).json()["outputs"]
    assert (tensor["name"], tensor["datatype"]) == ("variant", "BYTES")
    assert set(tensor["data"]) == ({"only"} if definition.name == TOY else {"usage", "eleven"})


def asked_for(client, definition, customers, *names):
    """The tensors with these names, by name."""
    body = v2_request(customers, outputs=[{"name": name} for name in names])
    outputs = infer(client, definition, body).json()["outputs"]
    assert [tensor["name"] for tensor in outputs] == list(names)
    return {tensor["name"]: tensor for tensor in outputs}


def shares_of(tensor):
    """The reasons as a matrix: data is flat, the rows one after another."""
    return np.array(tensor["data"]).reshape(tensor["shape"])


def test_an_output_that_waits_for_its_name_is_in_range_when_it_is_named(service):
    client, definition = service
    on_request = [output for output in definition.outputs if output.on_request]
    assert {output.name for output in on_request} == ({"churn_lower", "churn_upper"} if definition is CHURN else set())
    main = definition.main_output.name
    tensors = asked_for(client, definition, some_customers(30, seed=6), main, *(output.name for output in on_request))
    for output in on_request:
        assert tensors[output.name]["shape"] == [30]
        assert all(output.lower <= value <= output.upper for value in tensors[output.name]["data"])


def test_the_churn_probability_lies_within_its_interval(tmp_path):
    with TestClient(make_app("churn", tmp_path)) as client:
        names = ("churn_lower", "churn_probability", "churn_upper")
        tensors = asked_for(client, CHURN, some_customers(200, seed=7), *names)
    lower, probability, upper = (np.array(tensors[name]["data"]) for name in names)
    assert ((lower <= probability) & (probability <= upper)).all()
    assert (lower < upper).all()


def test_reasons_add_up_to_the_main_output_for_every_customer(service):
    client, definition = service
    main = definition.main_output.name
    tensors = asked_for(client, definition, some_customers(40, seed=8), "reasons", "reasons_baseline", main)
    assert (tensors["reasons"]["datatype"], tensors["reasons"]["shape"]) == ("FP64", [40, len(GROUP_NAMES)])
    assert tensors["reasons_baseline"]["shape"] == [40]
    shares, baseline = shares_of(tensors["reasons"]), np.array(tensors["reasons_baseline"]["data"])
    assert shares.sum(axis=1) + baseline == pytest.approx(np.array(tensors[main]["data"]), rel=0, abs=1e-9)
    assert np.abs(shares).max() > 0


def test_reasons_are_told_against_the_reference_customer_that_the_metadata_state(service):
    client, definition = service
    reference = client.get(f"/v2/models/{definition.name}").json()["parameters"]["reference"]
    inputs = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [value]} for name, value in reference.items()]
    for tensor in inputs:
        if tensor["name"] not in CATEGORIES:
            tensor["datatype"] = "FP64"
    names = ["reasons", "reasons_baseline", definition.main_output.name]
    body = {"inputs": inputs, "outputs": [{"name": name} for name in names]}
    shares, baseline, answer = (tensor["data"] for tensor in infer(client, definition, body).json()["outputs"])
    assert shares == [0.0] * len(GROUP_NAMES)
    assert baseline == answer


def test_reasons_are_the_same_one_by_one_and_at_once(service):
    client, definition = service
    customers = some_customers(20, seed=9)
    at_once = shares_of(asked_for(client, definition, customers, "reasons")["reasons"])
    one_by_one = [shares_of(asked_for(client, definition, [each], "reasons")["reasons"])[0] for each in customers]
    # Sums over coalitions are taken in another order for more rows.
    np.testing.assert_allclose(at_once, one_by_one, rtol=0, atol=1e-9)


def test_reasons_for_nobody_are_none(service):
    client, definition = service
    tensors = asked_for(client, definition, [], "reasons", "reasons_baseline")
    assert tensors["reasons"] | {"data": []} == tensors["reasons"]
    assert tensors["reasons"]["shape"] == [0, len(GROUP_NAMES)]


@pytest.mark.parametrize("name", ["reasons", "reasons_baseline"])
def test_reasons_for_too_many_customers_are_refused_and_without_them_the_same_rows_are_not(service, name):
    client, definition = service
    body = v2_request(some_customers(1001, seed=10))
    reply = infer(client, definition, body | {"outputs": [{"name": "variant"}, {"name": name}]})
    assert reply.status_code == 422
    assert (
        reply.json()["errors"][0] | {"pointer": "/outputs/1/name", "code": "too_many_rows"} == reply.json()["errors"][0]
    )
    assert "1,000" in reply.json()["detail"]
    assert infer(client, definition, body).status_code == 200


def test_metadata_tell_which_outputs_wait_for_their_name_and_what_the_reasons_are(service):
    client, definition = service
    metadata = client.get(f"/v2/models/{definition.name}").json()
    outputs = {tensor["name"]: tensor for tensor in metadata["outputs"]}
    waiting = {name for name, tensor in outputs.items() if tensor["parameters"].get("on_request")}
    assert waiting == set(outputs) - set(definition.standard_outputs)
    assert outputs["reasons"]["shape"] == [-1, len(GROUP_NAMES)]
    assert outputs["reasons"]["parameters"]["groups"] == list(GROUP_NAMES)
    assert outputs["reasons"]["parameters"]["explains"] == definition.main_output.name


def test_metadata_tell_how_good_each_variant_is_where_that_was_measured(service):
    client, definition = service
    variants = client.get(f"/v2/models/{definition.name}").json()["parameters"]["variants"]
    if definition is TOY_DEFINITION:
        assert variants == [{"name": "only", "needs": []}]
    else:
        assert [set(variant) for variant in variants] == [{"name", "needs", definition.quality}] * len(variants)
        # What more fields are good for; those in between may change places by chance.
        qualities = [variant[definition.quality] for variant in variants]
        assert qualities[0] < qualities[-1]


def test_metadata_have_what_a_page_about_the_model_shows(service):
    client, definition = service
    told = client.get(f"/v2/models/{definition.name}").json()["parameters"]
    assert told["versions_on_disk"] == ["1"]
    if definition is TOY_DEFINITION:
        assert told["card"] == ""
        return
    assert told["card"].startswith("# ")
    assert told["metrics"]["reported_on"]
    assert "scikit-learn" in told["libraries"]
    for variant in told["variants"]:
        measured = told["metrics"]["variants"][variant["name"]]
        bins = measured.get("reliability", [])
        assert sum(each["rows"] for each in bins) == (measured["rows"] if definition is CHURN else 0)
        assert all(each["share_interval"][0] <= each["share"] <= each["share_interval"][1] for each in bins)


@pytest.mark.parametrize("name", ["churn", "clv"])
def test_both_runtimes_give_the_same_answers(name, tmp_path):
    definition, customers = DEFINITIONS[name], some_customers(300, seed=11)
    names = [output.name for output in definition.outputs]
    by_runtime = []
    for runtime in ("onnx", "sklearn"):
        with TestClient(make_app(name, tmp_path, runtime=runtime)) as client:
            platform = client.get(f"/v2/models/{name}").json()["platform"]
            assert platform == {"onnx": "onnxruntime", "sklearn": "sklearn_joblib"}[runtime]
            by_runtime.append(asked_for(client, definition, customers, *names))
    for output in names:
        # A forest's votes are float32 in ONNX; the calibration's steepest piece makes most of the difference.
        first, second = (np.array(tensors[output]["data"], dtype=np.float64) for tensors in by_runtime)
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-4)


def test_no_rows_are_answered_with_no_rows(service):
    client, definition = service
    reply = infer(client, definition, v2_request([])).json()
    assert [tensor["data"] for tensor in reply["outputs"]] == [[] for _ in definition.standard_outputs]


def a_request():
    return v2_request(some_customers(2, seed=5))


def without(body, name):
    body["inputs"] = [tensor for tensor in body["inputs"] if tensor["name"] != name]
    return body


def changed(body, name, /, **changes):
    for tensor in body["inputs"]:
        if tensor["name"] == name:
            tensor |= changes
    return body


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (without(a_request(), "state"), "/inputs"),
        (changed(a_request(), "state", data=["OH", "XX"]), "/inputs/1/data"),
        (changed(a_request(), "account_length", data=[1.0, None]), "/inputs/0/data"),
        (changed(a_request(), "account_length", data=[1.0, "x"]), "/inputs/0/data"),
        (changed(a_request(), "account_length", data=[1.0]), "/inputs/0/data"),
        (changed(a_request(), "area_code", shape=[3]), "/inputs/2/shape"),
        (changed(a_request(), "account_length", datatype="BYTES"), "/inputs/0/datatype"),
        (changed(a_request(), "account_length", name="tenure"), "/inputs/0/name"),
        (a_request() | {"outputs": [{"name": "nothing"}]}, "/outputs/0/name"),
        ({"inputs": []}, "/inputs"),
        ({}, "/inputs"),
    ],
)
def test_a_faulty_request_is_refused_with_a_pointer_and_the_protocols_error_member(service, body, pointer):
    client, definition = service
    reply = infer(client, definition, body)
    assert reply.status_code == 422
    problem = reply.json()
    assert problem["errors"][0]["pointer"] == pointer
    assert problem["error"] == problem["detail"]


@pytest.mark.parametrize("outputs", [None, [{"name": "reasons"}]], ids=["answer", "reasons"])
@pytest.mark.parametrize("column", ["account_length", "total_day_minutes", "state"])
@pytest.mark.parametrize(
    "value",
    ["12", "NaN", True, [1.0], [], {}, 10**400, -(10**400), 1e308, -1e308, float("inf"), float("-inf")],
    ids=lambda value: str(value)[:8],
)
def test_what_is_no_number_or_word_of_a_column_is_refused_and_never_a_bug(service, column, value, outputs):
    client, definition = service
    customers = [with_usage(), with_usage()]
    body = changed(v2_request(customers, outputs=outputs), column, data=[value, "OH" if column == "state" else 1.0])
    problem = infer(client, definition, body).json()
    assert (problem["status"], problem["errors"][0]["code"]) == (422, "bad_value")
    (position,) = (number for number, tensor in enumerate(body["inputs"]) if tensor["name"] == column)
    assert problem["errors"][0]["pointer"] == f"/inputs/{position}/data"


def test_numbers_whose_sum_is_none_are_refused_too(service):
    client, definition = service
    body = changed(a_request(), "account_length", data=[float("inf"), 1.0])
    reply = infer(client, definition, changed(body, "total_day_calls", data=[float("-inf"), 1.0]))
    assert reply.status_code == 422


def test_rows_may_be_lists_of_one_number_and_of_nothing_else(service):
    client, definition = service
    plain = infer(client, definition, a_request()).json()
    nested = changed(a_request(), "account_length", shape=[2, 1])
    (values,) = (tensor["data"] for tensor in nested["inputs"] if tensor["name"] == "account_length")
    nested = changed(nested, "account_length", data=[[value] for value in values])
    assert infer(client, definition, nested).json() == plain
    for data in ([[1.0, 2.0], []], [[1.0], [[2.0]]], [[1.0], []]):
        assert infer(client, definition, changed(nested, "account_length", data=data)).status_code == 422


def test_another_model_or_version_is_not_found(service):
    client, definition = service
    for path in ("/v2/models/other", f"/v2/models/{definition.name}/versions/99", "/v2/models/other/ready"):
        reply = client.get(path)
        assert reply.status_code == 404
        assert reply.json()["error"]


@pytest.mark.parametrize(("left_ms", "status"), [("0", 504), ("60000", 200), ("99999999", 200)])
def test_work_is_begun_only_while_somebody_waits_for_it(service, left_ms, status):
    client, definition = service
    path = f"/v2/models/{definition.name}/infer"
    reply = client.post(path, json=v2_request([with_usage()]), headers={"X-Deadline-Ms": left_ms})
    assert reply.status_code == status
    if status == 504:
        assert reply.headers["content-type"] == "application/problem+json"
        assert (reply.json()["code"], reply.json()["error"]) == ("deadline_passed", reply.json()["detail"])


@pytest.mark.parametrize("left_ms", ["", "soon", "-1", "1.5", "1e3", "\u00b2".encode("latin-1"), "9" * 9])
def test_a_deadline_that_is_no_number_of_milliseconds_is_refused(service, left_ms):
    client, definition = service
    path = f"/v2/models/{definition.name}/infer"
    reply = client.post(path, json=v2_request([with_usage()]), headers={"X-Deadline-Ms": left_ms})
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


def test_what_became_too_late_while_it_waited_for_a_thread_is_not_begun(tmp_path):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def finish(scores, rows, _numbers):
        if rows.n_rows > 100:  # not the self-test
            begun.release()
            assert go_on.wait(10)
        return {"share": scores}

    write_toy(tmp_path)
    app = create_model_service(replace(TOY_DEFINITION, finish=finish), ModelServiceSettings(models_dir=tmp_path))
    body = v2_request(some_customers(300, seed=5))
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:

        def ask(left_ms):
            return pool.submit(
                client.post, f"/v2/models/{TOY}/infer", json=body, headers={"X-Deadline-Ms": str(left_ms)}
            )

        threads = client.portal.call(current_limiter)
        threads.total_tokens = 1
        first = ask(60_000)
        assert begun.acquire(timeout=10)
        late = ask(50)
        wait_until(lambda: threads.statistics().tasks_waiting == 1, what="the second request to wait for a thread")
        too_late = time.monotonic() + 0.05
        wait_until(lambda: time.monotonic() > too_late, what="its deadline")
        go_on.set()
        assert [first.result().status_code, late.result().status_code] == [200, 504]
        assert not begun.acquire(blocking=False)


async def current_limiter():
    return anyio.to_thread.current_default_thread_limiter()


def test_metrics_count_requests_by_route(service):
    client, definition = service
    infer(client, definition, a_request())
    route = f'route="/v2/models/{definition.name}/infer"'
    assert f'http_requests_total{{method="POST",{route},status="200"}} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("name", ["churn", "clv"])
def test_the_openapi_document_is_the_committed_one(name, tmp_path):
    document = make_app(name, tmp_path).openapi()
    committed = json.loads((OPENAPI / f"{name}-service.json").read_text())
    assert document == committed, "the interface has changed: raise its version, then `make openapi`"
