"""API keys and demo mode, as the process that runs takes them."""

import json
import subprocess
import sys

import httpx
import pytest

from support.builders import ROOT
from support.servers import clean_environ, gateway, wait_until
from telelink_gateway.api_keys.keys import new_key, write_keys

NOWHERE = "http://127.0.0.1:1"


def started(tmp_path, **settings):
    return gateway(NOWHERE, NOWHERE, tmp_path / "history.db", **settings)


def lines_of(server):
    return [json.loads(line) for line in list(server.lines)]


@pytest.mark.parametrize("content", [None, "{", '{"keys": [{"id": "canary"}]}'])
def test_a_file_of_keys_that_is_not_in_order_stops_the_start_with_one_line(tmp_path, content):
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    ours = {"TELELINK_API_KEYS_FILE": str(file), "TELELINK_PORT": "0"}
    ours["TELELINK_HISTORY_URL"] = f"sqlite:///{tmp_path}/history.db"
    done = subprocess.run(
        [sys.executable, "-m", "telelink_gateway"],
        cwd=ROOT,
        env=clean_environ() | ours,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["event"] == "cannot start"
    assert "TELELINK_API_KEYS_FILE" in json.loads(line)["reason"]
    assert "canary" not in done.stdout + done.stderr


def test_a_key_is_made_used_and_revoked_without_a_restart_and_a_spoilt_file_changes_nothing(tmp_path):
    file = tmp_path / "keys.json"
    (first_text, first), (second_text, second) = new_key("crm", ["history"]), new_key("crm", ["history"])
    write_keys(file, {first.id: first})

    def status(text):
        headers = {"Authorization": f"Bearer {text}"}
        return httpx.get(f"{server.url}/stats", headers=headers, trust_env=False).status_code

    with started(tmp_path, API_KEYS_FILE=str(file)) as server:
        assert (status(first_text), status(second_text)) == (200, 401)
        write_keys(file, {first.id: first, second.id: second})
        wait_until(lambda: status(second_text) == 200, what="the new key")
        assert status(first_text) == 200
        write_keys(file, {second.id: second})
        wait_until(lambda: status(first_text) == 401, what="the old key's end")
        file.write_text("{")
        said = "API keys not read again, the old ones stay"
        wait_until(
            lambda: status(second_text) == 200 and said in [line["event"] for line in lines_of(server)],
            what="a line about the file",
        )


@pytest.mark.parametrize(
    ("where", "level"),
    [
        ({"HOST": "127.0.0.1"}, "info"),
        ({"HOST": "0.0.0.0"}, "warning"),
        # As in containers.
        ({"HOST": "0.0.0.0", "PUBLISHED_AT": "127.0.0.1"}, "info"),
        ({"HOST": "0.0.0.0", "PUBLISHED_AT": "[::1]"}, "info"),
        ({"HOST": "0.0.0.0", "PUBLISHED_AT": "0.0.0.0"}, "warning"),
        ({"HOST": "0.0.0.0", "PUBLISHED_AT": ""}, "warning"),
    ],
)
def test_demo_mode_is_said_in_one_line_and_aloud_where_others_could_reach_it(tmp_path, where, level):
    with started(tmp_path, **where) as server:
        said = [line for line in lines_of(server) if line["event"].startswith("demo mode")]
    assert [(line["level"], line["host"]) for line in said] == [(level, where.get("PUBLISHED_AT") or where["HOST"])]


def test_with_keys_nothing_is_said_of_demo_mode(tmp_path):
    _, key = new_key("crm", ["predict"])
    write_keys(tmp_path / "keys.json", {key.id: key})
    with started(tmp_path, API_KEYS_FILE=str(tmp_path / "keys.json")) as server:
        assert not [line for line in lines_of(server) if line["event"].startswith("demo mode")]
