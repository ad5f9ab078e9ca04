#!/usr/bin/env bash
# All tests; `make test` calls it. Levels whose program is missing are skipped by name, with the command that adds it;
# as root on a machine with apt the programs are installed. With CI=true a missing program is a failure, except Docker.
# Arguments are handed on to pytest: tests/run.sh tests/unit -k decision
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PACKAGES=(
  nginx:nginx-light envsubst:gettext-base chromium:chromium shellcheck:shellcheck curl:curl node:nodejs
  postgres:postgresql faketime:faketime
)

missing_packages() {
  local entry programs path=$PATH
  # Debian keeps the server of each version apart.
  for programs in /usr/lib/postgresql/*/bin; do path+=":$programs"; done
  for entry in "${PACKAGES[@]}"; do
    PATH=$path command -v "${entry%%:*}" >/dev/null || printf '%s\n' "${entry##*:}"
  done
}

install_missing() {
  local wanted=()
  mapfile -t wanted < <(missing_packages)
  ((${#wanted[@]})) || return 0
  if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    printf 'not installed, and the tests that need them are skipped: apt-get install %s\n' "${wanted[*]}"
    return 0
  fi
  printf 'installing %s\n' "${wanted[*]}"
  export DEBIAN_FRONTEND=noninteractive
  if [[ ! -e /etc/postgresql-common ]]; then
    # The tests start servers of their own; the package would start one for good.
    mkdir /etc/postgresql-common
    printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.conf
  fi
  apt-get update -qq
  # fonts: a page without any would be looked at in boxes
  apt-get install -y -qq --no-install-recommends "${wanted[@]}" fonts-dejavu-core >/dev/null
}

main() {
  install_missing
  if [[ ${CI:-} == true && -n $(missing_packages) ]]; then
    printf 'CI runs every level; still missing: %s\n' "$(missing_packages | paste -sd ' ')" >&2
    exit 1
  fi
  if command -v node >/dev/null; then
    node --test tests/unit/frontend/*.test.mjs
  fi
  exec .venv/bin/python -m pytest "$@"
}

main "$@"
