"""deploy.sh: what is built, tried, refused, replaced and said."""

import os
import re

import pytest
import yaml

from support.amazon_linux import SERVICES
from support.builders import ROOT
from support.ec2_scripts import (
    ALL_OF_VERSION_1,
    DEPLOY,
    EC2,
    SETUP,
    changes_of,
    error_of,
    needs_bash,
    steps_of,
    stop,
    verbs_of,
)

pytestmark = needs_bash


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
