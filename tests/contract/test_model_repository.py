"""A running service changes its version: only for one that is whole and right, and never for none."""

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from support.builders import TOY, TOY_DEFINITION, a_customer, toy_graph, toy_manifest, v2_request, write_toy
from telelink_shared import artifact
from telelink_shared.serving.app import ModelServiceSettings, create_model_service

LOAD, UNLOAD = (f"/v2/repository/models/{TOY}/{verb}" for verb in ("load", "unload"))


@pytest.fixture
def models(tmp_path):
    """Version 1 answers 0.1 for a customer with one service call."""
    write_toy(tmp_path)
    return tmp_path


@pytest.fixture
def client(models):
    app = create_model_service(TOY_DEFINITION, ModelServiceSettings(models_dir=models))
    with TestClient(app) as client:
        yield client


def write_doubled(models, *, version, **changes):
    """A version that answers twice as much."""
    model = toy_graph(weight=0.2)
    golden = toy_manifest(model).golden.model_copy(update={"outputs": {"share": [0.2, 0.8]}})
    manifest = toy_manifest(model, version=version, **{"golden": golden} | changes)
    return artifact.write_version(models, manifest, {artifact.ONNX: model})


def answer(client):
    """Who answers, and what."""
    reply = client.post(f"/v2/models/{TOY}/infer", json=v2_request([a_customer()])).json()
    return reply["model_version"], reply["outputs"][0]["data"][0]


def version(number):
    return {"parameters": {"version": number}}


def states(client, **body):
    return {entry["version"]: entry["state"] for entry in client.post("/v2/repository/index", json=body).json()}


def test_the_server_says_that_it_has_the_extension(client):
    assert "model_repository" in client.get("/v2").json()["extensions"]


def test_the_index_lists_what_is_on_disk_and_which_version_answers(client, models):
    write_doubled(models, version="2")
    entry = {"name": TOY, "version": "1", "state": "READY", "reason": ""}
    other = {"name": TOY, "version": "2", "state": "UNAVAILABLE", "reason": "not loaded"}
    assert client.post("/v2/repository/index").json() == [entry, other]
    assert client.post("/v2/repository/index", json={"ready": True}).json() == [entry]


def test_loading_takes_the_newest_version_and_serves_it_at_once(client, models):
    assert answer(client) == ("1", pytest.approx(0.1))
    write_doubled(models, version="2")
    assert answer(client) == ("1", pytest.approx(0.1))
    reply = client.post(LOAD)
    assert (reply.status_code, reply.json()["version"]) == (200, "2")
    assert answer(client) == ("2", pytest.approx(0.2))
    assert states(client) == {"1": "UNAVAILABLE", "2": "READY"}
    metadata = client.get(f"/v2/models/{TOY}").json()
    assert metadata["versions"] == ["2"]
    assert client.get(f"/v2/models/{TOY}/versions/1").status_code == 404
    assert client.get(f"/v2/models/{TOY}/versions/2").json() == metadata


def test_loading_takes_the_version_that_was_promoted(client, models):
    for number in ("2", "3"):
        write_doubled(models, version=number)
    artifact.set_served_version(models, TOY, "2")
    assert client.post(LOAD, json={}).json()["version"] == "2"


def test_loading_takes_the_version_that_is_named_and_goes_back_as_well(client, models):
    for number in ("2", "3"):
        write_doubled(models, version=number)
    for number, share in (("2", 0.2), ("1", 0.1), ("3", 0.2), ("1", 0.1)):
        assert client.post(LOAD, json=version(number)).status_code == 200
        assert answer(client) == (number, pytest.approx(share))


def test_the_old_version_answers_while_the_new_one_is_being_verified(models):
    reached, go_on = threading.Event(), threading.Event()

    def finish(scores, _rows, numbers):
        if "slow" in numbers:
            reached.set()
            assert go_on.wait(30)
        return {"share": scores}

    (variant,) = toy_manifest(toy_graph()).variants
    write_doubled(models, version="2", variants=(variant.model_copy(update={"numbers": {"slow": (1.0,)}}),))
    artifact.set_served_version(models, TOY, "1")
    definition = dataclasses.replace(TOY_DEFINITION, finish=finish)
    app = create_model_service(definition, ModelServiceSettings(models_dir=models))
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(client.post, LOAD, json=version("2"))
        try:
            assert reached.wait(30)
            assert answer(client) == ("1", pytest.approx(0.1))
            assert client.get("/v2/health/ready").status_code == 200
            assert not loading.done()
        finally:
            go_on.set()
        assert loading.result(timeout=30).status_code == 200
        assert answer(client) == ("2", pytest.approx(0.2))


def flip_a_byte(models):
    path = write_doubled(models, version="2") / artifact.ONNX
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_golden_answers(models):
    write_doubled(models, version="2", golden=toy_manifest(toy_graph()).golden)


def another_schema(models):
    write_doubled(models, version="2", input_schema_hash="0" * 64)


def another_format(models):
    folder = write_doubled(models, version="2")
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    artifact.write_manifest(folder, json.dumps(manifest | {"format": 1}))


def no_graph(models):
    (write_doubled(models, version="2") / artifact.ONNX).unlink()


@pytest.mark.parametrize(
    ("write_bad", "reason"),
    [
        (flip_a_byte, "content differs from the hash in the manifest"),
        (other_golden_answers, "golden rows: share differs from what the fitted pipeline gave"),
        (another_schema, "was trained for another input schema"),
        (another_format, "format 1, this program reads 2"),
        (no_graph, "cannot be read"),
    ],
)
def test_a_bad_version_is_refused_with_its_reason_and_the_old_one_goes_on(client, models, write_bad, reason):
    write_bad(models)
    reply = client.post(LOAD)
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (409, "version_refused")
    assert reason in problem["detail"]
    assert problem["error"] == problem["detail"]
    assert problem["detail"].endswith("Version 1 goes on answering.")
    assert answer(client) == ("1", pytest.approx(0.1))
    (entry,) = (each for each in client.post("/v2/repository/index").json() if each["version"] == "2")
    assert entry["state"] == "UNAVAILABLE"
    assert reason in entry["reason"]


def test_a_choice_of_a_version_that_is_gone_is_refused(client, models):
    (models / TOY / artifact.SERVED).write_text("9\n")
    reply = client.post(LOAD)
    assert (reply.status_code, reply.json()["code"]) == (409, "version_refused")
    assert answer(client)[0] == "1"


@pytest.mark.parametrize("number", ["2", "../toy/1", "1 ", "latest"])
def test_a_version_that_is_not_on_disk_is_not_found(client, number):
    reply = client.post(LOAD, json=version(number))
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert answer(client)[0] == "1"


def test_the_served_version_stays_in_the_index_when_its_folder_is_gone(client, models):
    (models / TOY / "1").rename(models / "elsewhere")
    assert states(client) == {"1": "READY"}
    assert answer(client)[0] == "1"


def test_the_version_that_answers_cannot_be_unloaded(client, models):
    for body in ({}, version("1")):
        reply = client.post(UNLOAD, json=body)
        assert (reply.status_code, reply.json()["code"]) == (409, "conflict")
        assert "always answers by one version" in reply.json()["error"]
    write_doubled(models, version="2")
    assert client.post(UNLOAD, json=version("2")).status_code == 200
    assert answer(client)[0] == "1"


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_another_model_is_not_found(client, verb):
    assert client.post(f"/v2/repository/models/other/{verb}").status_code == 404


@pytest.mark.parametrize(("body", "pointer"), [({"parameters": {"version": 2}}, "/parameters/version"), ([], "")])
def test_a_faulty_request_is_refused_with_a_pointer(client, body, pointer):
    reply = client.post(LOAD, json=body)
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)
