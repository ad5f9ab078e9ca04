"""deploy/ec2/deploy.sh, and what its README says to type, on a real engine."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager

import httpx
import pytest

from support.builders import CHURN_MODELS, CLV_MODELS, ROOT, a_customer, write_fraction_of_churn
from support.compose import SERVICES, composed, why_not
from support.ledger import steady_requests
from support.readme import commands
from support.servers import wait_until
from telelink_shared import artifact

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

PUBLIC_ADDRESS = "203.0.113.7"  # of a range that is for documents only
# How often each model service is redeployed under load: the bar is three.
N_ROUNDS = int(os.environ.get("REDEPLOY_ROUNDS", "1"))
EC2_README = ROOT / "deploy" / "ec2" / "README.md"
KEY = r"tlk_[0-9a-f]{12}_[\w-]{43}"
MODELS = {"churn-service": ("churn", CHURN_MODELS), "clv-service": ("clv", CLV_MODELS)}


def unused_port():
    """A port that stays the same while the frontend's container is replaced."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A project, and what its first run said."""
    with composed(tmp_path_factory.mktemp("deploy"), start=False, http_port=unused_port()) as prepared:
        # Where the tests run on a machine of Amazon's, this one is not asked for its address.
        asked = prepared.folder / "bin" / "ec2-metadata"
        asked.parent.mkdir()
        asked.write_text(f"#!/bin/sh\necho 'public-ipv4: {PUBLIC_ADDRESS}'\n")
        asked.chmod(0o755)
        done = deploy(prepared)
        assert done.returncode == 0, done.stdout
        yield prepared, done.stdout
    kept = [f"{prepared.project}-{service}:before" for service in SERVICES]
    subprocess.run(["docker", "image", "rm", "--force", *kept], capture_output=True, check=False)
    unnamed = f"label=com.docker.compose.project={prepared.project}"
    subprocess.run(["docker", "image", "prune", "--force", "--filter", unnamed], capture_output=True, check=True)


@pytest.fixture
def project(deployed):
    return deployed[0]


@pytest.fixture
def key(deployed):
    """As a header: the key that the first run made, and said once."""
    (text,) = re.findall(KEY, deployed[1])
    return {"Authorization": f"Bearer {text}"}


def starting(project, *arguments):
    return subprocess.Popen(
        [project.folder / "deploy" / "ec2" / "deploy.sh", *arguments],
        env=project.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def deploy(project, *arguments):
    with starting(project, *arguments) as process:
        output = process.communicate()[0]
    return subprocess.CompletedProcess(process.args, process.returncode, output)


@pytest.fixture
def http(project, key):
    with httpx.Client(base_url=project.url, headers=key, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_strays(project):
    """Whatever a test did: one container of each service, running and well."""
    yield
    for service in SERVICES:
        wait_until(
            lambda service=service: project.inspect(service)["State"]["Health"]["Status"] == "healthy",
            what=f"a healthy {service}",
            timeout_s=30,
        )
        assert project.inspect(service)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def release_next_version(project, service="churn-service"):
    """The next version of a model; which that is. A churn model of another version has other probabilities."""
    model, bundled = MODELS[service]
    models = project.folder / service / "models"
    version = str(max(map(int, artifact.versions(models, model))) + 1)
    if model == "churn":
        write_fraction_of_churn(models, version=version, fraction=1 / int(version))
    else:
        manifest = artifact.read_manifest(bundled / model / "1").model_copy(update={"version": version})
        files = {name: (bundled / model / "1" / name).read_bytes() for name in manifest.files}
        artifact.write_version(models, manifest, files)
    return version


@contextmanager
def broken_artefact(project):
    """A next version whose model is not the one that its manifest names."""
    folder = project.folder / "churn-service" / "models" / "churn" / release_next_version(project)
    with (folder / "model.onnx").open("ab") as model:
        model.write(b"!")
    yield
    shutil.rmtree(folder)


@contextmanager
def changed_line(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    yield
    path.write_text(text)


def serving(project):
    return project.folder / "shared" / "telelink_shared" / "serving"


def wrong_values(project):
    """A service that verifies its model, and then tells half of what the model says."""
    return changed_line(serving(project) / "infer_message.py", "values.ravel()", "(values * 0.5).ravel()")


def never_ready(project):
    """A service that answers, and always says that it is not ready."""
    return changed_line(
        serving(project) / "routes.py", "is_ready = request.app.state.lifecycle.is_ready", "is_ready = False"
    )


def versions(http):
    models = http.post("/predict?include=models", json=a_customer()).json()["models"]
    return {model: told["version"] for model, told in models.items()}


def stored(project, name):
    """What the history has of the customers of a ledger, by prediction."""
    program = (
        "import json, sqlite3, sys\n"
        "connection = sqlite3.connect('/data/history.db')\n"
        "connection.row_factory = sqlite3.Row\n"
        "rows = connection.execute('SELECT * FROM predictions WHERE customer_id LIKE ?', [sys.argv[1] + '-%'])\n"
        "print(json.dumps([dict(row) for row in rows]))"
    )
    rows = json.loads(project.python("gateway", program, name))
    assert len(rows) == len({row["prediction_id"] for row in rows})
    return {row["prediction_id"]: row for row in rows}


def assert_history_agrees(project, name, ledger):
    """Every reply is in the history as it was given, once, and nothing else is."""
    rows = stored(project, name)
    assert rows.keys() == {entry.prediction for entry in ledger.entries if entry.prediction}
    for entry in ledger.entries:
        row = rows[entry.prediction]
        told = {name: value for name, value in entry.body.items() if name != "models"}
        assert {name: row[name] for name in told} == told
        assert (row["customer_id"], row["churn_version"], row["clv_version"]) == (
            entry.customer,
            entry.versions["churn"],
            entry.versions["clv"],
        )


def identities(project, *services):
    """Container and moment of its start: another one after any restart."""
    described = {service: project.inspect(service) for service in services}
    return {service: (each["Id"], each["State"]["StartedAt"]) for service, each in described.items()}


def others_than(service):
    return tuple(each for each in SERVICES if each != service)


def test_everything_is_built_started_and_healthy_and_what_has_not_changed_is_left_alone(project, http):
    before = identities(project, *SERVICES)
    assert http.get("/health").json()["status"] == "healthy"
    again = deploy(project)
    assert again.returncode == 0, again.stdout
    assert identities(project, *SERVICES) == before
    port = project.url.rsplit(":", 1)[1]
    assert again.stdout.splitlines()[-1] == f"TeleLink Customer Analytics: http://{PUBLIC_ADDRESS}:{port}"


def test_it_is_there_for_others_and_asks_everybody_for_a_key_of_which_it_makes_and_says_the_first(project, http, key):
    ((published,),) = project.inspect("frontend")["HostConfig"]["PortBindings"].values()
    assert published["HostIp"] == "0.0.0.0"
    stranger = httpx.post(f"{project.url}/predict", json=a_customer(), trust_env=False)
    assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthenticated")
    assert http.get("/v1/session").json() == {
        "mode": "keys",
        "name": "admin",
        "scopes": ["predict", "history", "admin"],
    }
    again = deploy(project)
    assert re.findall(KEY, again.stdout) == []
    assert http.get("/stats").status_code == 200


def test_further_keys_are_made_as_the_readme_says(project, http, key):
    (make_and_list,) = commands(EC2_README, "API keys")
    said = project.type_in(make_and_list)
    (theirs,) = re.findall(KEY, said)
    assert [line.split("\t")[2:] for line in said.splitlines()[1:]] == [
        ["admin,history,predict", "admin"],
        ["predict", "crm"],
    ]
    as_crm = {"Authorization": f"Bearer {theirs}"}
    wait_until(lambda: http.get("/v1/policy", headers=as_crm).status_code == 200, what="the new key")
    assert http.get("/stats", headers=as_crm).status_code == 403


@pytest.mark.parametrize("number", range(N_ROUNDS))
@pytest.mark.parametrize("service", MODELS)
def test_a_model_service_is_redeployed_under_load_without_a_failed_or_a_mixed_or_a_lost_reply(
    project, http, key, service, number
):
    model = MODELS[service][0]
    before, old = identities(project, *others_than(service)), versions(http)
    new = old | {model: release_next_version(project, service)}
    name = f"{model}-{number}"
    with steady_requests(project.url, name=name, headers=key) as ledger:
        ledger.wait_for_more(40)
        done = deploy(project, service)
        ledger.wait_for_more(120)
    assert done.returncode == 0, done.stdout
    assert ledger.failed == []
    # Once the script has ended, the new version alone answers.
    assert [entry.versions for entry in ledger.entries[-100:]] == [new] * 100
    # All ask about the same customer, so that each version has one answer, from its first value to its last.
    answers = {(str(entry.versions), str(entry.body)) for entry in ledger.entries}
    assert {told for told, _ in answers} == {str(old), str(new)}
    assert len(answers) == 2
    assert_history_agrees(project, name, ledger)
    assert identities(project, *others_than(service)) == before
    slowest = max(entry.took_s for entry in ledger.entries)
    print(f"\n{service}: 0 failed of {len(ledger)}, slowest {1e3 * slowest:.0f} ms")


def test_the_gateway_is_redeployed_under_load_without_a_failed_or_a_lost_reply(project, key):
    before = identities(project, *others_than("gateway"))
    with changed_line(project.folder / "gateway" / "telelink_gateway" / "__init__.py", '"""', '""" '):
        with steady_requests(project.url, name="gateway", headers=key) as ledger:
            ledger.wait_for_more(40)
            done = deploy(project, "gateway")
            ledger.wait_for_more(120)
    assert done.returncode == 0, done.stdout
    assert "the one before answers what it was asked and ends" in done.stdout
    assert ledger.failed == []
    assert_history_agrees(project, "gateway", ledger)
    assert identities(project, *others_than("gateway")) == before


def test_a_new_frontend_costs_the_moment_in_which_the_port_changes_hands(project, key):
    before = identities(project, *others_than("frontend"))
    page = project.folder / "frontend" / "site" / "index.html"
    with changed_line(page, "</html>", "</html><!-- new -->"):
        with steady_requests(project.url, name="frontend", headers=key) as ledger:
            ledger.wait_for_more(40)
            done = deploy(project, "frontend")
            ledger.wait_for_more(120)
    assert done.returncode == 0, done.stdout
    assert "<!-- new -->" in httpx.get(project.url, trust_env=False).text
    assert identities(project, *others_than("frontend")) == before
    # Refused before anything came of them, and one stretch of time. Nothing that the gateway took in was lost.
    lost = [entry.at_s for entry in ledger.failed]
    assert {entry.status for entry in ledger.failed} <= {None}
    assert [entry for entry in ledger.entries[-100:] if entry.status != 200] == []
    gap_s = max(lost) - min(lost) if lost else 0.0
    print(f"\nfrontend: {len(lost)} lost of {len(ledger)}, within {gap_s:.1f} s")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            broken_artefact,
            r"does not start, exit code 3 \(.*model\.onnx: content differs from the hash in the manifest\)",
        ),
        (wrong_values, r"answers wrongly \(churn_\w+ of golden row 1 is \S+, and \S+ in the manifest\)"),
        (never_ready, "starts, but does not become ready"),
    ],
)
def test_what_is_not_right_is_refused_in_one_line_and_the_version_before_never_stops_answering(
    project, http, key, fault, reason
):
    before, then = identities(project, *SERVICES), versions(http)
    with steady_requests(project.url, name=fault.__name__, headers=key) as ledger, fault(project):
        done = deploy(project, "churn-service")
    assert done.returncode == 1, done.stdout
    assert re.fullmatch(
        rf"deploy.sh: churn-service: what was built now {reason}; the one before goes on serving\. "
        "Mend that and run this again",
        done.stdout.splitlines()[-1],
    )
    assert ledger.failed == []
    assert {str(entry.versions) for entry in ledger.entries} == {str(then)}
    assert identities(project, *SERVICES) == before


@pytest.mark.parametrize(
    "moment",
    [
        "starting the new one beside",
        "churn-service-[0-9]+ +Created",
        "answers its [0-9]+ golden rows",
        "the one before answers",
    ],
)
def test_killed_at_any_moment_no_request_fails_and_the_next_run_makes_it_whole(project, http, key, moment):
    name = f"killed-{abs(hash(moment))}"
    version = release_next_version(project)
    with steady_requests(project.url, name=name, headers=key) as ledger:
        with starting(project, "churn-service") as process:
            for line in process.stdout:
                if re.search(moment, line):
                    break
            os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        ledger.wait_for_more(40)
        done = deploy(project, "churn-service")
        ledger.wait_for_more(40)
    assert done.returncode == 0, done.stdout
    assert ledger.failed == []
    assert versions(http)["churn"] == version


def test_it_is_rolled_back_as_the_readme_says(project, http, key):
    old, before = versions(http), identities(project, *others_than("churn-service"))
    release_next_version(project)
    (roll_back,) = commands(EC2_README, "Roll back")
    with steady_requests(project.url, name="rolled-back", headers=key) as ledger:
        assert deploy(project, "churn-service").returncode == 0
        assert versions(http) != old
        said = project.type_in(roll_back)
    assert re.findall(KEY, said) == []
    assert ledger.failed == []
    assert versions(http) == old
    assert identities(project, *others_than("churn-service")) == before


def test_a_backup_made_as_the_readme_says_brings_back_what_was_there(project, http):
    backup, restore = commands(EC2_README, "The history, and its backup")

    def customers():
        reply = http.get("/stats")
        return reply.json()["total_customers"] if reply.status_code == 200 else None

    def add(customer):
        assert "x-prediction-id" in http.post("/predict", json=a_customer(customerId=customer)).headers

    add("kept")
    then = customers()
    project.type_in(backup)
    add("came after")
    assert customers() == then + 1
    project.type_in(restore)
    wait_until(lambda: customers() == then, what="the history of the backup", timeout_s=30)
    add("written to what was restored")
    assert customers() == then + 1
