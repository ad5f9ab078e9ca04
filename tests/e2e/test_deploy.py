"""deploy/ec2/deploy.sh, and what its README says to type, on a real engine."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager

import httpx
import pytest

from support.builders import CHURN_MODELS, ROOT, a_customer
from support.compose import SERVICES, composed, why_not
from support.servers import wait_until
from telelink_shared import artifact

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

PUBLIC_ADDRESS = "203.0.113.7"  # of a range that is for documents only


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with composed(tmp_path_factory.mktemp("deploy"), start=False) as prepared:
        # Where the tests run on a machine of Amazon's, this one is not asked for its address.
        commands = prepared.folder / "bin"
        commands.mkdir()
        (commands / "ec2-metadata").write_text(f"#!/bin/sh\necho 'public-ipv4: {PUBLIC_ADDRESS}'\n")
        (commands / "ec2-metadata").chmod(0o755)
        done = deploy(prepared)
        assert done.returncode == 0, done.stdout
        yield prepared
    kept = [f"{prepared.project}-{service}:before" for service in SERVICES]
    subprocess.run(["docker", "image", "rm", "--force", *kept], capture_output=True, check=False)
    unnamed = f"label=com.docker.compose.project={prepared.project}"
    subprocess.run(["docker", "image", "prune", "--force", "--filter", unnamed], capture_output=True, check=True)


def environ(project):
    path = f"{project.folder / 'bin'}:{os.environ['PATH']}"
    names = {"COMPOSE_PROJECT_NAME": project.project, "IMAGE_PREFIX": project.project}
    return os.environ | names | {"HTTP_PORT": "0", "PATH": path}


def starting(project, *services):
    return subprocess.Popen(
        [project.folder / "deploy" / "ec2" / "deploy.sh", *services],
        env=environ(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def deploy(project, *services):
    with starting(project, *services) as process:
        output = process.communicate()[0]
    return subprocess.CompletedProcess(process.args, process.returncode, output)


@pytest.fixture
def http(project):
    with httpx.Client(base_url=project.url, trust_env=False, timeout=20) as client:
        yield client


def churn_models(project):
    return project.folder / "churn-service" / "models" / "churn"


def release_next_version(project):
    """The next version of the churn model, the same in all but its number; which that is."""
    version = str(max(int(each.name) for each in churn_models(project).iterdir()) + 1)
    first = CHURN_MODELS / "churn" / "1"
    manifest = artifact.read_manifest(first).model_copy(update={"version": version})
    files = {name: (first / name).read_bytes() for name in manifest.files}
    artifact.write_version(churn_models(project).parent, manifest, files)
    return version


@contextmanager
def broken_version(project):
    """A next version whose model is not the one that its manifest names."""
    version = release_next_version(project)
    with (churn_models(project) / version / "model.onnx").open("ab") as model:
        model.write(b"!")
    yield
    shutil.rmtree(churn_models(project) / version)


def churn_version(http):
    return http.post("/predict?include=models", json=a_customer()).json()["models"]["churn"]["version"]


def wait_for_version(http, version):
    def served():
        reply = http.post("/predict?include=models", json=a_customer())
        return reply.status_code == 200 and reply.json()["models"]["churn"]["version"] == version

    wait_until(served, what=f"version {version}", timeout_s=30)


def identities(project, *services):
    """Container and moment of its start: another one after any restart."""
    described = {service: project.inspect(service) for service in services}
    return {service: (each["Id"], each["State"]["StartedAt"]) for service, each in described.items()}


def commands_of_the_readme(heading):
    """The blocks of shell commands below a heading."""
    text = (ROOT / "deploy" / "ec2" / "README.md").read_text()
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def type_in(project, commands):
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=project.folder, env=environ(project), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


OTHERS = tuple(service for service in SERVICES if service != "churn-service")


def test_everything_is_built_started_and_healthy_and_what_has_not_changed_is_left_alone(project, http):
    before = identities(project, *SERVICES)
    assert [project.inspect(service)["State"]["Health"]["Status"] for service in SERVICES] == ["healthy"] * 4
    assert http.get("/health").json()["status"] == "healthy"
    again = deploy(project)
    assert again.returncode == 0, again.stdout
    assert identities(project, *SERVICES) == before
    port = project.url.rsplit(":", 1)[1]
    assert again.stdout.splitlines()[-1] == f"TeleLink Customer Analytics: http://{PUBLIC_ADDRESS}:{port}"


def test_one_service_is_redeployed_and_brought_back_as_the_readme_says_and_no_other_restarts(project, http):
    before, old_version = identities(project, *OTHERS), churn_version(http)
    version = release_next_version(project)
    done = deploy(project, "churn-service")
    assert done.returncode == 0, done.stdout
    wait_for_version(http, version)
    (commands,) = commands_of_the_readme("Roll back")
    type_in(project, commands.replace("telelink-churn", f"{project.project}-churn"))
    wait_for_version(http, old_version)
    assert identities(project, *OTHERS) == before


def test_a_broken_artefact_ends_in_an_error_and_the_version_before_goes_on_serving(project, http):
    before = identities(project, *OTHERS)
    version = churn_version(http)
    with broken_version(project):
        done = deploy(project, "churn-service")
    assert done.returncode == 1, done.stdout
    assert "content differs from the hash in the manifest" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "deploy.sh: what was built now is not healthy, so what ran before runs again; see the log above"
    )
    assert project.inspect("churn-service")["State"]["Health"]["Status"] == "healthy"
    wait_for_version(http, version)
    assert identities(project, *OTHERS) == before


def test_killed_while_it_replaces_a_container_it_can_be_run_again(project, http):
    version = release_next_version(project)
    with starting(project, "churn-service") as process:
        for line in process.stdout:
            if re.search(r"churn-service-1 +Recreate", line):
                break
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = deploy(project, "churn-service")
    assert done.returncode == 0, done.stdout
    wait_for_version(http, version)


def test_a_backup_made_as_the_readme_says_brings_back_what_was_there(project, http):
    backup, restore = commands_of_the_readme("The history, and its backup")

    def customers():
        reply = http.get("/stats")
        return reply.json()["total_customers"] if reply.status_code == 200 else None

    def add(customer):
        assert "x-prediction-id" in http.post("/predict", json=a_customer(customerId=customer)).headers

    add("kept")
    then = customers()
    type_in(project, backup)
    add("came after")
    assert customers() == then + 1
    type_in(project, restore)
    wait_until(lambda: customers() == then, what="the history of the backup", timeout_s=30)
    add("written to what was restored")
    assert customers() == then + 1
