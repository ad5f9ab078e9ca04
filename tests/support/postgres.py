"""A PostgreSQL server of a test's own: on a Unix socket in a folder of its own, with a password, gone afterwards."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.servers import wait_until

# Debian keeps them out of the way of others' versions.
_PROGRAMS = (
    [Path(found).parent] if (found := shutil.which("postgres")) else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
)
needs_postgres = pytest.mark.skipif(not _PROGRAMS, reason="PostgreSQL is not installed: apt-get install postgresql")


def _user() -> dict[str, Any]:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise AssertionError("there is nobody whom the server could run as")


@dataclass
class Postgres:
    """A server that can be stopped and started again."""

    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    process: subprocess.Popen[bytes] | None = None
    n_databases: int = 0

    def url(self, database: str = "postgres", *, with_password: bool = True) -> str:
        """Where a database is."""
        password = f":{self.password}" if with_password else ""
        return f"postgresql://telelink{password}@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection for the test itself."""
        return psycopg.connect(self.url(database), autocommit=True)

    def new_database(self, options: str = "") -> str:
        """The name of an empty database, made with these options of the statement."""
        self.n_databases += 1
        name = f"history_{self.n_databases}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} {options}")
        return name

    def initialise(self) -> None:
        """Make the server's files."""
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if user := _user():
            for path in (self.folder, password_file):
                os.chown(path, user["user"], user["group"])
        subprocess.run(
            [
                _PROGRAMS[-1] / "initdb", "--username=telelink", "--auth=scram-sha-256", f"--pwfile={password_file}",
                "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata", self.folder / "data",
            ],
            check=True, capture_output=True, cwd=self.folder, **user,
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = {"listen_addresses": "", "unix_socket_directories": self.folder, "fsync": "off"}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [_PROGRAMS[-1] / "postgres", "-D", self.folder / "data", *arguments],
                cwd=self.folder, stdout=log, stderr=log, **_user(),
            )  # fmt: skip
        wait_until(self._answers, what="PostgreSQL to answer", timeout_s=30)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop it, at the cost of whoever is connected, and be sure that it is gone."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=30)
            self.process = None


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A running server."""
    # Not in pytest's folder, which the server's user may not enter; and the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="telelink-postgres-") as folder:
        server = Postgres(Path(folder))
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
