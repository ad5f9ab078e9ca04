"""Training as a real process, and its versions in the real services."""

import subprocess
import sys

import httpx
import pytest

from support.builders import CHURN_MODELS, CLV_MODELS, PUBLIC_DATA, ROOT, some_customers, v2_request
from support.servers import churn_service, clean_environ, clv_service
from telelink_shared import artifact
from telelink_shared.artifact import CARD, JOBLIB, ONNX
from telelink_shared.customer import CATEGORIES, ELEVEN
from telelink_training.calibrating import CALIBRATIONS
from telelink_training.churn import forest
from telelink_training.config import CONFIGS, load_config
from telelink_training.data import CHURN, load_csv, synthetic
from telelink_training.export import FittedVariant, onnx_graph

SERVICES = {"churn": churn_service, "clv": clv_service}
needs_public_data = pytest.mark.skipif(not PUBLIC_DATA.is_dir(), reason="the public data set's files are not here")
OUTPUTS = {"churn": "churn_probability", "clv": "estimated_clv"}


def train(folder, *arguments):
    """The command line, with version folders below `folder`."""
    folders = ("--churn-models", str(folder), "--clv-models", str(folder))
    return subprocess.run(
        [sys.executable, "-m", "telelink_training", "train", *arguments, *folders],
        cwd=ROOT,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )


def trained(folder, *arguments):
    """The same, done; what it printed."""
    done = train(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def customers(tmp_path_factory):
    """An operator's own file: the columns that must be there, and what each customer was worth."""
    path = tmp_path_factory.mktemp("data") / "customers.csv"
    frame = synthetic(160, seed=1).frame[[CHURN, *ELEVEN]]
    frame.assign(lifetime_value=10 * frame["account_length"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def models(customers, tmp_path_factory):
    """Versions 1 and 2 of both models: the same command twice."""
    folder = tmp_path_factory.mktemp("models")
    for _ in range(2):
        trained(folder, "--data", str(customers), "--search", "small")
    return folder


def infer(server, name, request):
    """The reply to an inference request."""
    reply = httpx.post(f"{server.url}/v2/models/{name}/infer", json=request, trust_env=False)
    assert reply.status_code == 200, reply.text
    return reply.json()


def asked(golden):
    """The request for a version's golden rows."""
    return {
        "inputs": [
            {
                "name": column,
                "shape": [golden.n_rows],
                "datatype": "BYTES" if column in CATEGORIES else "FP64",
                "data": values,
            }
            for column, values in golden.inputs.items()
        ]
    }


@pytest.mark.parametrize("name", SERVICES)
def test_the_service_loads_the_newest_version_and_answers_as_the_fitted_pipeline_did(name, models):
    golden = artifact.read_manifest(models / name / "2").golden
    with SERVICES[name](MODELS_DIR=str(models)) as server:
        reply = infer(server, name, asked(golden))
        others = infer(server, name, v2_request(some_customers(50, seed=1)))
    wanted = OUTPUTS[name]
    answers = {output["name"]: output["data"] for output in reply["outputs"]}
    assert reply["model_version"] == "2"
    assert answers[wanted] == pytest.approx(golden.outputs[wanted], abs=golden.tolerance[wanted])
    assert len(set(others["outputs"][0]["data"])) > 5, "customers are told apart"


def timeless(folder):
    """The model card without the microseconds, which differ from run to run: the last column of the candidates."""
    return [line.rpartition(" |")[0].rpartition(" |")[0] or line for line in (folder / CARD).read_text().splitlines()]


@pytest.mark.parametrize("name", SERVICES)
def test_the_same_command_gives_the_same_model_and_metrics(name, models):
    first, second = (artifact.read_manifest(models / name / version) for version in ("1", "2"))
    assert first.metrics == second.metrics
    assert first.files[ONNX] == second.files[ONNX]
    assert timeless(models / name / "1") == timeless(models / name / "2")
    told = {"created_at", "version", "files"}
    assert first.model_dump(exclude=told) == second.model_dump(exclude=told)
    (picture,) = set(first.files) - {ONNX, JOBLIB, CARD}
    assert first.files[picture] == second.files[picture]


def test_made_up_customers_are_enough_to_try_it_with(tmp_path):
    printed = trained(tmp_path, "--data", "synthetic", "--model", "clv")
    assert "training on 2,666 rows (synthetic, 3333 rows, seed 0, 80% of it), reporting on 667" in printed
    assert "| usage | linear regression (features=lean) |" in printed
    assert "clv version 1 written" in printed
    assert artifact.read_manifest(tmp_path / "clv" / "1").metrics["variants"]["usage"]["r2"] > 0.9


def test_a_bad_file_is_one_line_and_leaves_nothing_behind(customers, tmp_path):
    lines = customers.read_text().splitlines()
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join([*lines[:-1], lines[-1].replace(",yes,", ",perhaps,").replace(",no,", ",perhaps,")]))
    models = tmp_path / "models"
    done = train(models, "--data", str(bad))
    assert done.returncode == 1
    assert done.stderr == "telelink_training: column international_plan: must be yes or no (1 of 160 rows)\n"
    assert not models.exists()


@needs_public_data
def test_the_bundled_value_model_is_what_this_code_makes_of_the_public_data(tmp_path):
    train_file, test_file = (str(PUBLIC_DATA / f"churn-bigml-{share}.csv") for share in (80, 20))
    trained(tmp_path, "--model", "clv", "--data", train_file, "--test", test_file)
    bundled = artifact.read_manifest(CLV_MODELS / "clv" / "1")
    made = artifact.read_manifest(tmp_path / "clv" / "1")
    assert made.files[ONNX] == bundled.files[ONNX]
    assert timeless(tmp_path / "clv" / "1") == timeless(CLV_MODELS / "clv" / "1")
    told = {"created_at", "files"}
    assert made.model_dump(exclude=told) == bundled.model_dump(exclude=told)


@needs_public_data
def test_the_bundled_forests_are_what_this_code_makes_of_the_public_data():
    """The search takes minutes; its winners are fitted anew, and the graph is the served one byte for byte."""
    folder = CHURN_MODELS / "churn" / "1"
    data, config = load_csv(PUBLIC_DATA / "churn-bigml-80.csv"), load_config(CONFIGS / "churn.toml")
    manifest = artifact.read_manifest(folder)
    assert manifest.data["fingerprint"] == data.fingerprint
    variants = []
    for variant in config.variants:
        parameters = dict(manifest.metrics["chosen"][variant.name])
        assert parameters.pop("calibration") in CALIBRATIONS
        assert parameters in list(variant.grid("small"))
        chosen = forest(variant, parameters, seed=config.seed)
        fitted = FittedVariant(variant.name, variant.needs, chosen.numeric, variant.categorical, chosen.pipeline)
        fitted.pipeline.fit(fitted.matrix(data.rows), data.frame[CHURN].to_numpy(bool))
        variants.append(fitted)
    assert artifact.file_entry(onnx_graph(variants)) == manifest.files[ONNX]
