"""The frontend's nginx with its own configuration, as a local process on a port that it is handed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def frontend(gateway_url: str, folder: Path) -> Iterator[str]:
    """The address of a running nginx in front of the gateway."""
    with socket.socket() as listener, (folder / "nginx.log").open("w") as log:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        values = {"FRONTEND_LISTEN": address, "GATEWAY_URL": gateway_url, "NGINX_LOCAL_RESOLVERS": "127.0.0.1"}
        configuration = _configuration(folder, values)
        # nginx takes over an open socket that this variable names (it is how it upgrades itself).
        process = subprocess.Popen(
            ["nginx", "-p", str(folder), "-e", "/dev/stderr", "-c", str(configuration), "-g", "daemon off;"],
            env=os.environ | {"NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: process.poll() is not None or _answers(address), what="nginx to answer", timeout_s=20)
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
