"""deploy.sh --rollback."""

import pytest

from support.ec2_scripts import ALL_OF_VERSION_1, CHANGES, DEPLOY, error_of, needs_bash, steps_of, stop, verbs_of

pytestmark = needs_bash


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
