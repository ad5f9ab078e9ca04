"""`make run` as a user has it: real make, real launcher, real services."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.builders import ROOT, a_customer
from support.readme import README, commands
from support.servers import clean_environ, wait_until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed: apt-get install make"),
]
MARK = "TELELINKS_TEST_RUN"


def processes_of(run_id):
    """Processes, of whatever parent, that were started by this run."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={run_id}".encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def make_run(port, folder, **more):
    """`make run` in a process group of its own, as a terminal starts it."""
    run_id = uuid.uuid4().hex
    history = {"TELELINK_HISTORY_URL": f"sqlite:///{folder}/history.db"}
    # Not as a part of the make that runs the tests.
    environ = {name: value for name, value in clean_environ().items() if not name.startswith(("MAKE", "MFLAGS"))}
    log = folder / "run.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["make", "run"],
            cwd=ROOT,
            env=environ | history | {MARK: run_id, "PORT": str(port), **more},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process, run_id, log
        finally:
            for pid in processes_of(run_id):
                os.kill(pid, signal.SIGKILL)
            process.wait(timeout=10)


def started(process, log):
    wait_until(lambda: "Press Ctrl-C" in log.read_text() or process.poll() is not None, what="make run", timeout_s=60)
    assert process.poll() is None, log.read_text()


@pytest.mark.parametrize("end", ["ctrl-c", "terminated", "killed"])
def test_the_page_and_the_api_are_there_and_at_the_end_no_process_is_left(tmp_path, end):
    port = free_port()
    with make_run(port, tmp_path) as (process, run_id, log):
        started(process, log)
        url = f"http://localhost:{port}"
        assert "TeleLink Customer Analytics" in httpx.get(url, trust_env=False).text
        assert httpx.post(f"{url}/predict", json=a_customer(), trust_env=False).status_code == 200
        assert log.read_text().count("demo mode") == 1
        assert len(processes_of(run_id)) >= 5  # make, the launcher and three services
        if end == "ctrl-c":
            os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        else:
            process.send_signal(signal.SIGTERM if end == "terminated" else signal.SIGKILL)
        process.wait(timeout=20)
        wait_until(lambda: not processes_of(run_id), what="every process to be gone", timeout_s=20)
        assert "Traceback" not in log.read_text()


def test_with_a_key_made_as_the_readme_says_nobody_gets_in_without_one(tmp_path):
    (block,) = commands(README, "API keys")
    *before, start = block.splitlines()
    assert start == "make run"
    script = "\n".join([*before, 'printf "%s\\n" "$TELELINK_API_KEYS_FILE"']).replace("=var/", f"={tmp_path}/var/")
    done = subprocess.run(
        ["bash", "-euc", script], cwd=ROOT, env=clean_environ(), capture_output=True, text=True, check=True
    )
    key, file = done.stdout.split()
    port = free_port()
    with make_run(port, tmp_path, TELELINK_API_KEYS_FILE=file) as (process, _, log):
        started(process, log)
        assert "demo mode" not in log.read_text()

        def status(**headers):
            url = f"http://localhost:{port}/predict"
            return httpx.post(url, json=a_customer(), headers=headers, trust_env=False).status_code

        assert (status(), status(Authorization=f"Bearer {key}")) == (401, 200)


def test_a_taken_port_gives_one_clear_line(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with make_run(port, tmp_path) as (process, run_id, log):
            assert process.wait(timeout=30) != 0
            lines = [line for line in log.read_text().splitlines() if not re.match(r"make(\[\d+\])?: \*\*\*", line)]
            assert lines == [f"make run: port {port} is taken: choose another, for example PORT={port + 1} make run"]
            assert processes_of(run_id) == []


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_a_port_that_is_none_is_refused_with_one_line(tmp_path, port):
    with make_run(port, tmp_path) as (process, _, log):
        assert process.wait(timeout=30) != 0
        assert "PORT must be a number from 1 to 65535" in log.read_text()
        assert "Traceback" not in log.read_text()


def test_a_service_that_cannot_start_ends_the_run_with_its_reason(tmp_path):
    with make_run(free_port(), tmp_path, TELELINK_DEADLINE_S="soon") as (process, run_id, log):
        assert process.wait(timeout=60) != 0
        assert "make run: gateway could not start: TELELINK_DEADLINE_S" in log.read_text()
        assert processes_of(run_id) == []


def test_a_model_service_that_ends_is_said_and_the_rest_goes_on(tmp_path):
    port = free_port()
    with make_run(port, tmp_path) as (process, run_id, log):
        started(process, log)
        (churn,) = [
            pid for pid in processes_of(run_id) if b"telelink_churn" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(churn, signal.SIGKILL)
        wait_until(lambda: "churn-service has ended" in log.read_text(), what="the line that says so")
        health = httpx.get(f"http://localhost:{port}/health", trust_env=False).json()
        assert (health["status"], health["clv_model"]) == ("degraded", "loaded")
