"""A model service's image with scikit-learn in it, for models that ONNX cannot express."""

import json
import subprocess
import uuid

import numpy as np
import pytest
from fastapi.testclient import TestClient

import telelink_churn.app
from support.builders import CHURN_MODELS, ROOT, some_customers, v2_request
from support.compose import why_not
from support.servers import wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

# Asked from within: the container has no network.
ASK = """
import sys
from urllib.request import Request, urlopen
url = "http://127.0.0.1:8001/v2/models/churn"
body = sys.stdin.buffer.read()
print(urlopen(Request(url + "/infer", body, {"Content-Type": "application/json"}) if body else url).read().decode())
"""
BODY = v2_request(some_customers(200, seed=13))


def docker(*arguments, stdin=None):
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@pytest.fixture
def container():
    name = f"telelink-test-{uuid.uuid4().hex[:8]}"
    docker(
        "build",
        "--build-arg",
        "RUNTIME=sklearn",
        "--tag",
        name,
        "--file",
        str(ROOT / "churn-service" / "Dockerfile"),
        str(ROOT),
    )
    try:
        docker("run", "--detach", "--name", name, "--network", "none", "--read-only", "--tmpfs", "/tmp", name)
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
        subprocess.run(["docker", "image", "rm", "--force", name], capture_output=True, check=False)


def test_it_serves_the_fitted_pipeline_and_answers_as_onnx_does(container):
    wait_until(
        lambda: docker("inspect", "--format", "{{.State.Health.Status}}", container) == "healthy",
        what="a healthy container",
        timeout_s=60,
    )
    assert json.loads(docker("exec", "-i", container, "python", "-c", ASK, stdin=""))["platform"] == "sklearn_joblib"
    inside = json.loads(docker("exec", "-i", container, "python", "-c", ASK, stdin=json.dumps(BODY)))
    app = telelink_churn.app.create_app(telelink_churn.app.Settings(models_dir=CHURN_MODELS))
    with TestClient(app) as client:
        wanted = client.post("/v2/models/churn/infer", json=BODY).json()
    assert inside["model_version"] == wanted["model_version"]
    for ours, theirs in zip(wanted["outputs"], inside["outputs"], strict=True):
        assert ours["name"] == theirs["name"]
        np.testing.assert_allclose(theirs["data"], ours["data"], rtol=0, atol=1e-4)
