"""Whom a deployment lets in: nobody without an API key, the first of which it makes."""

import re

import pytest

from support.builders import ROOT
from support.ec2_scripts import ALL_OF_VERSION_1, DEPLOY, error_of, needs_bash, steps_of

pytestmark = needs_bash
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
