"""deploy/ec2's scripts in a real bash, on a machine whose system commands are stubs."""

import fcntl
import os
import re
import shutil
from contextlib import contextmanager

import pytest
import yaml

from support.amazon_linux import PLUGIN, SERVICES, Machine
from support.builders import ROOT

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "flock", "awk"))),
    reason="no bash or flock: apt-get install bash util-linux mawk",
)

EC2 = ROOT / "deploy" / "ec2"
SETUP, DEPLOY = "setup-ec2.sh", "deploy.sh"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "machine")


@pytest.fixture
def ready(machine):
    """A machine that is set up and logged into anew."""
    assert machine.run(SETUP).returncode == 0
    machine.log_in()
    return machine


@pytest.fixture
def live(ready):
    """One where version 1 of everything runs."""
    assert ready.run(DEPLOY).returncode == 0
    assert ready.running() == ALL_OF_VERSION_1
    return ready


@contextmanager
def another_run(machine):
    folder = os.open(machine.scripts, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        os.close(folder)


def error_of(run):
    """The one line that says what to do."""
    assert run.returncode == 1, run.output
    return run.error.strip().splitlines()[-1]


# --- setup-ec2.sh ---


def test_a_fresh_machine_gets_swap_git_docker_and_compose_in_this_order(machine):
    run = machine.run(SETUP)
    assert run.returncode == 0, run.output
    swap, plugin = machine.swap_file, machine.plugin
    changes = [re.sub(r"\S*/tmp\.\w+", "DOWNLOAD", change) for change in run.changes]
    assert changes == [
        f"dd if=/dev/zero of={swap}.new bs=1M count=2048 status=none",
        f"chmod 0600 {swap}.new",
        f"mkswap {swap}.new",
        f"mv {swap}.new {swap}",
        f"swapon {swap}",
        f"tee -a {machine.fstab}",
        "dnf install --assumeyes --quiet docker git",
        "systemctl enable --now docker",
        "usermod --append --groups docker ec2-user",
        f"install -D --mode 0755 DOWNLOAD {plugin}",
    ]
    assert machine.state()["files"] == {
        "swapfile": ("0o100600", "zeros of bs=1M count=2048\nswap\n"),
        "docker-compose": ("0o100755", PLUGIN),
    }
    assert machine.fstab.read_text().splitlines()[1:] == [f"{swap} none swap sw 0 0"]
    assert os.listdir(machine.folder / "tmp") == []
    assert run.output.splitlines()[-1] == f"ready: run {machine.scripts}/deploy.sh"


def test_a_second_run_changes_nothing(ready):
    before = ready.state()
    run = ready.run(SETUP)
    assert run.returncode == 0, run.output
    assert run.changes == ["systemctl enable --now docker"]  # which does nothing when it is
    assert not [call for call in run.calls if "curl" in call]
    assert ready.state() == before


def steps_of(run, pattern):
    """The numbers of the calls that change something."""
    return [number for number, call in enumerate(run.calls, start=1) if re.match(pattern, call)]


def test_a_run_that_ends_at_any_step_is_made_whole_by_the_next(tmp_path):
    whole = Machine(tmp_path / "whole")
    steps = steps_of(whole.run(SETUP), r"# (?!docker)")
    assert len(steps) == 10
    for step in steps:
        machine = Machine(tmp_path / str(step))
        killed = machine.run(SETUP, OFF_AT=str(step))
        assert (killed.returncode, len(killed.calls)) == (-9, step)
        assert machine.run(SETUP).returncode == 0
        assert_alike(machine, whole, f"ended at {killed.calls[-1]}")


@pytest.mark.parametrize("command", ["dd", "install"])
def test_a_file_that_was_half_written_is_written_again(tmp_path, command):
    whole, machine = Machine(tmp_path / "whole"), Machine(tmp_path / "machine")
    whole.run(SETUP)
    assert machine.run(SETUP, OFF_IN=command).returncode == -9
    assert machine.run(SETUP).returncode == 0
    assert_alike(machine, whole, f"ended within {command}")


def assert_alike(machine, other, after):
    def of(each):
        return {name: str(value).replace(str(each.folder), "") for name, value in each.state().items()}

    assert of(machine) == of(other), after


@pytest.mark.parametrize(
    "release",
    ['ID="amzn"\nVERSION_ID="2"\n', 'ID=debian\nVERSION_ID="12"\n', 'ID="fedora"\nVERSION_ID="2023"\n', None],
)
def test_another_system_is_left_as_it_is(machine, release):
    if release is None:
        (machine.root / "etc" / "os-release").unlink()
    else:
        machine.write("root/etc/os-release", release)
    run = machine.run(SETUP)
    assert error_of(run).startswith("setup-ec2.sh: this is not Amazon Linux 2023; on another system install Docker")
    assert run.calls == ()


def test_a_download_that_is_not_what_it_should_be_is_not_installed(machine):
    machine.write("download", "<html>not found</html>")
    assert "not docker compose v2.32.4; nothing was installed, run this again" in error_of(machine.run(SETUP))
    assert not machine.plugin.exists()
    assert os.listdir(machine.folder / "tmp") == []
    machine.write("download", PLUGIN)
    assert machine.run(SETUP).returncode == 0
    assert machine.plugin.read_text() == PLUGIN


def test_compose_is_known_for_both_architectures_of_amazon_and_for_no_other(machine):
    sums = re.findall(r"^  \[(\w+)\]=([0-9a-f]{64})$", (EC2 / SETUP).read_text(), re.MULTILINE)
    assert sorted(machine for machine, _ in sums) == ["aarch64", "x86_64"]
    machine.write("architecture", "riscv64\n")
    assert "no checksum of docker compose for riscv64: use an x86_64 or arm64 machine" in error_of(machine.run(SETUP))


def test_a_full_volume_is_said_and_no_half_of_a_swap_file_stays(machine):
    machine.write("full", "")
    assert "give the machine a larger volume (README.md, storage), then run this again" in error_of(machine.run(SETUP))
    assert list(machine.root.glob("swapfile*")) == []


def test_no_network_is_said_with_what_could_not_be_had(machine):
    machine.write("offline", "")
    assert "dnf could not install docker git; see above, then run this again" in error_of(machine.run(SETUP))
    for name in ("docker", "git"):
        machine.write(f"packages/{name}", "")
    (machine.folder / "bin" / "docker").symlink_to(machine.folder / "stubs" / "docker")
    assert "docker compose could not be downloaded; see above, then run this again" in error_of(machine.run(SETUP))


def test_swap_that_is_there_already_is_enough(machine):
    machine.write("swaps", "/dev/zram0\n")
    before = machine.fstab.read_text()
    assert machine.run(SETUP).returncode == 0
    assert not machine.swap_file.exists()
    assert machine.fstab.read_text() == before


def test_root_needs_no_sudo_and_joins_no_group(machine):
    (machine.folder / "bin" / "sudo").unlink()
    run = machine.run(SETUP, AS_ROOT="#")
    assert run.returncode == 0, run.output
    assert not [change for change in run.changes if "usermod" in change]
    assert machine.run(DEPLOY, AS_ROOT="#").returncode == 0
    assert set(machine.running()) == set(SERVICES)


@pytest.mark.parametrize("script", [SETUP, DEPLOY])
def test_two_at_once_are_refused(ready, script):
    with another_run(ready):
        run = ready.run(script)
        assert error_of(run) == f"{script}: another run is under way; wait for it to end"
        assert not [call for call in run.calls if "compose up" in call]
    assert ready.run(script).returncode == 0


# --- deploy.sh ---


def verbs_of(run):
    """What compose was told to do to containers and images."""
    return [call[len("$ docker compose ") :] for call in run.calls if re.match(r". docker compose (build|up)", call)]


def changes_of(run):
    """What was done to containers and images, without the options that are always the same."""
    changes = [call for call in run.calls if re.match(CHANGES, call)]
    return [re.sub(r"^. docker |--no-\w+ |--detach |--wait(-timeout \d+)? ", "", call) for call in changes]


CHANGES = r"\$ docker (tag|compose (build|up)|update|network|start|stop|rm) "
ALL_OF_VERSION_1 = dict.fromkeys(SERVICES, "v1")


def test_everything_is_built_one_after_the_other_then_started_and_the_address_said(ready):
    run = ready.run(DEPLOY)
    assert run.returncode == 0, run.output
    assert verbs_of(run) == [
        *(f"build {service}" for service in SERVICES),
        f"up --detach --no-build --no-deps --wait --wait-timeout 180 {' '.join(SERVICES)}",
    ]
    assert ready.running() == ALL_OF_VERSION_1
    assert run.output.splitlines()[-1] == "TeleLink Customer Analytics: http://203.0.113.7"


def test_what_has_not_changed_is_left_alone(live):
    run = live.run(DEPLOY)
    assert run.returncode == 0, run.output
    assert changes_of(run) == [f"compose build {service}" for service in SERVICES]


def test_a_service_is_proved_beside_the_old_one_before_it_gets_its_name_and_the_old_one_goes_last(live):
    for service in SERVICES:
        live.release(service, "v2")
    run = live.run(DEPLOY, "churn-service")
    assert run.returncode == 0, run.output
    old, new = "churn-service-1", "churn-service-5"
    assert changes_of(run) == [
        "compose build churn-service",
        "compose up --scale churn-service=2 churn-service",
        f"update --restart no {new}",
        f"network disconnect telelink_models {new}",
        f"network connect telelink_models {new}",
        f"start {new}",
        f"network disconnect telelink_models {new}",
        f"network connect --alias churn-service telelink_models {new}",
        f"update --restart unless-stopped {new}",
        "tag v1 telelink-churn-service:before",
        f"stop {old}",
        f"rm --force {old}",
    ]
    calls = " ".join(run.calls)
    assert calls.index(f"start {new}") < calls.index(f"exec --interactive {new}") < calls.index("connect --alias")
    assert live.running() == ALL_OF_VERSION_1 | {"churn-service": "v2"}
    assert run.output.splitlines()[-1] == "TeleLink Customer Analytics: http://203.0.113.7"


def test_the_gateway_keeps_its_way_to_the_models_while_it_gets_its_name(live):
    live.release("gateway", "v2")
    run = live.run(DEPLOY, "gateway")
    assert run.returncode == 0, run.output
    assert {change.split()[-2] for change in changes_of(run) if "network" in change} == {"telelink_public"}
    assert live.running() == ALL_OF_VERSION_1 | {"gateway": "v2"}


def test_a_new_frontend_is_tried_at_another_port_that_nobody_else_can_ask(live):
    live.release("frontend", "v2")
    run = live.run(DEPLOY, "frontend", HTTP_PORT="8080")
    assert run.returncode == 0, run.output
    tried, new, old = "frontend-5", "frontend-6", "frontend-4"
    assert changes_of(run)[-10:] == [
        f"stop {tried}",
        f"rm --force {tried}",
        "compose up --scale frontend=2 frontend",
        f"update --restart no {new}",
        f"stop {old}",
        f"start {new}",
        f"update --restart unless-stopped {new}",
        "tag v1 telelink-frontend:before",
        f"stop {old}",
        f"rm --force {old}",
    ]
    assert live.running() == ALL_OF_VERSION_1 | {"frontend": "v2"}
    assert [path.read_text().split()[-1] for path in (live.folder / "containers").glob("frontend-*")] == [
        "0.0.0.0:8080"
    ]


def test_a_tried_frontend_publishes_on_loopback(live):
    live.release("frontend", "v2")
    step = steps_of(live.copy(live.folder.with_name("whole")).run(DEPLOY, "frontend"), r"\$ docker start ")[0]
    live.run(DEPLOY, "frontend", OFF_AT=str(step), HTTP_PORT="8080")
    tried = max((live.folder / "containers").glob("frontend-*"), key=lambda path: int(path.name.split("-")[-1]))
    assert tried.read_text().split()[-1] == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("bind", "port", "told", "address"),
    [
        ("0.0.0.0", "8080", "203.0.113.7", "http://203.0.113.7:8080"),
        ("[::]", "80", "203.0.113.7", "http://203.0.113.7"),
        ("0.0.0.0", "80", "not available", "http://localhost"),
        ("127.0.0.1", "8081", "203.0.113.7", "http://localhost:8081"),
        ("0.0.0.0", "8080", None, "http://localhost:8080"),
    ],
)
def test_the_address_is_the_machines_public_one_where_there_is_one(ready, bind, port, told, address):
    if told is None:
        (ready.folder / "bin" / "ec2-metadata").unlink()
    else:
        ready.write("public-ipv4", told)
    run = ready.run(DEPLOY, HTTP_BIND=bind, HTTP_PORT=port)
    assert run.output.splitlines()[-1] == f"TeleLink Customer Analytics: {address}"


def test_a_service_without_the_page_says_what_is_missing(ready):
    run = ready.run(DEPLOY, "churn-service")
    assert run.returncode == 0, run.output
    assert run.output.splitlines()[-1].endswith(f"its page does not run yet: run {ready.scripts}/deploy.sh")


def test_in_the_login_of_the_set_up_docker_is_asked_as_root_and_settings_still_reach_compose(machine):
    machine.run(SETUP)
    run = machine.run(DEPLOY, HTTP_PORT="8080", IMAGE_PREFIX="other")
    assert run.returncode == 0, run.output
    assert [call for call in run.calls if call.startswith("$ docker")] == ["$ docker info"]
    assert run.output.splitlines()[-1].endswith("http://203.0.113.7:8080")
    assert sorted(os.listdir(machine.folder / "images")) == sorted(f"other-{service}:latest" for service in SERVICES)


def test_every_setting_of_the_compose_file_gets_past_sudo():
    script = (EC2 / DEPLOY).read_text().replace("\\\n", "")
    preserved = re.search(r"^readonly SETTINGS=(\S+)$", script, re.MULTILINE)[1].split(",")
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert set(preserved) == used | {"COMPOSE_PROJECT_NAME"}


def test_the_services_are_those_of_the_compose_file():
    services = re.search(r"^readonly SERVICES=\((.+)\)$", (EC2 / DEPLOY).read_text(), re.MULTILINE)[1].split()
    assert set(services) == set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("bin/docker", "docker is not installed"),
        ("engine", "the Docker engine does not answer"),
        ("root/usr/local/lib/docker/cli-plugins/docker-compose", "docker compose is not installed"),
    ],
)
def test_what_is_missing_is_named_with_the_script_that_adds_it(ready, missing, reason):
    (ready.folder / missing).unlink()
    assert error_of(ready.run(DEPLOY)) == f"deploy.sh: {reason}; run {ready.scripts}/setup-ec2.sh first"


@pytest.mark.parametrize("asked", ["churn", "churn-service gateway", "--force", ""])
def test_a_service_that_there_is_not_is_named_and_nothing_is_done(ready, asked):
    run = ready.run(DEPLOY, "gateway", asked)
    assert error_of(run) == (
        f"deploy.sh: there is no service '{asked}'; services: churn-service clv-service gateway frontend"
    )
    assert run.calls == ()


def test_help_says_how_it_is_called(machine):
    run = machine.run(DEPLOY, "--help")
    assert (run.returncode, run.output) == (
        0,
        "usage: deploy.sh [--rollback] [SERVICE...]   services: churn-service clv-service gateway frontend\n",
    )


def test_a_build_that_fails_leaves_what_runs(live):
    live.release("churn-service", "v2")
    live.release("clv-service", "broken")
    run = live.run(DEPLOY)
    assert error_of(run) == "deploy.sh: clv-service cannot be built; see above. What ran goes on running"
    assert not [verb for verb in verbs_of(run) if verb.startswith("up")]
    assert live.running() == ALL_OF_VERSION_1
    # Nor does what was built without being tried come by an `up` by hand.
    assert live.image("churn-service") == "v1"


REFUSALS = {
    "dead": "does not start, exit code 3 (no model in /app/models)",
    "bad": "starts, but does not become ready",
    "wrong": {
        "churn-service": "answers wrongly (churn_probability of golden row 1 is 0.9, and 0.1 in the manifest)",
        "gateway": 'does not reach the models, which the one before does ({"status":"degraded"})',
        "frontend": 'does not serve its page ({"status":"degraded"})',
    },
}


@pytest.mark.parametrize("service", ["churn-service", "gateway", "frontend"])
@pytest.mark.parametrize("version", REFUSALS)
def test_a_version_that_is_not_right_is_removed_and_the_one_before_was_never_touched(live, service, version):
    live.release(service, version)
    run = live.run(DEPLOY, service)
    reason = REFUSALS[version] if isinstance(REFUSALS[version], str) else REFUSALS[version][service]
    assert error_of(run) == (
        f"deploy.sh: {service}: what was built now {reason}; the one before goes on serving. "
        "Mend that and run this again"
    )
    assert live.running() == ALL_OF_VERSION_1
    assert f"{service}-{SERVICES.index(service) + 1}" not in [change.split()[-1] for change in changes_of(run)]
    # Nor does it come back by an `up` by hand.
    assert live.image(service) == "v1"
    live.release(service, "v2")
    assert live.run(DEPLOY, service).returncode == 0
    assert live.running()[service] == "v2"


def test_a_gateway_without_models_may_take_the_place_of_one_without_models(live):
    (container,) = (live.folder / "containers").glob("gateway-*")
    container.write_text(container.read_text().replace(" v1 ", " wrong1 "))
    live.release("gateway", "wrong2")
    assert live.run(DEPLOY, "gateway").returncode == 0
    assert live.running()["gateway"] == "wrong2"


def test_after_a_refusal_the_services_that_come_later_are_as_they_were(live):
    for service, version in (("churn-service", "v2"), ("clv-service", "wrong"), ("gateway", "v2")):
        live.release(service, version)
    assert "clv-service: what was built now answers wrongly" in error_of(live.run(DEPLOY))
    assert live.running() == ALL_OF_VERSION_1 | {"churn-service": "v2"}
    assert [live.image(service) for service in SERVICES] == ["v2", "v1", "v1", "v1"]


def test_a_first_version_that_is_not_healthy_is_said_to_be_the_first(ready):
    ready.release("gateway", "bad")
    assert error_of(ready.run(DEPLOY)) == (
        "deploy.sh: not healthy, and there is no churn-service from before to go back to; see the log above"
    )


def stop(machine, service):
    """As by `docker compose stop`."""
    for path in (machine.folder / "containers").glob(f"{service}-*"):
        path.write_text(path.read_text().replace(" running ", " exited "))


def test_what_was_stopped_is_started_again(live):
    for service in SERVICES:
        stop(live, service)
    live.release("clv-service", "v2")
    assert live.run(DEPLOY).returncode == 0
    assert live.running() == ALL_OF_VERSION_1 | {"clv-service": "v2"}


def test_where_nothing_serves_a_version_that_is_not_healthy_gives_way_to_the_one_that_was_stopped(live):
    stop(live, "clv-service")
    live.release("clv-service", "bad")
    assert "not healthy, so what ran before runs again; see the log above" in error_of(live.run(DEPLOY, "clv-service"))
    assert live.running() == ALL_OF_VERSION_1
    assert live.image("clv-service") == "v1"


def test_when_the_one_before_is_not_healthy_either_that_is_said(live):
    stop(live, "churn-service")
    live.write("images/telelink-churn-service:before", "bad1\n")
    live.write("containers/churn-service-1", "churn-service bad1 exited unless-stopped churn-service 80\n")
    live.release("churn-service", "bad2")
    assert "neither what was built now nor what ran before is healthy" in error_of(live.run(DEPLOY, "churn-service"))


# --- deploy.sh, who may ask ---

OURS = ["HTTP_BIND=0.0.0.0", "API_KEYS_FILE=/data/api-keys.json"]


def keys_said(run):
    return re.findall(r"tlk_\w+", run.output)


def test_the_first_run_lets_the_world_in_makes_a_key_before_the_gateway_starts_and_says_it_once(ready):
    run = ready.run(DEPLOY)
    assert keys_said(run) == ["tlk_made_by_v1"]
    assert "Sign in with it at the page" in run.output
    assert "tlk_" not in " ".join(run.calls)  # what a command is given, others on the machine can see
    assert ready.env.read_text().splitlines() == OURS
    made, up = (
        next(number for number, call in enumerate(run.calls) if f"compose {verb} " in call) for verb in ("run", "up")
    )
    assert made < up
    assert {path.read_text().split()[-1] for path in (ready.folder / "containers").iterdir()} == {"0.0.0.0:80"}


def test_further_runs_and_a_roll_back_keep_the_key_and_say_none(live):
    before = live.env.read_text()
    live.release("gateway", "v2")
    for arguments in ((), ("gateway",), ("--rollback", "gateway"), ("churn-service",)):
        run = live.run(DEPLOY, *arguments)
        assert (run.returncode, keys_said(run)) == (0, []), run.output
        assert "API key" not in run.output
    assert live.running() == ALL_OF_VERSION_1
    assert (live.folder / "keys").read_text() == "tlk_made_by_v1\n"
    assert live.env.read_text() == before


def test_a_service_alone_makes_no_key_as_no_gateway_starts(ready):
    run = ready.run(DEPLOY, "churn-service")
    assert (run.returncode, keys_said(run)) == (0, [])
    assert keys_said(ready.run(DEPLOY)) == ["tlk_made_by_v1"]


def test_a_first_run_that_ends_before_the_key_is_made_leaves_that_to_the_next(ready, tmp_path):
    whole = ready.copy(tmp_path / "whole").run(DEPLOY)
    (step,) = steps_of(whole, r"\$ docker compose run ")
    assert keys_said(ready.run(DEPLOY, OFF_AT=str(step))) == []
    run = ready.run(DEPLOY)
    assert (run.returncode, keys_said(run)) == (0, ["tlk_made_by_v1"])
    assert ready.env.read_text().splitlines() == OURS


@pytest.mark.parametrize("end", ["", "\n"])
def test_what_is_written_down_already_stays_and_what_is_missing_gets_a_line_of_its_own(ready, end):
    ready.env.write_text("HTTP_PORT=8080\nAPI_KEYS_FILE=/data/others.json" + end)
    run = ready.run(DEPLOY)
    assert run.returncode == 0, run.output
    theirs = ["HTTP_PORT=8080", "API_KEYS_FILE=/data/others.json"]
    assert ready.env.read_text().splitlines() == [*theirs, "HTTP_BIND=0.0.0.0"]


def test_what_the_example_of_settings_has_is_no_way_around(ready):
    ready.env.write_text((ROOT / ".env.example").read_text())
    run = ready.run(DEPLOY)
    assert (run.returncode, keys_said(run)) == (0, ["tlk_made_by_v1"])
    assert ready.env.read_text().splitlines()[-2:] == OURS


@pytest.mark.parametrize("how", ["in .env", "in the environment"])
def test_nobody_is_let_in_without_keys_but_this_machine_itself(live, how):
    more = {}
    if how == "in .env":
        live.env.write_text("HTTP_BIND=0.0.0.0\nAPI_KEYS_FILE=\n")
    else:
        more = {"API_KEYS_FILE": ""}
    live.release("gateway", "v2")
    assert error_of(live.run(DEPLOY, **more)) == (
        "deploy.sh: without API_KEYS_FILE everybody could do everything; set it in .env, or HTTP_BIND=127.0.0.1"
    )
    assert live.running() == ALL_OF_VERSION_1
    (live.folder / "keys").unlink()
    run = live.run(DEPLOY, HTTP_BIND="127.0.0.1", **(more or {"API_KEYS_FILE": ""}))
    assert (run.returncode, keys_said(run)) == (0, [])


def test_a_key_that_cannot_be_made_ends_it_before_anything_is_replaced(live):
    (live.folder / "keys").unlink()
    live.write("no-room", "")
    live.release("gateway", "v2")
    run = live.run(DEPLOY)
    assert error_of(run) == "deploy.sh: the first API key cannot be made; see above. What ran goes on running"
    assert (live.running(), live.image("gateway")) == (ALL_OF_VERSION_1, "v1")


# --- deploy.sh, ended anywhere ---

# The service, its new version, and which one serves once the script has come to its end.
RUNS = {
    "replacing a model service": ("churn-service", "v2", "v2"),
    "replacing the frontend": ("frontend", "v2", "v2"),
    "refusing a version": ("churn-service", "wrong", "v1"),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_deployment_that_ends_at_any_step_still_serves_and_is_made_whole_by_the_next(live, tmp_path, run):
    service, version, then = RUNS[run]
    live.release(service, version)
    steps = steps_of(live.copy(tmp_path / "whole").run(DEPLOY, service), CHANGES)
    assert len(steps) >= 8
    for step in steps:
        machine = live.copy(tmp_path / str(step))
        killed = machine.run(DEPLOY, service, OFF_AT=str(step))
        assert (killed.returncode, len(killed.calls)) == (-9, step), killed.output
        # But for the moment in which the page's port changes hands.
        assert service == "frontend" or set(machine.serving(service)) & {"v1", then}, killed.calls[-1]
        again = machine.run(DEPLOY, service)
        assert (again.returncode == 0) is (then == version), again.output
        assert machine.running() == ALL_OF_VERSION_1 | {service: then}, killed.calls[-1]
        assert machine.image(service) == then


@pytest.mark.parametrize("run", RUNS)
def test_a_deployment_that_is_told_to_end_at_any_step_undoes_what_was_not_done(live, tmp_path, run):
    service, version, then = RUNS[run]
    live.release(service, version)
    for step in steps_of(live.copy(tmp_path / "whole").run(DEPLOY, service), CHANGES):
        machine = live.copy(tmp_path / str(step))
        told = machine.run(DEPLOY, service, TERM_AT=str(step))
        assert told.returncode in ({0, 143} if then == version else {1, 143}), told.output
        assert machine.running() in [ALL_OF_VERSION_1, ALL_OF_VERSION_1 | {service: then}], told.calls
        assert machine.image(service) == machine.running()[service], told.calls


def test_a_killed_replacement_of_another_service_is_no_hindrance(live):
    live.release("churn-service", "v2")
    (step,) = steps_of(live.copy(live.folder.with_name("whole")).run(DEPLOY, "churn-service"), r"\$ docker start ")
    live.run(DEPLOY, "churn-service", OFF_AT=str(step))
    assert live.run(DEPLOY, "clv-service").returncode == 0
    assert live.serving("churn-service") == ["v1"]
    assert live.run(DEPLOY).returncode == 0
    assert live.running() == ALL_OF_VERSION_1 | {"churn-service": "v2"}


# --- deploy.sh --rollback ---


@pytest.fixture
def replaced(live):
    """A machine whose model services were replaced one by one, the churn model's last."""
    for service, version in (("clv-service", "v2"), ("churn-service", "v2"), ("churn-service", "v3")):
        live.release(service, version)
        assert live.run(DEPLOY, service).returncode == 0
    return live


@pytest.mark.parametrize("asked", [(), ("churn-service",)])
def test_rolling_back_brings_the_one_before_with_the_same_care_and_builds_nothing(replaced, asked):
    run = replaced.run(DEPLOY, "--rollback", *asked)
    assert run.returncode == 0, run.output
    assert replaced.running() == ALL_OF_VERSION_1 | {"clv-service": "v2", "churn-service": "v2"}
    assert replaced.image("churn-service") == "v2"
    assert [verb for verb in verbs_of(run) if verb.startswith("build")] == []
    assert any("exec --interactive" in call for call in run.calls)


def test_rolling_back_twice_is_rolling_back_once(replaced):
    for _ in range(2):
        assert replaced.run(DEPLOY, "--rollback", "churn-service").returncode == 0
        assert replaced.running()["churn-service"] == "v2"


def test_after_rolling_back_what_is_built_next_can_be_rolled_back_too(replaced):
    assert replaced.run(DEPLOY, "--rollback").returncode == 0
    assert replaced.run(DEPLOY, "churn-service").returncode == 0
    assert replaced.running()["churn-service"] == "v3"
    assert replaced.run(DEPLOY, "--rollback").returncode == 0
    assert replaced.running()["churn-service"] == "v2"


def test_a_refused_version_is_not_what_a_roll_back_goes_away_from(replaced):
    replaced.release("churn-service", "wrong")
    assert replaced.run(DEPLOY, "churn-service").returncode == 1
    assert replaced.run(DEPLOY, "--rollback", "churn-service").returncode == 0
    assert replaced.running()["churn-service"] == "v2"


def test_rolling_back_to_what_is_not_right_any_more_leaves_what_serves(replaced):
    replaced.write("images/telelink-churn-service:before", "wrong\n")
    assert "churn-service: what was built now answers wrongly" in error_of(replaced.run(DEPLOY, "--rollback"))
    assert replaced.running()["churn-service"] == "v3"


def test_a_roll_back_of_what_is_down_starts_the_one_before(replaced):
    (container,) = (replaced.folder / "containers").glob("churn-service-*")
    container.write_text(container.read_text().replace("v3", "dead"))
    stop(replaced, "churn-service")
    assert replaced.run(DEPLOY, "--rollback", "churn-service").returncode == 0
    assert replaced.running()["churn-service"] == "v2"


def test_without_anything_before_a_roll_back_says_so_and_does_nothing(live):
    assert error_of(live.run(DEPLOY, "--rollback")) == (
        "deploy.sh: no run has replaced anything yet; name the service to roll back"
    )
    assert error_of(live.run(DEPLOY, "--rollback", "gateway")) == (
        "deploy.sh: there is no gateway from before to go back to"
    )
    assert live.running() == ALL_OF_VERSION_1


def test_a_roll_back_that_ends_at_any_step_still_serves_and_is_made_whole_by_the_next(replaced, tmp_path):
    steps = steps_of(replaced.copy(tmp_path / "whole").run(DEPLOY, "--rollback"), CHANGES)
    assert len(steps) >= 8
    for step in steps:
        machine = replaced.copy(tmp_path / str(step))
        killed = machine.run(DEPLOY, "--rollback", OFF_AT=str(step))
        assert (killed.returncode, len(killed.calls)) == (-9, step), killed.output
        assert set(machine.serving("churn-service")) & {"v2", "v3"}
        again = machine.run(DEPLOY, "--rollback")
        assert again.returncode == 0, again.output
        assert machine.running()["churn-service"] == "v2", killed.calls[-1]


def test_a_deployment_killed_once_the_new_one_is_admitted_can_be_rolled_back(live, tmp_path):
    live.release("churn-service", "v2")
    whole = live.copy(tmp_path / "whole").run(DEPLOY, "churn-service")
    for pattern in (r"\$ docker tag ", r"\$ docker stop ", r"\$ docker rm "):
        machine = live.copy(tmp_path / pattern.split()[-1])
        machine.run(DEPLOY, "churn-service", OFF_AT=str(steps_of(whole, pattern)[0]))
        assert machine.run(DEPLOY, "--rollback", "churn-service").returncode == 0
        assert machine.running() == ALL_OF_VERSION_1


# --- user-data.yaml ---


def test_user_data_does_as_ec2_user_what_the_readme_says_to_do_by_hand():
    text = (EC2 / "user-data.yaml").read_text()
    assert text.startswith("#cloud-config\n")  # else cloud-init takes it for something else
    commands = yaml.safe_load(text)["runcmd"]
    as_user = [command[3] for command in commands if command[:3] == ["runuser", "--login", "--command"]]
    assert [command[-1] for command in commands[1:]] == ["ec2-user"] * len(as_user)
    clone, *scripts = as_user
    assert clone.split()[:2] == ["git", "clone"]
    folder = clone.split()[-1]
    assert scripts == [f"{folder}/deploy/ec2/{SETUP}", f"{folder}/deploy/ec2/{DEPLOY}"]
    assert all(os.access(EC2 / script, os.X_OK) for script in (SETUP, DEPLOY))
