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
    assert ready.running() == dict.fromkeys(sorted(SERVICES), "v1")
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


def test_everything_is_built_one_after_the_other_then_started_and_the_address_said(ready):
    run = ready.run(DEPLOY)
    assert run.returncode == 0, run.output
    assert verbs_of(run) == [
        *(f"build {service}" for service in SERVICES),
        f"up --detach --no-build --wait --wait-timeout 180 {' '.join(SERVICES)}",
    ]
    assert ready.running() == dict.fromkeys(sorted(SERVICES), "v1")
    assert run.output.splitlines()[-1] == "TeleLink Customer Analytics: http://203.0.113.7"


def test_one_service_is_built_and_started_alone(live):
    for service in SERVICES:
        live.release(service, "v2")
    run = live.run(DEPLOY, "churn-service")
    assert run.returncode == 0, run.output
    assert verbs_of(run) == [
        "build churn-service",
        "up --detach --no-build --no-deps --wait --wait-timeout 180 churn-service",
    ]
    assert live.running() == dict.fromkeys(sorted(SERVICES), "v1") | {"churn-service": "v2"}
    assert run.output.splitlines()[-1] == "TeleLink Customer Analytics: http://203.0.113.7"


@pytest.mark.parametrize(
    ("published", "told", "address"),
    [
        ("0.0.0.0:8080", "203.0.113.7", "http://203.0.113.7:8080"),
        ("[::]:80", "203.0.113.7", "http://203.0.113.7"),
        ("0.0.0.0:80", "not available", "http://localhost"),
        ("127.0.0.1:8081", "203.0.113.7", "http://localhost:8081"),
        ("0.0.0.0:8080", None, "http://localhost:8080"),
    ],
)
def test_the_address_is_the_machines_public_one_where_there_is_one(ready, published, told, address):
    if told is None:
        (ready.folder / "bin" / "ec2-metadata").unlink()
    else:
        ready.write("public-ipv4", told)
    run = ready.run(DEPLOY, HTTP_PORT=published)
    assert run.output.splitlines()[-1] == f"TeleLink Customer Analytics: {address}"


def test_a_service_without_the_page_says_what_is_missing(ready):
    run = ready.run(DEPLOY, "churn-service")
    assert run.returncode == 0, run.output
    assert run.output.splitlines()[-1].endswith(f"its page does not run yet: run {ready.scripts}/deploy.sh")


def test_in_the_login_of_the_set_up_docker_is_asked_as_root_and_settings_still_reach_compose(machine):
    machine.run(SETUP)
    run = machine.run(DEPLOY, HTTP_PORT="0.0.0.0:8080", IMAGE_PREFIX="other")
    assert run.returncode == 0, run.output
    assert [call for call in run.calls if call.startswith("$ docker")] == ["$ docker info"]
    assert run.output.splitlines()[-1].endswith("http://203.0.113.7:8080")
    assert sorted(os.listdir(machine.folder / "images")) == sorted(f"other-{service}:latest" for service in SERVICES)


def test_every_setting_of_the_compose_file_gets_past_sudo():
    preserved = re.search(r"^readonly SETTINGS=(\S+)$", (EC2 / DEPLOY).read_text(), re.MULTILINE)[1].split(",")
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
        "usage: deploy.sh [SERVICE...]   services: churn-service clv-service gateway frontend\n",
    )


def test_a_build_that_fails_leaves_what_runs(live):
    live.release("clv-service", "broken")
    run = live.run(DEPLOY)
    assert error_of(run) == "deploy.sh: clv-service cannot be built; see above. What ran goes on running"
    assert not [verb for verb in verbs_of(run) if verb.startswith("up")]
    assert live.running() == dict.fromkeys(sorted(SERVICES), "v1")


@pytest.mark.parametrize("asked", [(), ("churn-service",)])
def test_a_version_that_is_not_healthy_gives_way_to_the_one_before(live, asked):
    live.release("churn-service", "bad")
    run = live.run(DEPLOY, *asked)
    assert "not healthy, so what ran before runs again; see the log above" in error_of(run)
    assert live.running() == dict.fromkeys(sorted(SERVICES), "v1")
    # Nor does it come back by an `up` by hand.
    assert (live.folder / "images" / "telelink-churn-service:latest").read_text() == "v1\n"
    live.release("churn-service", "v2")
    assert live.run(DEPLOY, *asked).returncode == 0
    assert live.running()["churn-service"] == "v2"


def test_the_one_before_is_what_ran_last_and_not_what_ran_first(live):
    for version in ("v2", "v3", "bad"):
        live.release("churn-service", version)
        live.run(DEPLOY, "churn-service")
    assert live.running()["churn-service"] == "v3"


def test_a_first_version_that_is_not_healthy_is_said_to_be_the_first(ready):
    ready.release("gateway", "bad")
    assert error_of(ready.run(DEPLOY)) == (
        "deploy.sh: not healthy, and there is no churn-service from before to go back to; see the log above"
    )


def test_when_the_one_before_is_not_healthy_either_that_is_said(live):
    live.write("images/telelink-churn-service:before", "bad\n")
    live.write("containers/churn-service", "bad\n")
    live.release("churn-service", "bad")
    assert "neither what was built now nor what ran before is healthy" in error_of(live.run(DEPLOY, "churn-service"))


@pytest.mark.parametrize(("version", "then"), [("v2", "v2"), ("bad", "v1")])
def test_a_deployment_that_ends_at_any_step_is_made_whole_by_the_next(live, tmp_path, version, then):
    live.release("churn-service", version)
    steps = steps_of(live.copy(tmp_path / "whole").run(DEPLOY, "churn-service"), r"\$ docker (tag|compose (build|up)) ")
    assert len(steps) == {"v2": 3, "bad": 5}[version]
    for step in steps:
        machine = live.copy(tmp_path / str(step))
        killed = machine.run(DEPLOY, "churn-service", OFF_AT=str(step))
        assert (killed.returncode, len(killed.calls)) == (-9, step), killed.output
        again = machine.run(DEPLOY, "churn-service")
        assert (again.returncode == 0) is (then == version), again.output
        assert machine.running() == dict.fromkeys(sorted(SERVICES), "v1") | {"churn-service": then}, killed.calls[-1]


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
