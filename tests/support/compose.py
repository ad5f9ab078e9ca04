"""The composed system as containers, built from a copy of the repository that a test may change."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.builders import ROOT

SERVICES = ("frontend", "gateway", "churn-service", "clv-service")
# What the images are built from, and nothing else of the repository.
_CONTEXT = ("docker-compose.yml", ".dockerignore", "shared", *SERVICES, "deploy")


@functools.cache
def why_not() -> str | None:
    """Why nothing can be composed here; None when it can."""
    if shutil.which("docker") is None:
        return "Docker is not installed: see docs.docker.com/engine/install"
    for command, missing in (
        (["docker", "info"], "no Docker engine answers: start one, or set DOCKER_HOST"),
        (["docker", "compose", "version"], "Docker Compose v2 is not installed: apt-get install docker-compose-plugin"),
    ):
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return missing
    return None


@dataclass(frozen=True)
class Composed:
    """A running project; what its tests need of commands is in the folder's `bin`.

    Attributes:
        folder: the copy of the repository that it was built from.
        project: its name, and the prefix of its images.
        http_port: where the page is; 0 for another one whenever the frontend's container is a new one.
    """

    folder: Path
    project: str
    http_port: int = 0

    @property
    def environ(self) -> dict[str, str]:
        """What `docker compose` is to see."""
        names = {"COMPOSE_PROJECT_NAME": self.project, "IMAGE_PREFIX": self.project}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return os.environ | names | {"HTTP_PORT": str(self.http_port), "PATH": path}

    def type_in(self, commands: str) -> str:
        """What these commands print, typed in the folder."""
        done = subprocess.run(
            ["bash", "-ec", commands], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *arguments: str) -> str:
        """`docker compose …`; its output. Fails with what it said."""
        done = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.run('port', 'frontend', '8080').strip().rsplit(':', 1)[1]}"

    def containers(self, service: str) -> list[str]:
        """Ids of a service's containers, also of those that do not run."""
        return self.run("ps", "--all", "--quiet", service).split()

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's only container."""
        (container,) = self.containers(service)
        done = subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True)
        described: dict[str, Any] = json.loads(done.stdout)[0]
        return described

    def python(self, service: str, program: str, *arguments: str) -> str:
        """What a Python program says that runs inside a service's container."""
        return self.run("exec", "-T", service, "python", "-c", program, *arguments)

    def up(self, *services: str) -> None:
        """Build and start, and wait until all are healthy."""
        self.run("up", "--build", "--detach", "--wait", "--wait-timeout", "180", *services)


def copy_of_repository(folder: Path) -> None:
    """What images are built from and deployed with, to be changed by a test; what is the same is not built again."""
    for name in _CONTEXT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copy(source, folder)


@contextmanager
def composed(folder: Path, *, start: bool = True, http_port: int = 0) -> Iterator[Composed]:
    """The whole system, gone again with its volume and images at the end; not yet started unless `start`."""
    copy_of_repository(folder)
    project = Composed(folder, f"telelink-test-{uuid.uuid4().hex[:8]}", http_port)
    try:
        if start:
            project.up()
        yield project
    finally:
        project.run("down", "--volumes", "--rmi", "local", "--timeout", "10")
        # Images that carry a name of their own are not "local" for compose.
        images = [f"{project.project}-{service}" for service in SERVICES]
        subprocess.run(["docker", "image", "rm", "--force", *images], capture_output=True, check=False)
