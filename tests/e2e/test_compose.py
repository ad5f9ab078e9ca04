"""The containers of docker-compose.yml on a real engine."""

import json
import re
import secrets
import select
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from support.builders import CHURN_MODELS, ROOT, a_customer, some_customers
from support.compose import SERVICES, composed, why_not
from support.ledger import steady_requests
from support.readme import commands
from support.servers import system, wait_until
from telelink_shared import artifact

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

MODEL_SERVICES = ("churn-service", "clv-service")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with composed(tmp_path_factory.mktemp("compose")) as running:
        yield running


@pytest.fixture
def http(project):
    with httpx.Client(base_url=project.url, trust_env=False, timeout=20) as client:
        yield client


def test_all_containers_are_healthy(project, http):
    assert [project.inspect(service)["State"]["Health"]["Status"] for service in SERVICES] == ["healthy"] * 4
    assert http.get("/health").json()["status"] == "healthy"
    assert "TeleLink Customer Analytics" in http.get("/").text


def test_the_answers_are_those_of_local_processes(http, tmp_path):
    customers = some_customers(300, seed=11)
    with system(tmp_path) as local:
        wanted = httpx.post(f"{local.url}/batch-predict", json=customers, trust_env=False, timeout=20).json()
    assert http.post("/batch-predict", json=customers).json() == wanted
    assert http.post("/predict", json=customers[0]).json() == wanted["predictions"][0]


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_hardened(project, service):
    described = project.inspect(service)
    host = described["HostConfig"]
    assert described["Config"]["User"].split(":")[0] not in {"", "0", "root"}
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert not host["Privileged"]
    assert 0 < host["PidsLimit"] <= 256
    assert 0 < host["Memory"] <= 256 * 1024 * 1024
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    # Neither the host's namespaces nor its devices, and of its files only the history's volume: no engine's socket.
    assert (host["PidMode"], host["IpcMode"], host["UTSMode"]) == ("", "private", "")
    assert not host["Devices"]
    mounts = [(each["Type"], each["Destination"]) for each in described["Mounts"] if each["Type"] != "tmpfs"]
    assert mounts == ([("volume", "/data")] if service == "gateway" else [])


def test_the_memory_limits_fit_one_gibibyte_in_sum(project):
    limits = [project.inspect(service)["HostConfig"]["Memory"] for service in SERVICES]
    assert all(limits)
    assert sum(limits) <= 800 * 1024 * 1024  # the rest is the system's


def test_model_services_are_on_an_internal_network_alone_and_only_the_frontend_has_a_port(project):
    for service in MODEL_SERVICES:
        assert set(project.inspect(service)["NetworkSettings"]["Networks"]) == {f"{project.project}_models"}
    network = subprocess.run(
        ["docker", "network", "inspect", f"{project.project}_models"], capture_output=True, text=True, check=True
    )
    assert json.loads(network.stdout)[0]["Internal"] is True
    published = {service: project.inspect(service)["HostConfig"]["PortBindings"] for service in SERVICES}
    assert [service for service, ports in published.items() if ports] == ["frontend"]
    # This machine alone reaches it, and it says so.
    ((at,),) = published["frontend"].values()
    assert at["HostIp"] == "127.0.0.1"
    lines = map(json.loads, docker("logs", project.inspect("gateway")["Id"]).splitlines())
    (said,) = [line for line in lines if line["event"].startswith("demo mode")]
    assert (said["level"], said["host"]) == ("info", "127.0.0.1")


def test_images_hold_nothing_of_training(project):
    probe = (
        "import importlib.util, shutil, pathlib\n"
        "found = [n for n in ('sklearn', 'pandas', 'imblearn', 'joblib', 'telelink_training', 'pip') "
        "if importlib.util.find_spec(n)]\n"
        "found += [n for n in ('gcc', 'cc') if shutil.which(n)]\n"
        "found += [str(p) for p in pathlib.Path('/app').rglob('*.joblib')]\n"
        "print(found)"
    )
    for service in ("gateway", *MODEL_SERVICES):
        assert project.run("exec", "-T", service, "python", "-c", probe).strip() == "[]"


def test_metrics_are_inside_only(project, http):
    assert http.get("/metrics").status_code == 404
    inside = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    assert "http_requests_total" in project.run("exec", "-T", "gateway", "python", "-c", inside)


@pytest.mark.parametrize("service", MODEL_SERVICES)
def test_a_model_service_that_is_down_degrades_and_comes_back_by_itself(project, http, service):
    project.run("kill", service)
    wait_until(lambda: http.get("/health").json()["status"] == "degraded", what="degraded health")
    strict = http.post("/predict", json=a_customer())
    assert strict.status_code == 503
    assert int(strict.headers["retry-after"]) >= 1
    lenient = http.post("/predict", json=a_customer(), headers={"Prefer": "handling=lenient"})
    assert (lenient.status_code, lenient.headers["x-degraded"]) == (200, service.removesuffix("-service"))
    project.run("start", service)
    wait_until(lambda: http.get("/health").json()["status"] == "healthy", what="healthy again", timeout_s=30)
    assert http.post("/predict", json=a_customer()).status_code == 200


def identity(project, service):
    described = project.inspect(service)
    return described["Id"], described["State"]["StartedAt"], described["RestartCount"]


def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def address_of(project, container, network="public"):
    networks = json.loads(docker("inspect", container))[0]["NetworkSettings"]["Networks"]
    return networks[f"{project.project}_{network}"]["IPAddress"]


@contextmanager
def taken(project, address, network="public"):
    """Other containers take free addresses of the network until this one is among them."""
    placeholders = []
    try:
        while address not in (address_of(project, each, network) for each in placeholders):
            # An engine that goes on to the next address each time does not come back to this one soon.
            if len(placeholders) == 8:
                break
            image = f"{project.project}-frontend"
            start = ("run", "--detach", f"--network={project.project}_{network}", "--entrypoint=sleep", image, "600")
            placeholders.append(docker(*start))
        yield
    finally:
        for each in placeholders:
            docker("rm", "--force", each)


def test_a_new_container_of_the_gateway_is_found_at_its_new_address_and_has_the_history(project, http):
    nginx = identity(project, "frontend")
    before = http.get("/stats").json()["total_customers"]
    assert "x-prediction-id" in http.post("/batch-predict", json=some_customers(20, seed=12)).headers
    old = address_of(project, project.inspect("gateway")["Id"])
    project.run("rm", "--stop", "--force", "gateway")
    assert http.get("/stats").status_code == 503
    with taken(project, old):
        project.up("gateway")
        assert address_of(project, project.inspect("gateway")["Id"]) != old
        wait_until(lambda: http.get("/health").status_code == 200, what="the gateway behind nginx", timeout_s=30)
        # Customers of the same seed have the same ids as those of other tests, so at least as many as before are known.
        assert http.get("/stats").json()["total_customers"] >= max(before, 20)
    assert identity(project, "frontend") == nginx


def test_a_new_container_of_a_model_service_is_used_at_its_new_address_within_three_seconds(project, http):
    front = identity(project, "gateway")
    assert http.post("/predict", json=a_customer()).status_code == 200
    old = address_of(project, project.inspect("churn-service")["Id"], "models")
    project.run("rm", "--stop", "--force", "churn-service")
    assert http.post("/predict", json=a_customer()).status_code == 503
    with taken(project, old, "models"):
        project.up("churn-service")
        assert address_of(project, project.inspect("churn-service")["Id"], "models") != old
        wait_until(
            lambda: http.post("/predict", json=a_customer()).status_code == 200, what="the new address", timeout_s=3
        )
    assert identity(project, "gateway") == front


GATEWAY_README = ROOT / "gateway" / "README.md"


@pytest.fixture
def settings(project):
    """The project's .env, and the gateway of before at the end."""
    file = project.folder / ".env"
    yield file
    file.unlink()
    project.up("gateway")


def test_with_a_key_made_as_the_readme_says_nobody_gets_in_without_one_also_after_the_gateway_is_replaced(
    project, http, settings
):
    use_keys, _ = commands(GATEWAY_README, "With compose")
    (key,) = project.type_in(use_keys).split()
    assert settings.read_text() == "API_KEYS_FILE=/data/api-keys.json\n"

    def statuses():
        asked = [http.post("/predict", json=a_customer(), headers=headers) for headers in ({}, as_crm)]
        return [reply.status_code for reply in (*asked, http.get("/"), http.get("/stats", headers=as_crm))]

    as_crm = {"Authorization": f"Bearer {key}"}
    wait_until(lambda: statuses() == [401, 200, 200, 403], what="the gateway with keys", timeout_s=30)
    project.run("rm", "--stop", "--force", "gateway")
    project.up("gateway")
    wait_until(lambda: statuses() == [401, 200, 200, 403], what="the next gateway", timeout_s=30)


POSTGRES = "postgres:15"


@pytest.fixture
def database(project):
    """The address at which the project's gateway finds PostgreSQL, and its password."""
    if subprocess.run(["docker", "image", "inspect", POSTGRES], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"the engine has no {POSTGRES}: docker pull {POSTGRES}")
    password = secrets.token_hex(16)
    options = ("--detach", "--rm", f"--network={project.project}_public", "--tmpfs=/var/lib/postgresql/data")
    user = ("--env=POSTGRES_USER=telelink", f"--env=POSTGRES_PASSWORD={password}")
    container = docker("run", *options, *user, POSTGRES)
    try:
        yield container[:12], password
    finally:
        docker("rm", "--force", "--volumes", container)


def test_with_postgresql_as_the_readme_says_predictions_are_kept_there(project, http, settings, database):
    host, password = database
    _, use_postgres = commands(GATEWAY_README, "With compose")
    (project.folder / "password").write_text(password + "\n")
    project.type_in(use_postgres.replace("db.example.com", host))

    def is_stored():
        return "x-prediction-id" in http.post("/predict", json=a_customer(customerId="kept")).headers

    def rows():
        query = "SELECT count(*) FROM predictions WHERE customer_id = 'kept'"
        done = docker("exec", host, "psql", "--username=telelink", "--tuples-only", "--command", query)
        return int(done)

    wait_until(lambda: is_stored() and http.get("/health").json()["status"] == "healthy", what="healthy", timeout_s=30)
    before = rows()
    assert is_stored()
    assert rows() == before + 1
    assert password not in project.run("logs", "gateway")


def test_many_large_uploads_at_once_are_refused_but_two_and_do_no_harm(project, http):
    nginx = identity(project, "frontend")
    n_uploads, n_taken = 24, 2

    def send_all_but_the_end(connection):
        connection.sendall(b"POST /batch-predict HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
        connection.sendall(b" " * 7_999_999)

    def answered():
        return select.select(connections, [], [], 0)[0]

    address = (http.base_url.host, http.base_url.port)
    connections = [socket.create_connection(address, timeout=20) for _ in range(n_uploads)]
    try:
        with ThreadPoolExecutor(n_uploads) as pool:
            list(pool.map(send_all_but_the_end, connections))
        wait_until(lambda: len(answered()) == n_uploads - n_taken, what="all but two uploads to be refused")
        assert http.post("/predict", json=a_customer()).status_code == 200
        for each in answered():
            reply = each.recv(4096).decode()
            assert reply.startswith("HTTP/1.1 429 ")
            assert re.search(r"^Retry-After: [0-9]+\r$", reply, re.MULTILINE)
    finally:
        for each in connections:
            each.close()
    large = json.dumps(some_customers(500, seed=13))
    wait_until(lambda: http.post("/batch-predict", content=large).status_code == 200, what="room for a large body")
    assert identity(project, "frontend") == nginx
    assert "exited on signal" not in project.run("logs", "frontend")


def memory_used(project, service):
    """Bytes that the service's container has now, as its limit counts them."""
    first_that_is_there = (
        "cat /sys/fs/cgroup/memory/memory.usage_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.current"
    )
    return int(project.run("exec", "-T", service, "sh", "-c", first_that_is_there))


@contextmanager
def memory_limit(container, n_bytes):
    before = str(json.loads(docker("inspect", container))[0]["HostConfig"]["Memory"])

    def set_to(limit):
        docker("update", "--memory", limit, "--memory-swap", limit, container)

    set_to(str(n_bytes))
    try:
        yield
    finally:
        docker("update", "--memory", before, "--memory-swap", str(2 * int(before)), container)


@pytest.mark.parametrize(("service", "half"), [("churn-service", "churn"), ("clv-service", "clv")])
def test_a_service_that_is_killed_for_memory_starts_again_and_the_others_go_on(project, http, service, half):
    # One that has answered large batches already has the memory for the next.
    project.run("restart", service)
    wait_until(lambda: http.get("/health").json()["status"] == "healthy", what="a new process", timeout_s=30)
    before = {each: identity(project, each) for each in SERVICES}
    others = [each for each in SERVICES if each != service]
    container = before[service][0]
    lenient = {"Prefer": "handling=lenient"}
    with steady_requests(project.url, name=f"oom-{half}", rate_per_s=20, headers=lenient) as ledger:
        ledger.wait_for_more(20)
        with memory_limit(container, memory_used(project, service) + 4 * 1024 * 1024):

            def is_killed():
                http.post("/batch-predict", json=some_customers(10_000, seed=14), headers=lenient)
                return identity(project, service)[2] > before[service][2]

            wait_until(is_killed, what="the engine to start it again", timeout_s=60)
            ledger.wait_for_more(20)
        wait_until(lambda: http.get("/health").json()["status"] == "healthy", what="healthy again", timeout_s=60)
        ledger.wait_for_more(40)
    # It was the limit that ended it, and the engine that started it again.
    assert "oom" in docker("events", "--since", "10m", "--until", "0s", "--filter", f"container={container}").split()
    assert {each: identity(project, each) for each in others} == {each: before[each] for each in others}
    assert ledger.failed == []
    assert {entry.degraded for entry in ledger.entries} == {None, half}
    other = {"churn": "estimated_clv", "clv": "churn_probability"}[half]
    assert [entry for entry in ledger.entries if entry.body[other] is None] == []
    assert [entry for entry in ledger.entries[-20:] if entry.degraded] == []


def test_one_model_service_is_redeployed_with_a_new_version_and_nothing_else_restarts(project, http):
    others = [service for service in SERVICES if service != "churn-service"]
    before = {service: identity(project, service) for service in SERVICES}
    version_one = CHURN_MODELS / "churn" / "1"
    manifest = artifact.read_manifest(version_one).model_copy(update={"version": "2"})
    files = {name: (version_one / name).read_bytes() for name in manifest.files}
    artifact.write_version(project.folder / "churn-service" / "models", manifest, files)

    project.up("churn-service")

    def versions():
        return {each["name"]: each["version"] for each in http.get("/v1/services").json()["services"]}

    wait_until(lambda: versions()["churn-service"] == "2", what="the new version", timeout_s=30)
    assert versions()["clv-service"] == "1"
    assert {service: identity(project, service) for service in others} == {
        service: before[service] for service in others
    }
    assert identity(project, "churn-service") != before["churn-service"]
    reply = http.post("/predict?include=models", json=a_customer())
    assert reply.json()["models"]["churn"]["version"] == "2"
