"""An Amazon Linux 2023 machine in a folder: its system commands are stubs that keep their state in files.

Nothing of the machine that the tests run on is touched: the folder's `bin` is the whole PATH.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from support.builders import ROOT

SERVICES = ("churn-service", "clv-service", "gateway", "frontend")
PLUGIN = "the compose plugin\n"

# What handles text and files in the folder is the real thing.
_REAL = (
    *("awk", "basename", "bash", "cat", "cp", "cut", "dirname", "env", "flock", "grep", "head", "ln", "mkdir"),
    *("mktemp", "rm", "sed", "sha256sum", "sort", "tail", "timeout", "wc"),
)

# Each stub notes its call, as root with a # before it, and may be where the machine is switched off.
_PROLOGUE = """#!/usr/bin/env bash
set -euo pipefail
name=${0##*/}
off() { if [[ -n ${TERM_AT:-} ]]; then kill -TERM "$SCRIPT"; else kill -KILL "-$SCRIPT" $$; fi; }
# What a command that is interrupted leaves behind.
halfway() { if [[ ${OFF_IN:-} == "$name" ]]; then "$@"; off; fi; }
must_be_root() { [[ -n ${AS_ROOT:-} ]] || { echo "$name: permission denied" >&2; exit 1; }; }
printf '%s %s\\n' "${AS_ROOT:-$}" "$name${*:+ ${*//$'\\n'/ }}" >>"$MACHINE/log"
[[ $(wc -l <"$MACHINE/log") -ne ${OFF_AT:-${TERM_AT:-0}} ]] || off
"""

_STUBS = {
    "sudo": r"""
        allowed=" PATH MACHINE SCRIPT OFF_AT OFF_IN TERM_AT "
        if [[ $1 == --preserve-env=* ]]; then allowed+="$(sed 's/.*=//; s/,/ /g' <<<"$1") "; shift; fi
        for each in $(compgen -e); do [[ $allowed == *" $each "* ]] || unset "$each"; done
        AS_ROOT="#" exec "$@" """,
    "id": r"""
        case $1 in
          -u) [[ -n ${AS_ROOT:-} ]] && echo 0 || echo 1000 ;;
          -un) [[ -n ${AS_ROOT:-} ]] && echo root || echo ec2-user ;;
          -nG) cat "$MACHINE/groups" ;;
        esac""",
    "uname": r"""cat "$MACHINE/architecture" """,
    "rpm": r"""[[ -e $MACHINE/packages/${*: -1} ]]""",
    "dnf": r"""
        must_be_root
        [[ ! -e $MACHINE/offline ]] || { echo "dnf: no mirror answers" >&2; exit 1; }
        for each in "${@:4}"; do
          [[ $each != docker ]] || ln -sf "$MACHINE/stubs/docker" "$MACHINE/bin/docker"
          : >"$MACHINE/packages/$each"
        done""",
    "systemctl": r"""must_be_root; : >"$MACHINE/engine" """,
    "usermod": r"""must_be_root; printf ' %s' "$3" >>"$MACHINE/groups" """,
    "dd": r"""
        must_be_root
        to=${2#of=}
        halfway eval 'printf zer >"$to"'
        [[ ! -e $MACHINE/full ]] || { printf zer >"$to"; echo "dd: no space left" >&2; exit 1; }
        printf 'zeros of %s %s\n' "$3" "$4" >"$to" """,
    "mkswap": r"""must_be_root; grep -q zeros "$1"; echo swap >>"$1"; echo "Setting up swapspace" """,
    "swapon": r"""
        if [[ $1 == --show=NAME ]]; then cat "$MACHINE/swaps"; exit; fi
        must_be_root
        grep -q swap "$1"
        echo "$1" >>"$MACHINE/swaps" """,
    "curl": r"""
        [[ ! -e $MACHINE/offline ]] || { echo "curl: no route" >&2; exit 6; }
        while [[ $1 != --output ]]; do shift; done
        cat "$MACHINE/download" >"$2" """,
    "docker": r"""
        if [[ $* == "compose version" ]]; then
          grep -qsx "the compose plugin" "$MACHINE/root/usr/local/lib/docker/cli-plugins/docker-compose"
          exit
        fi
        [[ -e $MACHINE/engine ]] || { echo "docker: no engine" >&2; exit 1; }
        [[ -n ${AS_ROOT:-} || " $(cat "$MACHINE/login-groups") " == *" docker "* ]] || exit 1
        if [[ $1 == compose && ! -e docker-compose.yml ]]; then echo "no configuration file" >&2; exit 14; fi
        cd "$MACHINE"
        # As compose does: the environment first, then the last line of .env.
        setting() {
          if [[ -v $1 ]]; then echo "${!1}"; else sed -n "s/^$1=//p" telelink/.env 2>/dev/null | tail -n 1; fi
        }
        published() {
          local bind port
          bind=$(setting HTTP_BIND) port=$(setting HTTP_PORT)
          echo "${bind:-127.0.0.1}:${port:-80}"
        }
        # A container is a file: of which service, of which image, created, running or exited, its restart policy, the
        # names that it has on the network, and the port that it publishes.
        image() { echo "images/${IMAGE_PREFIX:-telelink}-$1:latest"; }
        of() { grep -lsx "$1 .*" containers/* | sed 's|.*/||' || true; }
        of_container() { read -r service image status policy names port <"containers/$1"; }
        write() { echo "$service $image $status $policy $names $port" >"containers/$1"; }
        make() {
          service=$1 image=$(cat "$(image "$1")") status=created policy=unless-stopped names=$1 port=$(published)
          echo >>made
          made=$1-$(wc -l <made)
          write "$made"
        }
        begin() { if [[ $image == dead* ]]; then status=exited; else status=running; fi; }
        health() { if [[ $image == bad* ]]; then echo unhealthy; else echo healthy; fi; }
        code() { if [[ $image == dead* ]]; then echo 3; else echo 0; fi; }
        told() {
          local text=$format of_it
          declare -A of_it=(
            [{{.Id}}]=$1 [{{.Created}}]=$(printf '2026-01-01T%09d' "${1##*-}") [{{.Image}}]=$image
            [{{.State.Status}}]=$status [{{.State.Health.Status}}]=$(health) [{{.State.ExitCode}}]=$(code)
            [{{.HostConfig.RestartPolicy.Name}}]=$policy
            ['{{index .Config.Labels "com.docker.compose.oneoff"}}']=False
            ['{{index .Config.Labels "com.docker.compose.config-hash"}}']=hash-of-$service
            ['{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}']="telelink_models telelink_public "
          )
          for each in "${!of_it[@]}"; do text=${text//"$each"/"${of_it[$each]}"}; done
          echo "$text"
        }
        case $* in
          info | "compose ps" | "compose ps --all" | "compose logs "*) ;;
          # As the real one does: the service's own among those of its dependencies.
          "compose config --images "*)
            for each in churn-service clv-service gateway frontend; do
              [[ $4 == *-service && $4 != "$each" ]] || echo "${IMAGE_PREFIX:-telelink}-$each"
            done ;;
          "compose config gateway")
            bind=$(setting HTTP_BIND)
            printf '      %s: "%s"\n' TELELINK_API_KEYS_FILE "$(setting API_KEYS_FILE)" \
              TELELINK_PUBLISHED_AT "${bind:-127.0.0.1}" ;;
          # Which image made it, and what it printed, is all that there is to a key.
          "compose run --rm --no-deps -T gateway sh -c "*)
            read -r image <"$(image gateway)"
            [[ $* == *"[ -e "*"python -m telelink_gateway.api_keys create --name admin "* ]] || exit 64
            [[ ! -e no-room ]] || { echo "No space left on device" >&2; exit 1; }
            [[ ! -e keys ]] || exit 0
            echo "tlk_made_by_$image" >keys
            cat keys ;;
          "compose config --hash "*) echo "$4 hash-of-$4" ;;
          "compose build "*)
            [[ $(cat "source/$3") != broken* ]] || { echo "RUN pip install: failed" >&2; exit 17; }
            cp "source/$3" "$(image "$3")" ;;
          "compose up --no-start "*) make "${@: -1}" ;;
          "compose up --detach "*)
            for each in "${@:3}"; do
              [[ -e source/$each ]] || continue
              old=$(of "$each")
              if [[ -n $old ]]; then
                of_container "$old"
                if [[ $image != "$(cat "$(image "$each")")" ]]; then rm "containers/$old"; old=; fi
              fi
              [[ -n $old ]] || { make "$each"; old=$made; }
              begin
              write "$old"
              [[ "$status $(health)" == "running healthy" ]] || failed=yes
            done
            [[ -z ${failed:-} ]] ;;
          "compose ps --all --quiet "*) of "$5" ;;
          "compose port frontend 8080") [[ -n $(of frontend) ]] && published ;;
          "inspect --format "*)
            format=$3
            for each in "${@:4}"; do of_container "$each"; told "$each"; done ;;
          "image inspect "*) cat "images/$5" 2>/dev/null ;;
          "tag "*) if [[ -e images/$2 ]]; then cp "images/$2" "images/$3"; else echo "$2" >"images/$3"; fi ;;
          "update --restart "*) of_container "$4"; policy=$3; write "$4" ;;
          "network disconnect "*) of_container "$4"; names=none; write "$4" ;;
          "network connect "*) of_container "${@: -1}"; [[ $3 == --alias ]] && names=$4 || names=-; write "${@: -1}" ;;
          "start "*) of_container "$2"; begin; write "$2" ;;
          "stop "*) of_container "$2"; status=exited; write "$2" ;;
          "rm --force "*) rm "containers/$3" ;;
          "logs --tail "*) echo '{"event":"cannot start","reason":"no model in /app/models"}' ;;
          "exec --interactive "*)
            of_container "$3"
            grep -q golden
            [[ $image != wrong* ]] \
              || { echo "churn_probability of golden row 1 is 0.9, and 0.1 in the manifest" >&2; exit 1; }
            echo "version 1 of churn answers its 16 golden rows as it must" ;;
          "exec "*)
            of_container "$2"
            [[ $image == wrong* ]] || { echo '{"status":"healthy"}'; exit; }
            echo '{"status":"degraded"}'
            [[ $3 != curl ]] ;;
          *) echo "no stub for docker $*" >&2; exit 64 ;;
        esac""",
    "ec2-metadata": r"""echo "public-ipv4: $(cat "$MACHINE/public-ipv4")" """,
    "sleep": ":",
    # The real ones, for root alone.
    "chmod": r"""must_be_root; exec REAL "$@" """,
    "mv": r"""must_be_root; exec REAL "$@" """,
    "tee": r"""must_be_root; exec REAL "$@" """,
    "install": r"""
        must_be_root
        halfway eval 'REAL -D /dev/null "${*: -1}"'
        exec REAL "$@" """,
}


@dataclass(frozen=True)
class Run:
    """What one run of a script did.

    Attributes:
        output: all that it said.
        error: what of that was an error.
        calls: the commands that were stubs, in order; `# …` as root, `$ …` as the user.
    """

    returncode: int
    output: str
    error: str
    calls: tuple[str, ...]

    @property
    def changes(self) -> list[str]:
        """What it did as root; `docker` left out."""
        return [call[2:] for call in self.calls if call.startswith("# ") and not call.startswith("# docker")]


class Container(NamedTuple):
    """What the engine knows of a container; `names` are those under which it is asked."""

    image: str
    status: str
    policy: str
    names: str


class Machine:
    """A machine as it is after the launch, logged in as ec2-user, with a copy of what is deployed."""

    def __init__(self, folder: Path, *, like: Machine | None = None) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.scripts = folder / "telelink" / "deploy" / "ec2"
        self.swap_file = self.root / "swapfile"
        self.env = folder / "telelink" / ".env"
        self.fstab = self.root / "etc" / "fstab"
        self.plugin = self.root / "usr/local/lib/docker/cli-plugins/docker-compose"
        if like is None:
            self._launch()
        else:
            shutil.copytree(like.folder, folder, symlinks=True)

    def _launch(self) -> None:
        for name in ("bin", "stubs", "packages", "images", "containers", "source", "root/etc", "tmp"):
            (self.folder / name).mkdir(parents=True)
        self.write("root/etc/os-release", 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nVERSION_ID="2023"\n')
        self.write("root/etc/fstab", "UUID=1 / xfs defaults 0 1\n")
        self.write("architecture", "x86_64\n")
        self.write("public-ipv4", "203.0.113.7\n")
        self.write("download", PLUGIN)
        self.write("groups", "ec2-user wheel")
        self.write("swaps", "")
        for service in SERVICES:
            self.release(service, "v1")
        self._add_commands()
        self._copy_what_is_deployed()
        self.log_in()

    def _add_commands(self) -> None:
        for name in _REAL:
            (self.folder / "bin" / name).symlink_to(str(shutil.which(name)))
        for name, body in _STUBS.items():
            # Docker comes with its package.
            stub = self.write(f"{'stubs' if name == 'docker' else 'bin'}/{name}", "")
            stub.write_text(_PROLOGUE + body.replace("REAL", shutil.which(name) or "false") + "\n")
            stub.chmod(0o755)

    def _copy_what_is_deployed(self) -> None:
        shutil.copytree(ROOT / "deploy" / "ec2", self.scripts)
        shutil.copy(ROOT / "docker-compose.yml", self.folder / "telelink")
        # The checksum of what our curl downloads.
        setup = self.scripts / "setup-ec2.sh"
        text, n_replaced = re.subn(
            r"(?<=\[x86_64\]=)\w{64}", hashlib.sha256(PLUGIN.encode()).hexdigest(), setup.read_text()
        )
        assert n_replaced == 1
        setup.write_text(text)

    def copy(self, folder: Path) -> Machine:
        """Another machine, in the same state."""
        return Machine(folder, like=self)

    def write(self, name: str, text: str) -> Path:
        """A file of the machine."""
        path = self.folder / name
        path.write_text(text)
        return path

    def log_in(self) -> None:
        """A new login: what groups the user is in counts from now on."""
        shutil.copy(self.folder / "groups", self.folder / "login-groups")

    def release(self, service: str, version: str) -> None:
        """New source. One whose name begins with `broken` cannot be built, with `dead` ends at its start, with `bad` is
        never healthy, with `wrong` answers wrongly.
        """
        self.write(f"source/{service}", f"{version}\n")

    def run(self, script: str, *arguments: str, **environ: str) -> Run:
        """Runs one of the scripts; `OFF_AT` and `OFF_IN` switch the machine off at a call, or within a command.

        `TERM_AT` asks the script to end during a call.
        """
        log = self.write("log", "")
        done = subprocess.run(
            [
                shutil.which("bash") or "bash",
                "-c",
                'export SCRIPT=$$; exec "$0" "$@"',
                self.scripts / script,
                *arguments,
            ],
            env={
                "PATH": str(self.folder / "bin"),
                "MACHINE": str(self.folder),
                "TELELINK_SETUP_ROOT": str(self.root),
                "TMPDIR": str(self.folder / "tmp"),
                "HOME": str(self.folder),
                **environ,
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        return Run(done.returncode, done.stdout + done.stderr, done.stderr, tuple(log.read_text().splitlines()))

    def state(self) -> dict[str, object]:
        """All that the set-up is for."""
        return {
            "packages": sorted(os.listdir(self.folder / "packages")),
            "engine": (self.folder / "engine").exists(),
            "groups": (self.folder / "groups").read_text(),
            "swaps": (self.folder / "swaps").read_text(),
            "fstab": self.fstab.read_text(),
            "files": {
                path.name: (oct(path.stat().st_mode), path.read_text())
                for path in (*self.root.glob("swapfile*"), self.plugin)
                if path.exists()
            },
        }

    def containers(self, service: str) -> list[Container]:
        """Those of a service, oldest first."""
        paths = sorted(
            (self.folder / "containers").glob(f"{service}-*"), key=lambda path: int(path.name.split("-")[-1])
        )
        return [Container(*path.read_text().split(" ")[1:5]) for path in paths]

    def serving(self, service: str) -> list[str]:
        """Versions that answer under the service's name now."""
        return [each.image for each in self.containers(service) if each.status == "running" and each.names == service]

    def running(self) -> dict[str, str]:
        """The version of each service's container; what should not be there, or not like this, with all that it is."""
        return {
            service: " + ".join(
                each.image if each == Container(each.image, "running", "unless-stopped", service) else str(each)
                for each in self.containers(service)
            )
            for service in SERVICES
            if self.containers(service)
        }

    def image(self, service: str, tag: str = "latest") -> str | None:
        """The version that a name of an image leads to."""
        path = self.folder / "images" / f"telelink-{service}:{tag}"
        return path.read_text().strip() if path.exists() else None
