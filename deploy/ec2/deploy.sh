#!/usr/bin/env bash
# Builds and starts the system, waits until it is healthy and prints its address.
#   deploy/ec2/deploy.sh                    everything
#   deploy/ec2/deploy.sh churn-service      that service alone; the others keep running
# A new version that does not become healthy gives way to the one that ran before. Safe to kill and to run again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/ec2/lib.sh
source "$here/lib.sh"

readonly SERVICES=(churn-service clv-service gateway frontend)
readonly WAIT_S=180
# What docker-compose.yml takes from the environment, and must still see behind sudo.
readonly SETTINGS=COMPOSE_PROJECT_NAME,IMAGE_PREFIX,HTTP_PORT,LOG_LEVEL,HIGH_VALUE_FROM_USD,TOP_VALUE_FROM_USD
DOCKER=(docker)

usage() { say "usage: $(basename "$0") [SERVICE...]   services: ${SERVICES[*]}"; }

compose() { "${DOCKER[@]}" compose "$@"; }

check_services() {
  local asked
  for asked in "$@"; do
    [[ " ${SERVICES[*]} " == *" $asked "* ]] || die "there is no service '$asked'; services: ${SERVICES[*]}"
  done
}

check_docker() {
  command -v docker >/dev/null || die "docker is not installed; run $here/setup-ec2.sh first"
  # A new member of the group docker is one only after the next login.
  docker info >/dev/null 2>&1 || DOCKER=(sudo "--preserve-env=$SETTINGS" docker)
  "${DOCKER[@]}" info >/dev/null 2>&1 || die "the Docker engine does not answer; run $here/setup-ec2.sh first"
  compose version >/dev/null 2>&1 || die "docker compose is not installed; run $here/setup-ec2.sh first"
}

# The name of a service's image, as docker-compose.yml has it. Compose lists those of its dependencies with it.
image_of() { compose config --images "$1" | grep -- "-$1\$"; }

# What is healthy now keeps a name, whatever is built next. It is a tag and no variable: killed in the middle of a bad
# start, the next run still knows it.
keep_what_is_healthy() {
  local service container
  for service in "$@"; do
    container=$(compose ps --quiet "$service")
    [[ -n $container ]] || continue
    [[ $("${DOCKER[@]}" inspect --format '{{.State.Health.Status}}' "$container") == healthy ]] || continue
    "${DOCKER[@]}" tag "$("${DOCKER[@]}" inspect --format '{{.Image}}' "$container")" "$(image_of "$service"):before"
  done
}

# One after the other: the machine is small.
build() {
  local service
  for service in "$@"; do
    say "building $service"
    compose build "$service" || die "$service cannot be built; see above. What ran goes on running"
  done
}

start() {
  local alone=()
  # Not even those that it depends on are touched.
  (($# == ${#SERVICES[@]})) || alone=(--no-deps)
  compose up --detach --no-build "${alone[@]}" --wait --wait-timeout "$WAIT_S" "$@"
}

go_back() {
  local service image
  for service in "$@"; do
    image=$(image_of "$service")
    "${DOCKER[@]}" image inspect "$image:before" >/dev/null 2>&1 \
      || die "not healthy, and there is no $service from before to go back to; see the log above"
  done
  for service in "$@"; do
    image=$(image_of "$service")
    "${DOCKER[@]}" tag "$image:before" "$image:latest"
  done
  start "$@" || die "neither what was built now nor what ran before is healthy; see the log above"
  die "what was built now is not healthy, so what ran before runs again; see the log above"
}

# Where the page is, as far as this machine knows.
address() {
  local published host=localhost told=
  published=$(compose port frontend 8080 2>/dev/null | head -n 1) || true
  [[ -n $published ]] || { say "its page does not run yet: run $here/deploy.sh"; return; }
  # Amazon's images have this command; without a public address it says "not available".
  if [[ $published != 127.* ]] && command -v ec2-metadata >/dev/null; then
    told=$(timeout 5 ec2-metadata --public-ipv4 2>/dev/null | awk '{print $2}') || true
  fi
  [[ $told =~ ^[0-9]+(\.[0-9]+){3}$ ]] && host=$told
  case ${published##*:} in
    80) say "http://$host" ;;
    *) say "http://$host:${published##*:}" ;;
  esac
}

main() {
  case ${1:-} in
    -h | --help) usage; return ;;
  esac
  check_services "$@"
  check_docker
  hold_lock "$here"
  cd "$here/../.."
  local services=("$@")
  (($#)) || services=("${SERVICES[@]}")
  keep_what_is_healthy "${services[@]}"
  build "${services[@]}"
  say "starting ${services[*]}"
  if ! start "${services[@]}"; then
    { compose ps --all; compose logs --tail 20 "${services[@]}"; } >&2 || true
    go_back "${services[@]}"
  fi
  compose ps
  say "TeleLink Customer Analytics: $(address)"
}

main "$@"
