"""The frontend's nginx with its own configuration, as a local process on a port that it is handed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from support.builders import ROOT
from support.servers import wait_until

FRONTEND = ROOT / "frontend"
needs_nginx = pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("envsubst")),
    reason="nginx or envsubst is not installed: apt-get install nginx-light gettext-base",
)


def image_settings() -> dict[str, str]:
    """What the image sets, unless it is told otherwise."""
    dockerfile = (FRONTEND / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(r"\b([A-Z_]+)=(\S+)", dockerfile))


def _configuration(folder: Path, values: dict[str, str]) -> Path:
    """The image's files with its two absolute folders moved here, and the template filled in as the image does it."""
    shutil.copytree(FRONTEND / "nginx", folder, dirs_exist_ok=True)
    shutil.copy("/etc/nginx/mime.types", folder)
    (folder / "conf.d").mkdir()
    template = (folder / "templates" / "server.conf.template").read_text()
    filled = subprocess.run(
        ["envsubst", " ".join(f"${{{name}}}" for name in values)],
        input=template,
        env=os.environ | values,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (folder / "conf.d" / "server.conf").write_text(filled)
    for path in folder.rglob("*.conf"):
        text = path.read_text().replace("/tmp/", f"{folder}/").replace("/usr/share/nginx/html", str(FRONTEND / "site"))
        path.write_text(text)
    return folder / "nginx.conf"


def _commands(folder: Path, *, calls: str) -> str:
    """A PATH whose `nginx` is the one of this folder; what else stands in its `bin` comes before the machine's own."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "nginx").write_text(f'#!/bin/sh\nexec {shutil.which("nginx")} {calls} "$@"\n')
    (programs / "nginx").chmod(0o755)
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def follower(gateway_address: str, target: Path, **settings: str) -> Iterator[None]:
    """The image's script that keeps `target` up to date; the block begins when it has been written."""
    with (target.parent / "follower.log").open("w") as log:
        script = subprocess.Popen(
            ["sh", FRONTEND / "nginx" / "entrypoint" / "40-follow-gateway.sh"],
            env=os.environ | {"GATEWAY_ADDRESS": gateway_address, "UPSTREAM_FILE": str(target)} | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Its loop outlives it: a group of its own, to be found again.
            start_new_session=True,
        )
        try:
            assert script.wait(timeout=10) == 0, (target.parent / "follower.log").read_text()
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGTERM)


@contextmanager
def frontend(gateway_url: str, folder: Path, **follower_settings: str) -> Iterator[str]:
    """The address of a running nginx in front of the gateway, which it follows; see `_commands` for `folder`/bin."""
    with socket.socket() as listener, (folder / "nginx.log").open("w") as log:
        listener.bind(("127.0.0.1", 0))
        # As nginx's own: with a shorter queue, 64 clients at once lose connections that they believe to be open.
        listener.listen(511)
        # nginx leaves it as it is, and a worker that another one forestalled would wait in accept() for ever.
        listener.setblocking(False)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        configuration = _configuration(folder, image_settings() | {"FRONTEND_LISTEN": address})
        path = _commands(folder, calls=f"-p {folder} -e /dev/stderr -c {configuration}")
        upstream = folder / "conf.d" / "gateway.conf"
        with follower(gateway_url.removeprefix("http://"), upstream, **follower_settings, PATH=path):
            # nginx takes over an open socket that this variable names (it is how it upgrades itself).
            process = subprocess.Popen(
                ["nginx", "-g", "daemon off;"],
                env=os.environ | {"NGINX": f"{listener.fileno()};", "PATH": path},
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                wait_until(
                    lambda: process.poll() is not None or _answers(address), what="nginx to answer", timeout_s=20
                )
                assert process.poll() is None, (folder / "nginx.log").read_text()
                yield f"http://{address}"
            finally:
                process.terminate()
                process.wait(timeout=10)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/nginx-health", timeout=2, trust_env=False).status_code == 204
    except httpx.HTTPError:
        return False
