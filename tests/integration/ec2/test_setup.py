"""setup-ec2.sh, and user-data.yaml which calls it at a machine's first start."""

import fcntl
import os
import re
from contextlib import contextmanager

import pytest
import yaml

from support.amazon_linux import PLUGIN, SERVICES, Machine
from support.ec2_scripts import DEPLOY, EC2, SETUP, error_of, needs_bash, steps_of

pytestmark = needs_bash


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


@contextmanager
def another_run(machine):
    folder = os.open(machine.scripts, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        os.close(folder)


@pytest.mark.parametrize("script", [SETUP, DEPLOY])
def test_two_at_once_are_refused(ready, script):
    with another_run(ready):
        run = ready.run(script)
        assert error_of(run) == f"{script}: another run is under way; wait for it to end"
        assert not [call for call in run.calls if "compose up" in call]
    assert ready.run(script).returncode == 0


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
