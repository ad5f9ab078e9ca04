#!/usr/bin/env bash
# Prepares an Amazon Linux 2023 machine: swap, git, Docker with the compose plugin. Safe to kill and to run again.
#   deploy/ec2/setup-ec2.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/ec2/lib.sh
source "$here/lib.sh"

# Amazon Linux packages no Compose, and a buildx (0.12) that is too old for newer lines of it: those refuse to build
# (amazonlinux/amazon-linux-2023#1032). This one builds without buildx.
readonly COMPOSE_VERSION=v2.32.4
declare -rA COMPOSE_SHA256=(
  [x86_64]=ed1917fb54db184192ea9d0717bcd59e3662ea79db48bff36d3475516c480a6b
  [aarch64]=0c4591cf3b1ed039adcd803dbbeddf757375fc08c11245b0154135f838495a2f
)
# Building beside the running system can take more than the 1 GiB of a t2.micro.
readonly SWAP_MIB=2048
# Tests set it, to prepare a folder instead of the machine.
readonly ROOT=${TELELINK_SETUP_ROOT:-}
readonly SWAP_FILE=$ROOT/swapfile FSTAB=$ROOT/etc/fstab
readonly PLUGIN=$ROOT/usr/local/lib/docker/cli-plugins/docker-compose

as_root() {
  if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

check_system() {
  local release=$ROOT/etc/os-release
  grep -qsx 'ID="\?amzn"\?' "$release" && grep -qsx 'VERSION_ID="\?2023"\?' "$release" && return
  die "this is not Amazon Linux 2023; on another system install Docker with its compose plugin, then run deploy.sh"
}

make_swap_file() {
  say "making $SWAP_MIB MiB of swap in $SWAP_FILE"
  # Under another name until it is whole, so that an interrupted run leaves none that looks finished.
  if ! as_root dd if=/dev/zero of="$SWAP_FILE.new" bs=1M count="$SWAP_MIB" status=none; then
    as_root rm -f "$SWAP_FILE.new"
    die "no room for the swap file; give the machine a larger volume (README.md, storage), then run this again"
  fi
  as_root chmod 0600 "$SWAP_FILE.new"
  as_root mkswap "$SWAP_FILE.new" >/dev/null
  as_root mv "$SWAP_FILE.new" "$SWAP_FILE"
}

# First of all: what comes after takes memory.
add_swap() {
  if [[ -z $(swapon --show=NAME --noheadings) ]]; then
    [[ -e $SWAP_FILE ]] || make_swap_file
    as_root swapon "$SWAP_FILE"
  fi
  # A machine that came with other swap has no such file.
  if [[ -e $SWAP_FILE ]] && ! grep -qs "^$SWAP_FILE " "$FSTAB"; then
    say "$SWAP_FILE none swap sw 0 0" | as_root tee -a "$FSTAB" >/dev/null
  fi
}

install_packages() {
  local wanted=() name
  for name in docker git; do
    rpm --query --quiet "$name" || wanted+=("$name")
  done
  ((${#wanted[@]})) || return 0
  say "installing ${wanted[*]}"
  as_root dnf install --assumeyes --quiet "${wanted[@]}" \
    || die "dnf could not install ${wanted[*]}; see above, then run this again"
}

start_docker() {
  as_root systemctl enable --now docker || die "Docker does not start: journalctl --unit docker says why"
  local user=${SUDO_USER:-$(id -un)}
  if [[ $user != root && " $(id -nG "$user") " != *" docker "* ]]; then
    as_root usermod --append --groups docker "$user"
    say "$user may use docker without sudo from the next login on"
  fi
}

install_compose() {
  # Root's view: a plugin in somebody's home is of no use to others.
  if as_root docker compose version >/dev/null 2>&1; then return; fi
  local machine file
  machine=$(uname -m)
  [[ -n ${COMPOSE_SHA256[$machine]:-} ]] || die "no checksum of docker compose for $machine: use an x86_64 or arm64 machine"
  say "installing docker compose $COMPOSE_VERSION"
  file=$(mktemp)
  # shellcheck disable=SC2064  # the name is known now, and is local
  trap "rm -f '$file'" EXIT
  curl --fail --silent --show-error --location --retry 3 --output "$file" \
    "https://github.com/docker/compose/releases/download/$COMPOSE_VERSION/docker-compose-linux-$machine" \
    || die "docker compose could not be downloaded; see above, then run this again"
  sha256sum --check --status <<<"${COMPOSE_SHA256[$machine]}  $file" \
    || die "what was downloaded is not docker compose $COMPOSE_VERSION; nothing was installed, run this again"
  as_root install -D --mode 0755 "$file" "$PLUGIN"
}

main() {
  (($# == 0)) || die "takes no arguments, got: $*"
  check_system
  hold_lock "$here"
  add_swap
  install_packages
  start_docker
  install_compose
  say "ready: run $here/deploy.sh"
}

main "$@"
