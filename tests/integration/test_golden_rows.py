"""deploy/ec2/golden_rows.py, asking real model services and one that answers as a test chooses."""

import importlib.util
import json

import pytest

from support.builders import CHURN_MODELS, CLV_MODELS, ROOT
from support.servers import churn_service, clv_service
from support.stub_model import stub_model
from telelink_shared import artifact

_spec = importlib.util.spec_from_file_location("golden_rows", ROOT / "deploy" / "ec2" / "golden_rows.py")
golden_rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden_rows)


def check(url, models):
    return golden_rows.check(url.removeprefix("http://"), models)


@pytest.mark.parametrize(("service", "models"), [(churn_service, CHURN_MODELS), (clv_service, CLV_MODELS)])
def test_the_bundled_versions_answer_as_their_manifests_say(service, models):
    with service() as server:
        assert check(server.url, models).endswith(" golden rows as it must")


@pytest.fixture
def stub():
    """A model that knows its golden rows by heart."""
    manifest = artifact.read_manifest(CHURN_MODELS / "churn" / "1")

    def by_heart(_):
        outputs = [{"name": name, "data": list(values)} for name, values in manifest.golden.outputs.items()]
        return reply_with(outputs)

    def reply_with(outputs, version="1"):
        return 200, {}, json.dumps({"model_name": "churn", "model_version": version, "outputs": outputs}).encode()

    with stub_model("churn") as stub:
        stub.infer, stub.golden, stub.reply_with = by_heart, manifest.golden, reply_with
        yield stub


def changed(stub, change):
    """Replies with one output changed."""
    outputs = [{"name": name, "data": list(values)} for name, values in stub.golden.outputs.items()]
    change(outputs[0]["data"])
    return lambda _: stub.reply_with(outputs)


def beyond_tolerance(stub, values):
    values[3] += 1.5 * stub.golden.tolerance[next(iter(stub.golden.outputs))]


FAULTS = {
    "a value beyond the tolerance": (beyond_tolerance, "of golden row 4 is"),
    "no number": (lambda _, values: values.__setitem__(0, None), "of golden row 1 is None"),
    "a row too few": (lambda _, values: values.pop(), "is not answered for each golden row"),
}


def test_what_is_right_is_right(stub):
    assert "version 1 of churn" in check(stub.url, CHURN_MODELS)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(stub, fault):
    change, reason = FAULTS[fault]
    stub.infer = changed(stub, lambda values: change(stub, values))
    with pytest.raises(golden_rows.Wrong, match=reason):
        check(stub.url, CHURN_MODELS)


def test_an_error_and_another_version_are_named(stub):
    stub.infer = lambda _: (500, {}, b"{}")
    with pytest.raises(golden_rows.Wrong, match="/v2/models/churn/infer is answered with status 500"):
        check(stub.url, CHURN_MODELS)
    stub.infer = lambda _: stub.reply_with([], version="2")
    with pytest.raises(golden_rows.Wrong, match="another version answers"):
        check(stub.url, CHURN_MODELS)
