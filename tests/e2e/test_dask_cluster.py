"""The cluster of deploy/dask as containers on a real engine."""

import os
import subprocess
import sys
import uuid

import pytest

from support.builders import ROOT
from support.compose import why_not
from support.servers import clean_environ, wait_until
from telelink_training.population import write_population

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

N_FILES = 12
ROWS_PER_FILE = 10_000


class Containers:
    """A scheduler and two workers that see a folder as `/data`."""

    def __init__(self, data):
        self.name = f"telelink-test-{uuid.uuid4().hex[:8]}"
        names = {"COMPOSE_PROJECT_NAME": self.name, "IMAGE_PREFIX": self.name, "WORKERS_EACH": "1"}
        self._environ = os.environ | names | {"DATA": str(data), "DATA_USER": f"{os.getuid()}:{os.getgid()}"}
        self._file = ROOT / "deploy" / "dask" / "docker-compose.yml"

    def begin(self, *arguments):
        return subprocess.Popen(
            ["docker", "compose", "--file", str(self._file), *arguments],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments):
        process = self.begin(*arguments)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said


@pytest.fixture
def containers(tmp_path):
    made = Containers(tmp_path)
    try:
        made.run("up", "--build", "--detach", "--wait", "--scale", "worker=2", "scheduler", "worker")
        yield made
    finally:
        made.run("--profile", "client", "down", "--volumes", "--timeout", "1")
        subprocess.run(["docker", "image", "rm", "--force", f"{made.name}-dask"], capture_output=True, check=False)


def files_of(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_a_cluster_that_loses_a_container_makes_the_same_as_one_process(containers, tmp_path):
    write_population(tmp_path / "all.csv", N_FILES * ROWS_PER_FILE, seed=11)
    header, *rows = (tmp_path / "all.csv").read_text().splitlines()
    (tmp_path / "in").mkdir()
    for number in range(N_FILES):
        part = rows[number * ROWS_PER_FILE : (number + 1) * ROWS_PER_FILE]
        part[7] = part[7].replace(",no,", ",perhaps,").replace(",yes,", ",perhaps,")
        (tmp_path / "in" / f"p{number:02}.csv").write_text("\n".join([header, *part]) + "\n")
    score = ("telelink", "score", "in", "--out", "there", "--errors", "there-errors")
    client = containers.begin("run", "--rm", "-T", "client", *score, "--dask", "tcp://scheduler:8786")
    try:
        results = tmp_path / "there"
        wait_until(
            lambda: list(results.glob("p*.csv")) or client.poll() is not None, what="the first result", timeout_s=60
        )
        lost, _ = containers.run("ps", "--quiet", "worker").split()
        subprocess.run(["docker", "kill", lost], capture_output=True, check=True)
        assert len(list(results.glob("p*.csv"))) < N_FILES, "it was killed too late to be missed"
        said, _ = client.communicate(timeout=120)
        assert client.returncode == 0, said
    finally:
        if client.poll() is None:
            client.kill()
            client.wait()
    here = ("in", "--out", "here", "--errors", "here-errors", "--jobs", "1", "--quiet")
    command = [sys.executable, "-m", "telelink_score", "score", *here]
    subprocess.run(command, cwd=tmp_path, env=clean_environ(), check=True, timeout=120)
    for kind in ("", "-errors"):
        of_one_process = files_of(tmp_path / f"here{kind}")
        assert len(of_one_process) == N_FILES
        assert files_of(tmp_path / f"there{kind}") == of_one_process
