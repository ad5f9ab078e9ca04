"""The stack of several hosts says what docker-compose.yml says, where both say it."""

import re
import subprocess

import pytest
import yaml

from support.builders import ROOT
from support.compose import SERVICES
from telelink_gateway.admission import LEAST

SWARM = ROOT / "deploy" / "swarm"
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
# Where the gateway finds what several hosts share.
OWN = {
    "TELELINK_API_KEYS_FILE", "TELELINK_HISTORY_PASSWORD_FILE", "TELELINK_HISTORY_URL", "TELELINK_PUBLISHED_AT",
}  # fmt: skip


def by_default(text):
    """With every variable as it is where nobody sets it."""
    return re.sub(r"\$\{\w+(?::[-?]([^}]*))?\}", lambda match: match[1] or "", text)


def services(path):
    return yaml.safe_load(by_default(path.read_text(encoding="utf-8")))["services"]


COMPOSE = services(ROOT / "docker-compose.yml")
STACK = services(SWARM / "stack.yml")


def n_bytes(text):
    number, unit = re.fullmatch(r"(\d+)([kmg]?)b?", str(text).lower()).groups()
    return int(number) * _UNITS[unit]


def limits(service):
    return STACK[service]["deploy"]["resources"]["limits"]


def memory_mounts(of):
    """Size in bytes by target; None: as much as the container may have."""
    if "tmpfs" in of:
        parts = (each.partition(":") for each in of["tmpfs"])
        sizes = {target: re.search(r"size=(\w+)", options) for target, _, options in parts}
        return {target: size and n_bytes(size[1]) for target, size in sizes.items()}
    mounts = [each for each in of["volumes"] if isinstance(each, dict)]
    assert {each["type"] for each in mounts} == {"tmpfs"}
    return {each["target"]: each.get("tmpfs", {}).get("size") for each in mounts}


def test_the_stack_has_the_same_services_and_a_database():
    assert set(STACK) == {*COMPOSE, "history"} == {*SERVICES, "history"}


@pytest.mark.parametrize("service", STACK)
def test_every_service_is_hardened_as_with_compose(service):
    told, model = STACK[service], COMPOSE.get(service, COMPOSE["gateway"])
    for setting in ("init", "read_only", "cap_drop", "logging"):
        assert told[setting] == model[setting], setting
    assert limits(service)["pids"] == model["pids_limit"]
    assert "privileged" not in told
    assert ("cap_add" in told) == (service == "history")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_limits_grace_and_memory_mounts_that_it_has_with_compose(service):
    told, model = STACK[service], COMPOSE[service]
    assert n_bytes(limits(service)["memory"]) == n_bytes(model["mem_limit"])
    assert told.get("stop_grace_period") == model.get("stop_grace_period")
    assert memory_mounts(told) == memory_mounts(model)


def test_the_gateway_is_told_the_same_settings_but_for_what_hosts_share():
    told, model = STACK["gateway"]["environment"], COMPOSE["gateway"]["environment"]
    assert told.keys() == model.keys()
    assert {name for name in told if told[name] != model[name]} == OWN


def test_only_the_frontend_has_a_port_and_models_and_database_have_no_way_out():
    assert [name for name, each in STACK.items() if "ports" in each] == ["frontend"]
    networks = yaml.safe_load(by_default((SWARM / "stack.yml").read_text(encoding="utf-8")))["networks"]
    inner = {name for name, each in networks.items() if each and each["internal"]}
    assert inner == {"models", "history"}
    for service in ("churn-service", "clv-service", "history"):
        assert set(STACK[service]["networks"]) <= inner
    for service in SERVICES:
        assert set(COMPOSE[service]["networks"]) <= set(STACK[service]["networks"])


@pytest.mark.parametrize("service", STACK)
def test_a_new_copy_starts_beside_the_old_one_unless_there_is_something_that_only_one_can_have(service):
    deploy = STACK[service]["deploy"]
    has_one_of = "ports" in STACK[service] or any(isinstance(each, str) for each in STACK[service]["volumes"])
    assert deploy["update_config"]["order"] == ("stop-first" if has_one_of else "start-first")
    assert deploy["update_config"]["failure_action"] == "rollback"
    assert deploy["endpoint_mode"] == "dnsrr"


def test_nginx_lets_in_what_all_gateways_let_in():
    n_gateways = STACK["gateway"]["deploy"]["replicas"]
    assert n_gateways >= 2
    assert int(STACK["frontend"]["environment"]["REQUESTS_OF_ALL"]) == LEAST * n_gateways
    assert re.search(r"REQUESTS_OF_ALL:-\$\(\((\d+) \*", (SWARM / "deploy.sh").read_text())[1] == str(LEAST)


AS_THE_SWARM_SAYS = """
docker() {
  case "$*" in
    *"service ps"*) printf '%s\\n' "$SAID Running 5 seconds ago" "$SAID Running 2 minutes ago" ;;
    *"service inspect"*) echo completed ;;
  esac
}
VERB=update IMAGE[gateway]=$WANTED
progress_of gateway
"""


@pytest.mark.parametrize("said", ["", "@sha256:" + 64 * "a"])
@pytest.mark.parametrize("wanted", ["", "@sha256:" + 64 * "a"])
def test_copies_of_a_registrys_image_are_known_with_its_digest_and_without(said, wanted):
    name = "registry.example.com/telelink/telelink-gateway"

    def progress(tag):
        script = f"SAID={name}:1{said} WANTED={name}:{tag}{wanted}\nsource {SWARM / 'deploy.sh'} --help\n"
        done = subprocess.run(["bash", "-c", script + AS_THE_SWARM_SAYS], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert (progress("1"), progress("2")) == ("done", "0 of 2")


def test_the_readme_lists_every_setting():
    text = "".join((SWARM / name).read_text(encoding="utf-8") for name in ("stack.yml", "deploy.sh"))
    read = set(re.findall(r"\$\{([A-Z_]+):[-+]", text))
    rows = re.findall(r"^\| `([A-Z_]+)` \|", (SWARM / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(read)
