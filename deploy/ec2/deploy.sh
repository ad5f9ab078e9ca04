#!/usr/bin/env bash
# Builds the system and brings it to run; what serves is replaced without a lost request.
#   deploy/ec2/deploy.sh                              everything
#   deploy/ec2/deploy.sh churn-service                that service alone; the others keep running
#   deploy/ec2/deploy.sh --rollback [churn-service]   back to the image before; without a name, all that was replaced last
# A new version that is not ready, or answers wrongly, never replaces the one that serves. Safe to kill and to run again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/ec2/lib.sh
source "$here/lib.sh"

readonly SERVICES=(churn-service clv-service gateway frontend)
readonly WAIT_S=180
# What docker-compose.yml takes from the environment, and must still see behind sudo.
readonly SETTINGS=COMPOSE_PROJECT_NAME,IMAGE_PREFIX,HTTP_BIND,HTTP_PORT,LOG_LEVEL,HIGH_VALUE_FROM_USD,\
TOP_VALUE_FROM_USD,API_KEYS_FILE,HISTORY_URL,HISTORY_PASSWORD_FILE,HISTORY_RETENTION_DAYS
# The services that the last run replaced, one a line.
readonly RECORD=var/replaced
DOCKER=(docker)
HAS_RECORDED=

# shellcheck source=deploy/ec2/replace.sh
source "$here/replace.sh"

usage() { say "usage: $(basename "$0") [--rollback] [SERVICE...]   services: ${SERVICES[*]}"; }

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

# Writes down a setting that nobody has written down yet.
keep() {
  grep -qs "^$1=" .env && return
  # Its last line may be one without an end.
  [[ -z $(tail -c 1 .env 2>/dev/null) ]] || say >>.env
  say "$1=$2" >>.env
}

# What compose hands to the gateway, wherever it has it from.
told_to_gateway() { compose config gateway | awk -v name="$1:" '$1 == name {gsub(/"/, "", $2); print $2}'; }

# This machine is there for others, so whoever asks it shows a key.
close_to_strangers() {
  keep HTTP_BIND 0.0.0.0
  keep API_KEYS_FILE /data/api-keys.json
  [[ -n $(told_to_gateway TELELINK_API_KEYS_FILE) || $(told_to_gateway TELELINK_PUBLISHED_AT) == 127.* ]] \
    || die "without API_KEYS_FILE everybody could do everything; set it in .env, or HTTP_BIND=127.0.0.1"
}

# The first one: with a file that is not there the gateway does not start. Later ones are the operator's.
make_first_key() {
  local key
  [[ " $* " == *" gateway "* && -n $(told_to_gateway TELELINK_API_KEYS_FILE) ]] || return 0
  # shellcheck disable=SC2016  # the container's variable, not this shell's
  key=$(compose run --rm --no-deps -T gateway sh -c '[ -e "$TELELINK_API_KEYS_FILE" ] || exec \
    python -m telelink_gateway.api_keys create --name admin --scope predict --scope history --scope admin') \
    || die "the first API key cannot be made; see above. What ran goes on running"
  [[ -n $key ]] || return 0
  say "" "The admin's API key, which is shown this once and opens everything:" "" "    $key" "" \
    "Keep it where only the right people read. Sign in with it at the page, or send it as 'Authorization: Bearer KEY';" \
    "how to make others and to revoke it: $here/README.md, API keys" ""
}

# Before it happens: a name too many is a roll back to what runs already.
record() {
  mkdir -p "$(dirname "$RECORD")"
  [[ -n $HAS_RECORDED ]] || : >"$RECORD"
  HAS_RECORDED=yes
  say "$1" >>"$RECORD"
}

# All before any is started, and one after the other: the machine is small.
build() {
  local service
  for service in "$@"; do
    say "building $service"
    compose build "$service" || die "$service cannot be built; see above. What ran goes on running"
  done
}

take_the_one_before() {
  local service image
  for service in "$@"; do
    image_id "$(image_of "$service"):before" >/dev/null || die "there is no $service from before to go back to"
  done
  for service in "$@"; do
    image=$(image_of "$service")
    "${DOCKER[@]}" tag "$image:before" "$image:latest"
  done
}

# Not even those that they depend on are touched.
start() { compose up --detach --no-build --no-deps --wait --wait-timeout "$WAIT_S" "$@"; }

go_back() {
  { compose ps --all; compose logs --tail 20 "$@"; } >&2 || true
  local service image
  for service in "$@"; do
    image=$(image_of "$service")
    image_id "$image:before" >/dev/null \
      || die "not healthy, and there is no $service from before to go back to; see the log above"
  done
  take_the_one_before "$@"
  start "$@" || die "neither what was built now nor what ran before is healthy; see the log above"
  die "what was built now is not healthy, so what ran before runs again; see the log above"
}

# Of those that do not run now, the image of one that ended well is worth going back to.
start_those_that_are_down() {
  local service container
  for service in "$@"; do
    container=$(containers_of "$service" | awk '{print $2}')
    [[ -n $container && $(inspect '{{.State.ExitCode}}' "$container") == 0 ]] || continue
    remember "$service" "$(inspect '{{.Image}}' "$container")" "$(image_id "$(image_of "$service"):latest")"
  done
  say "starting $*"
  start "$@" || go_back "$@"
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
  local take=build service
  case ${1:-} in
    -h | --help) usage; return ;;
    --rollback) take=take_the_one_before; shift ;;
  esac
  check_services "$@"
  check_docker
  hold_lock "$here"
  cd "$here/../.."
  close_to_strangers
  local services=("$@") down=()
  if ((! $#)) && [[ $take == take_the_one_before ]]; then
    [[ -s $RECORD ]] || die "no run has replaced anything yet; name the service to roll back"
    mapfile -t services <"$RECORD"
  elif ((! $#)); then
    services=("${SERVICES[@]}")
  fi
  for service in "${services[@]}"; do tidy "$service"; done
  trap undo EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  "$take" "${services[@]}"
  make_first_key "${services[@]}"
  for service in "${services[@]}"; do
    [[ -n ${SERVING[$service]:-} ]] || down+=("$service")
  done
  ((! ${#down[@]})) || start_those_that_are_down "${down[@]}"
  for service in "${services[@]}"; do
    [[ -z ${SERVING[$service]:-} ]] || replace "$service"
  done
  compose ps
  say "TeleLink Customer Analytics: $(address)"
}

main "$@"
