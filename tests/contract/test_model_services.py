"""One suite over every model service and over a toy that proves the toolkit knows none of them."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import telelink_churn.app
import telelink_clv.app
from support.builders import CHURN_MODELS, CLV_MODELS, TOY, some_customers, v2_request, write_toy
from telelink_churn.definition import CHURN
from telelink_clv.definition import CLV
from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import ELEVEN, USAGE
from telelink_shared.serving.app import ModelServiceSettings, create_model_service
from telelink_shared.serving.definition import ModelDefinition, Output

TOY_DEFINITION = ModelDefinition(
    name=TOY,
    title="toy",
    required=ELEVEN,
    optional=USAGE,
    outputs=(Output("share", unit="probability", lower=0.0, upper=1.0),),
    finish=lambda scores, _rows, _variant: {"share": scores},
)
DEFINITIONS = {"churn": CHURN, "clv": CLV, TOY: TOY_DEFINITION}
OPENAPI = Path(__file__).parent / "openapi"


def make_app(name, folder):
    if name == "churn":
        return telelink_churn.app.create_app(telelink_churn.app.Settings(models_dir=CHURN_MODELS))
    if name == "clv":
        return telelink_clv.app.create_app(telelink_clv.app.Settings(models_dir=CLV_MODELS))
    write_toy(folder)
    return create_model_service(TOY_DEFINITION, ModelServiceSettings(models_dir=folder))


@pytest.fixture(params=sorted(DEFINITIONS))
def service(request, tmp_path):
    with TestClient(make_app(request.param, tmp_path)) as client:
        yield client, DEFINITIONS[request.param]


def infer(client, definition, body):
    return client.post(f"/v2/models/{definition.name}/infer", json=body)


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
    assert set(outputs) == {output.name for output in definition.outputs}
    for output in definition.outputs:
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


def test_no_rows_are_answered_with_no_rows(service):
    client, definition = service
    reply = infer(client, definition, v2_request([])).json()
    assert [tensor["data"] for tensor in reply["outputs"]] == [[] for _ in definition.outputs]


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


def test_another_model_or_version_is_not_found(service):
    client, definition = service
    for path in ("/v2/models/other", f"/v2/models/{definition.name}/versions/99", "/v2/models/other/ready"):
        reply = client.get(path)
        assert reply.status_code == 404
        assert reply.json()["error"]


def test_metrics_count_requests_by_route(service):
    client, definition = service
    infer(client, definition, a_request())
    route = 'route="/v2/models/{name}/infer"'
    assert f'http_requests_total{{method="POST",{route},status="200"}} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("name", ["churn", "clv"])
def test_the_openapi_document_is_the_committed_one(name, tmp_path):
    document = make_app(name, tmp_path).openapi()
    committed = json.loads((OPENAPI / f"{name}-service.json").read_text())
    assert document == committed, "the interface has changed: raise its version, then `make openapi`"
