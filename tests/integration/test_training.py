"""Training as a real process, and its versions in the real services."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from support.builders import CHURN_MODELS, CLV_MODELS, PUBLIC_DATA, ROOT, some_customers, v2_request
from support.servers import churn_service, clean_environ, clv_service
from support.small_models import small_churn, small_clv, small_configs
from telelink_shared import artifact
from telelink_shared.artifact import CARD, JOBLIB, ONNX
from telelink_shared.customer import CATEGORIES, ELEVEN
from telelink_training.calibrating import CALIBRATIONS
from telelink_training.churn import encoder, forest
from telelink_training.config import CONFIGS, load_config
from telelink_training.data import CHURN, lifetime_value_usd, load_csv, synthetic
from telelink_training.drivers import reference_customer
from telelink_training.evaluate import classification, regression
from telelink_training.export import FittedVariant, onnx_graph
from telelink_training.published import read_published

SERVICES = {"churn": churn_service, "clv": clv_service}
needs_public_data = pytest.mark.skipif(not PUBLIC_DATA.is_dir(), reason="the public data set's files are not here")
OUTPUTS = {"churn": "churn_probability", "clv": "estimated_clv"}


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """Small forests, few folds."""
    return small_configs(tmp_path_factory.mktemp("configs"))


def train(folder, *arguments):
    """The command line, with version folders below `folder`."""
    folders = ("--churn-models", str(folder), "--clv-models", str(folder))
    return subprocess.run(
        [sys.executable, "-m", "telelink_training", "train", "--jobs", "1", *arguments, *folders],
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
def models(customers, configs, tmp_path_factory):
    """Versions 1 and 2 of both models: the same command twice."""
    folder = tmp_path_factory.mktemp("models")
    for _ in range(2):
        trained(folder, "--data", str(customers), "--configs", str(configs), "--search", "small")
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


def test_made_up_customers_are_enough_to_try_it_with(configs, tmp_path):
    printed = trained(tmp_path, "--data", "synthetic", "--model", "clv", "--configs", str(configs))
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


def processes_of(group):
    """Command lines of the processes that are still there of a process group."""
    running = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if folder.name.isdecimal() and int(fields[2]) == group and fields[0] != "Z":
                running.append((folder / "cmdline").read_text().replace("\0", " "))
        except (OSError, ValueError, IndexError):
            continue
    return running


def interrupted(folder, *arguments, when, to_group, by=signal.SIGINT):
    """Exit code, standard error and what is left running of a training that is interrupted when it says `when`."""
    folders = ("--churn-models", str(folder), "--clv-models", str(folder))
    training = subprocess.Popen(
        [sys.executable, "-m", "telelink_training", "train", *arguments, "--jobs", "2", *folders],
        cwd=ROOT,
        env=clean_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said = b""
        while when not in said:
            chunk = os.read(training.stdout.fileno(), 4_096)
            assert chunk, said.decode()
            said += chunk
        # As a terminal does it, to all processes; or as a supervisor does, to the first alone.
        (os.killpg if to_group else os.kill)(training.pid, by)
        rest, _ = training.communicate(timeout=60)
    finally:
        if training.poll() is None:
            os.killpg(training.pid, signal.SIGKILL)
            training.wait()
    return training.returncode, rest.decode(), training.pid


@pytest.mark.parametrize(
    ("when", "to_group", "by"),
    [
        (b"churn, eleven: search", True, signal.SIGINT),
        (b"churn version 2 written", False, signal.SIGINT),
        (b"churn, eleven: search", False, signal.SIGTERM),
    ],
    ids=["while it searches, from a terminal", "between the models, from a supervisor", "terminated"],
)
def test_an_interrupted_training_says_so_and_leaves_no_half_of_a_version(
    when, to_group, by, customers, configs, tmp_path
):
    before = synthetic(200, seed=4)
    small_churn(before, tmp_path)
    small_clv(before, tmp_path)
    there = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, rest, group = interrupted(
        tmp_path, "--data", str(customers), "--configs", str(configs), when=when, to_group=to_group, by=by
    )
    assert code == 130
    assert rest.splitlines()[-1] == "telelink_training: interrupted; nothing was written half"
    assert "Traceback" not in rest
    written = {"1", "2"} if when.endswith(b"written") else {"1"}
    assert {path.name for path in (tmp_path / "churn").iterdir()} == written
    assert {path.name for path in (tmp_path / "clv").iterdir()} == {"1"}
    assert {path: path.read_bytes() for path in there} == there
    deadline = time.monotonic() + 20
    while processes_of(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(group) == []


def fitted_anew(name, data, manifest):
    """The bundled variants with the settings that the search chose, fitted on the same rows."""
    config = load_config(CONFIGS / f"{name}.toml")
    target = data.frame[CHURN].to_numpy(bool) if name == "churn" else lifetime_value_usd(data, seed=config.seed)[0]
    variants = []
    for variant in config.variants:
        chosen = dict(manifest.metrics["chosen"][variant.name])
        if name == "churn":
            assert chosen.pop("calibration") in CALIBRATIONS
            assert chosen in list(variant.grid("small"))
            made = forest(variant, chosen, seed=config.seed)
            numeric, pipeline = made.numeric, made.pipeline
        else:
            numeric = variant.features[chosen["features"]]
            steps = [("encode", encoder(numeric, variant.categorical)), ("model", LinearRegression())]
            pipeline = Pipeline(steps)
        fitted = FittedVariant(variant.name, variant.needs, numeric, variant.categorical, pipeline)
        pipeline.fit(fitted.matrix(data.rows), target)
        variants.append(fitted)
    return variants


@needs_public_data
@pytest.mark.parametrize(("name", "folder"), [("churn", CHURN_MODELS), ("clv", CLV_MODELS)])
def test_the_bundled_models_are_what_this_code_makes_of_the_public_data(name, folder):
    """The search takes minutes; its winners are fitted anew, and the graph is the served one byte for byte."""
    manifest = artifact.read_manifest(folder / name / "1")
    data = load_csv(PUBLIC_DATA / "churn-bigml-80.csv")
    assert manifest.data["fingerprint"] == data.fingerprint
    assert artifact.file_entry(onnx_graph(fitted_anew(name, data, manifest))) == manifest.files[ONNX]
    assert manifest.reference == reference_customer(data)


@needs_public_data
@pytest.mark.parametrize(("name", "folder"), [("churn", CHURN_MODELS), ("clv", CLV_MODELS)])
def test_the_bundled_models_measure_what_they_say(name, folder):
    model = read_published(folder, name, "1")
    data = load_csv(PUBLIC_DATA / "churn-bigml-20.csv")
    seed = load_config(CONFIGS / f"{name}.toml").seed + 1
    for variant in model.manifest.variants:
        answers = model.score(variant, data.rows)
        if name == "churn":
            measured = classification(data.frame[CHURN].to_numpy(bool), answers)
        else:
            measured = regression(lifetime_value_usd(data, seed=seed)[0], answers)
        told = model.manifest.metrics["variants"][variant.name]
        for figure, value in measured.items():
            assert told[figure] == pytest.approx(value, rel=1e-4), (variant.name, figure)
