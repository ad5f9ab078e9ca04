"""deploy/ec2's scripts, and what a run of them did; they run in a real bash on a machine of `support.amazon_linux`."""

from __future__ import annotations

import re
import shutil

import pytest

from support.amazon_linux import SERVICES, Machine, Run
from support.builders import ROOT

needs_bash = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "flock", "awk"))),
    reason="no bash or flock: apt-get install bash util-linux mawk",
)

EC2 = ROOT / "deploy" / "ec2"
SETUP, DEPLOY = "setup-ec2.sh", "deploy.sh"
ALL_OF_VERSION_1 = dict.fromkeys(SERVICES, "v1")
# Calls that do something to containers and images.
CHANGES = r"\$ docker (tag|compose (build|up)|update|network|start|stop|rm) "


def error_of(run: Run) -> str:
    """The one line that says what to do."""
    assert run.returncode == 1, run.output
    return run.error.strip().splitlines()[-1]


def steps_of(run: Run, pattern: str) -> list[int]:
    """The numbers of the calls that are like this."""
    return [number for number, call in enumerate(run.calls, start=1) if re.match(pattern, call)]


def verbs_of(run: Run) -> list[str]:
    """What compose was told to do to containers and images."""
    return [call[len("$ docker compose ") :] for call in run.calls if re.match(r". docker compose (build|up)", call)]


def changes_of(run: Run) -> list[str]:
    """What was done to containers and images, without the options that are always the same."""
    changes = [call for call in run.calls if re.match(CHANGES, call)]
    return [re.sub(r"^. docker |--no-\w+ |--detach |--wait(-timeout \d+)? ", "", call) for call in changes]


def stop(machine: Machine, service: str) -> None:
    """As by `docker compose stop`."""
    for path in (machine.folder / "containers").glob(f"{service}-*"):
        path.write_text(path.read_text().replace(" running ", " exited "))
