"""A swarm of three engines on this machine, each with a network of its own, and the system that is deployed on it."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import compose
from support.builders import ROOT
from support.compose import copy_of_repository
from support.servers import wait_until

# Starts further engines on one machine; .ci/run has the first one from there.
_ENGINES = ROOT.parent / "shared" / "tools" / "docker-engine"
N_NODES = 3
# Of the gateway and of each model service.
N_COPIES = 2


@functools.cache
def why_not() -> str | None:
    """Why there can be no swarm here; None when there can."""
    if os.geteuid() != 0 or not os.access(_ENGINES, os.X_OK):
        return "nothing here starts three engines: see deploy/swarm/README.md, Test it"
    return compose.why_not()


@dataclass(frozen=True)
class Node:
    """One engine.

    Attributes:
        engine: where it is asked.
        address: where others reach its published ports.
    """

    number: int
    engine: str
    address: str

    def docker(self, *arguments: str) -> str:
        """What this engine says; fails with what it said."""
        done = subprocess.run(
            ["docker", "--host", self.engine, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)} at node {self.number}:\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def containers(self, service: str) -> list[str]:
        """Of a service of the stack, those that run here."""
        return self.docker("ps", "--quiet", "--filter", f"name={Deployed.STACK}_{service}.").split()

    def set_cable(self, state: str) -> None:
        """`down` is what others see of a machine that loses its power: connections stay, and nothing is answered."""
        subprocess.run(["ip", "link", "set", f"veth-swarm{self.number}", state], check=True)


def _leave(node: Node) -> None:
    subprocess.run(["docker", "--host", node.engine, "swarm", "leave", "--force"], capture_output=True, check=False)


def _start(number: int) -> Node:
    said = subprocess.run([_ENGINES, "node", str(number)], capture_output=True, text=True, check=True).stdout
    engine, address = (word.partition("=")[2] for word in said.split())
    return Node(number, engine, address)


@contextmanager
def three_nodes() -> Iterator[Sequence[Node]]:
    """All of them managers, so that two go on without the third; gone at the end, with what ran on them."""
    networks = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "swarm" not in networks, f"somebody uses further engines: {_ENGINES} node-stop ends them"
    nodes = [_start(number) for number in range(1, N_NODES + 1)]
    try:
        for node in nodes:
            # What a run that was killed left on the engine's disk.
            _leave(node)
            node.docker("volume", "rm", "--force", f"{Deployed.STACK}_history")
        first, *others = nodes
        for_itself = ("--advertise-addr", first.address, "--data-path-addr", first.address)
        first.docker("swarm", "init", *for_itself)
        token = first.docker("swarm", "join-token", "--quiet", "manager")
        for node in others:
            for_itself = ("--advertise-addr", node.address, "--data-path-addr", node.address)
            node.docker("swarm", "join", "--token", token, *for_itself, f"{first.address}:2377")
        yield nodes
    finally:
        for node in nodes:
            node.set_cable("up")
            _leave(node)
        subprocess.run([_ENGINES, "node-stop"], check=True)


@dataclass(frozen=True)
class Deployed:
    """The system on a swarm, by the repository's own script.

    Attributes:
        folder: the copy of the repository that it is deployed from.
        settings: of the script.
    """

    STACK = "telelink-test"

    folder: Path
    nodes: Sequence[Node]
    settings: Mapping[str, str]

    def deploy(self, *arguments: str, fails: bool = False, **settings: str) -> str:
        """What deploy.sh says under further settings; fails with it where it does not end as it should."""
        done = subprocess.run(
            [self.folder / "deploy" / "swarm" / "deploy.sh", *arguments],
            env=os.environ | self.settings | settings, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr if fails else done.stdout

    def settle(self) -> None:
        """Wait until all nodes are there and all copies run: a node that was away has its own started anew."""
        for node in self.nodes:
            node.set_cable("up")
        n_copies = 1 + N_NODES + 3 * N_COPIES
        wanted = ("stack", "ps", "--filter", "desired-state=running", "--format", "{{.CurrentState}}", self.STACK)

        def is_settled() -> bool:
            nodes = self.nodes[0].docker("node", "ls", "--format", "{{.Status}}").split()
            copies = [line.split()[0] for line in self.nodes[0].docker(*wanted).splitlines()]
            return nodes == ["Ready"] * N_NODES and copies == ["Running"] * n_copies

        wait_until(is_settled, what="every copy to run", timeout_s=120)

    def ask_history(self, statement: str) -> list[str]:
        """The rows that PostgreSQL gives, a line each."""
        (container,) = self.nodes[0].containers("history")
        return (
            self.nodes[0]
            .docker(
                "exec", container, "psql", "--username=telelink", "--tuples-only", "--no-align", "--command", statement
            )
            .split()
        )


@contextmanager
def deployed(folder: Path) -> Iterator[tuple[Deployed, str]]:
    """The system with two copies of what may have several, the history on the first node, and the admin's API key."""
    copy_of_repository(folder)
    with three_nodes() as nodes:
        settings = {
            "STACK": Deployed.STACK,
            "IMAGE_PREFIX": Deployed.STACK,
            "MANAGER": nodes[0].engine,
            "NODES": " ".join(node.engine for node in nodes[1:]),
            "GATEWAY_REPLICAS": str(N_COPIES),
            "MODEL_REPLICAS": str(N_COPIES),
        }
        system = Deployed(folder, nodes, settings)
        said = system.deploy()
        (key,) = (line.strip() for line in said.splitlines() if line.strip().startswith("tlk_"))
        yield system, key
