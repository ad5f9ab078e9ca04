"""Asks a model service for the golden rows of the version that it serves, and compares: run inside its container.

    docker exec -i CONTAINER python - PORT < golden_rows.py

One line says what was found; the exit code is 0 only when every value is as the manifest has it. Whoever asks is
independent of what is asked: nothing but Python itself is used.
"""

import json
import os
import socket
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_S = 10


class Wrong(Exception):
    """Not to be served; the message says why."""


def ask(url, body=None):
    """The reply to a GET, or to a POST of this body."""
    content = None if body is None else json.dumps(body).encode()
    request = Request(url, content, {"Content-Type": "application/json"})
    try:
        # Not by way of a proxy, wherever the environment names one.
        with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_S) as reply:
            return json.load(reply)
    except HTTPError as error:
        raise Wrong(f"{request.selector} is answered with status {error.code}") from error
    except OSError as error:
        raise Wrong(f"{request.selector} is not answered: {error}") from error


def as_request(golden):
    """The golden rows as an inference request for the outputs that are known."""
    words = {name for name, values in golden["inputs"].items() if any(isinstance(each, str) for each in values)}
    return {
        "inputs": [
            {"name": name, "shape": [len(values)], "datatype": "BYTES" if name in words else "FP64", "data": values}
            for name, values in golden["inputs"].items()
        ],
        "outputs": [{"name": name} for name in golden["outputs"]],
    }


def compare(golden, outputs):
    """Each value against the manifest's, within its tolerance."""
    for name, wanted in golden["outputs"].items():
        got = outputs.get(name)
        if got is None or len(got) != len(wanted):
            raise Wrong(f"{name} is not answered for each golden row")
        for row, (ours, theirs) in enumerate(zip(wanted, got, strict=True), start=1):
            is_known = ours is not None and theirs is not None
            if ours != theirs and not (is_known and abs(ours - theirs) <= golden["tolerance"][name]):
                raise Wrong(f"{name} of golden row {row} is {theirs}, and {ours} in the manifest")


def check(address, models_dir):
    """What was found to be right, in one line."""
    url = f"http://{address}/v2/models"
    (name,) = [each.name for each in models_dir.iterdir() if each.is_dir()]
    version = ask(f"{url}/{name}")["versions"][-1]
    golden = json.loads((models_dir / name / version / "manifest.json").read_bytes())["golden"]
    reply = ask(f"{url}/{name}/infer", as_request(golden))
    if (reply["model_name"], reply["model_version"]) != (name, version):
        raise Wrong("another version answers than the one that it says it serves")
    compare(golden, {output["name"]: output["data"] for output in reply["outputs"]})
    n_rows = len(next(iter(golden["inputs"].values())))
    return f"version {version} of {name} answers its {n_rows} golden rows as it must"


def main():
    """Say what was found."""
    try:
        # By its own name and not as localhost: others must be able to reach it too.
        address = f"{socket.gethostbyname(socket.gethostname())}:{sys.argv[1]}"
        print(check(address, Path(os.environ["TELELINK_MODELS_DIR"])))
    except Wrong as error:
        sys.exit(str(error))
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        sys.exit(f"its replies cannot be compared with its manifest ({type(error).__name__}: {error})")


if __name__ == "__main__":
    main()
