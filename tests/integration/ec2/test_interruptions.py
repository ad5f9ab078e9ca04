"""deploy.sh, ended anywhere."""

import pytest

from support.ec2_scripts import ALL_OF_VERSION_1, CHANGES, DEPLOY, needs_bash, steps_of

pytestmark = needs_bash
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
