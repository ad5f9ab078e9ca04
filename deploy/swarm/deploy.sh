#!/usr/bin/env bash
# Brings the system to run on a Docker Swarm, and waits until all of it does.
#   deploy/swarm/deploy.sh                     everything
#   deploy/swarm/deploy.sh update SERVICE...   builds and replaces these alone, one copy after the other; the rest keeps running
#   deploy/swarm/deploy.sh rollback SERVICE... back to what each was before
#   deploy/swarm/deploy.sh keys ARGUMENTS...   create, list or revoke API keys, as python -m telelink_gateway.api_keys
# What is not healthy never replaces what serves: the swarm itself goes back. Safe to kill and to run again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/ec2/lib.sh
source "$here/../ec2/lib.sh"

readonly BUILT=(churn-service clv-service gateway frontend)
readonly SERVICES=(history "${BUILT[@]}")
readonly STACK=${STACK:-telelink} PREFIX=${REGISTRY:+$REGISTRY/}${IMAGE_PREFIX:-telelink} WAIT_S=${WAIT_S:-300}
# Of the keys there are hashes alone. The swarm keeps what it was given as a secret; this is what is changed next time.
readonly KEYS=${STATE_DIR:-var/swarm}/api-keys.json
readonly PASSWORD=$STACK-history-password
declare -A IMAGE=([history]=${HISTORY_IMAGE:-postgres:15})
SCRATCH=

usage() { say "usage: $(basename "$0") [update SERVICE... | rollback SERVICE... | keys ARGUMENTS...]   services: ${SERVICES[*]}"; }

# Images are built by this machine's engine; the swarm is asked at MANAGER, which may be another's.
swarm() { docker ${MANAGER:+--host "$MANAGER"} "$@"; }

variable_of() { printf 'IMAGE_%s' "${1^^}" | tr - _; }

check_services() {
  (($#)) || die "name the services; there are ${SERVICES[*]}"
  local asked
  for asked in "$@"; do
    [[ " ${SERVICES[*]} " == *" $asked "* ]] || die "there is no service '$asked'; services: ${SERVICES[*]}"
  done
}

check_swarm() {
  command -v docker >/dev/null || die "docker is not installed"
  docker info >/dev/null 2>&1 || die "this machine's Docker engine does not answer"
  [[ $(swarm info --format '{{.Swarm.ControlAvailable}}' 2>/dev/null) == true ]] \
    || die "${MANAGER:-this engine} is no manager of a swarm: docker swarm init there, or name one with MANAGER="
}

check_runs() {
  local service
  for service in "$@"; do
    swarm service inspect "${STACK}_$service" >/dev/null 2>&1 || die "$service does not run yet: deploy everything first"
  done
}

# By its content: what is the same is not replaced, and what was before keeps its name for a roll back.
build() {
  local service id
  for service in "$@"; do
    [[ $service != history ]] || continue
    say "building $service"
    id=$(docker build --quiet --file "$service/Dockerfile" .) || die "$service cannot be built; see above. What ran goes on"
    IMAGE[$service]=$PREFIX-$service:${id:7:12}
    docker tag "$id" "${IMAGE[$service]}"
  done
}

has_image() { docker --host "$1" image inspect "$2" >/dev/null 2>&1; }

# To where it is not yet: by a registry, or by hand to each engine of NODES. The database's only where the database is.
hand_out() {
  local service engine id
  if [[ -n ${REGISTRY:-} ]]; then
    for service in "$@"; do
      [[ $service == history ]] || docker push --quiet "${IMAGE[$service]}" >/dev/null || die "$service cannot be pushed"
    done
    return
  fi
  local -A missing=()
  for engine in ${MANAGER:-} ${NODES:-}; do
    id=$(docker --host "$engine" info --format '{{.Swarm.NodeID}}' 2>/dev/null) || die "the engine at $engine does not answer"
    for service in "$@"; do
      [[ $service != history || $id == "$HISTORY_NODE" ]] || continue
      has_image "$engine" "${IMAGE[$service]}" || missing[$engine]+=" ${IMAGE[$service]}"
    done
  done
  ((${#missing[@]})) || return 0
  load_all
}

# One file for each set of images that somebody misses; the engines read them at the same time.
load_all() {
  local engine file
  local -a loads=()
  for engine in "${!missing[@]}"; do
    say "handing out to $engine:${missing[$engine]}"
    file=$SCRATCH/$(cksum <<<"${missing[$engine]}" | cut -d ' ' -f 1).tar
    # shellcheck disable=SC2086  # names, one a word
    [[ -e $file ]] || docker save --output "$file" ${missing[$engine]} || die "images cannot be written to $SCRATCH"
    docker --host "$engine" load --quiet --input "$file" >/dev/null &
    loads+=("$!")
  done
  local load
  for load in "${loads[@]}"; do wait "$load" || die "an engine did not take the images; see above. What ran goes on"; done
}

# The node whose disk has the history, for good.
choose_history_node() {
  HISTORY_NODE=$(swarm node ls --quiet --filter node.label=telelink.history=yes | head -n 1)
  [[ -z $HISTORY_NODE ]] || return 0
  HISTORY_NODE=$(swarm node inspect --format '{{.ID}}' "${PLACE_HISTORY_AT:-self}") \
    || die "PLACE_HISTORY_AT must be one of: $(swarm node ls --format '{{.ID}} ({{.Hostname}})' | paste -sd ' ')"
  swarm node update --label-add telelink.history=yes "$HISTORY_NODE" >/dev/null
}

has_secret() { swarm secret inspect "$1" >/dev/null 2>&1; }

make_password() {
  has_secret "$PASSWORD" && return
  if [[ -n ${HISTORY_PASSWORD_FILE:-} ]]; then
    swarm secret create "$PASSWORD" "$HISTORY_PASSWORD_FILE" >/dev/null || die "the password's secret cannot be made"
  else
    od -An -tx1 -N24 /dev/urandom | tr -d ' \n' | swarm secret create "$PASSWORD" - >/dev/null
  fi
}

# In a container without a network, as whoever runs this.
change_keys() {
  mkdir -p "$(dirname "$KEYS")"
  docker run --rm --interactive --network none --user "$(id -u):$(id -g)" --volume "$(realpath "$(dirname "$KEYS")"):/keys" \
    "${IMAGE[gateway]}" python -m telelink_gateway.api_keys --file "/keys/$(basename "$KEYS")" "$@"
}

make_first_key() {
  local key
  [[ ! -e $KEYS ]] || return 0
  key=$(change_keys create --name admin --scope predict --scope history --scope admin) || die "the first API key cannot be made"
  say "" "The admin's API key, which is shown this once and opens everything:" "" "    $key" ""
}

# A secret never changes: another content is another secret.
publish_keys() {
  API_KEYS=$STACK-api-keys-$(sha256sum "$KEYS" | cut -c 1-12)
  has_secret "$API_KEYS" || swarm secret create "$API_KEYS" "$KEYS" >/dev/null || die "the keys' secret cannot be made"
}

image_that_runs() { swarm service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' "${STACK}_$1"; }

# With the images that IMAGE names.
deploy_stack() {
  local service
  for service in "${SERVICES[@]}"; do export "$(variable_of "$service")=${IMAGE[$service]}"; done
  export API_KEYS HISTORY_PASSWORD=$PASSWORD REQUESTS_OF_ALL=${REQUESTS_OF_ALL:-$((160 * ${GATEWAY_REPLICAS:-2}))}
  local -a images=(--resolve-image never)
  [[ -z ${REGISTRY:-} ]] || images=(--resolve-image always --with-registry-auth)
  swarm stack deploy "${images[@]}" --compose-file "$here/stack.yml" "$STACK" 2>&1 \
    | grep -v -e '^Since --detach' -e '^In a future release' -e '^$' || true
  ((PIPESTATUS[0] == 0)) || die "the swarm did not take the stack; see above. What ran goes on"
}

# What its copies are of and how each is, where they are meant to run. A registry's images have a digest behind their name.
copies_of() {
  swarm service ps --no-trunc --filter desired-state=running --format '{{.Image}} {{.CurrentState}}' "${STACK}_$1" \
    | awk '{sub(/@.*/, "", $1); print $1, $2}'
}

show_why() {
  { swarm service ps --no-trunc --format '{{.Name}} {{.CurrentState}} {{.Error}}' "${STACK}_$1" | head -n 6
    swarm service logs --raw --tail 10 "${STACK}_$1"; } >&2 2>&1 || true
}

# "done", "rolled back", or how far it is.
progress_of() {
  local service=$1 image=${IMAGE[$1]:-.*} state copies n n_up
  state=$(swarm service inspect --format '{{with .UpdateStatus}}{{.State}}{{end}}' "${STACK}_$service")
  case $state in
    rollback_completed) [[ $VERB == rollback ]] || { say "rolled back"; return; } ;;
    paused | rollback_paused) say "stuck"; return ;;
  esac
  copies=$(copies_of "$service")
  n=$(grep -c . <<<"$copies" || true)
  n_up=$(grep -c "^${image%@*} Running" <<<"$copies" || true)
  if [[ $state != *updating && $state != rollback_started ]] && ((n > 0 && n == n_up)); then say "done"; else say "$n_up of $n"; fi
}

await() {
  local service told now until
  for service in "$@"; do
    told=
    until=$((SECONDS + WAIT_S))
    while now=$(progress_of "$service"); [[ $now != "done" ]]; do
      [[ $now == "$told" ]] || say "$service: $now"
      told=$now
      case $now in
        "rolled back") show_why "$service"; die "$service: what was built now is not healthy; the one before goes on serving" ;;
        stuck) show_why "$service"; die "$service: neither the new one nor the one before is healthy; see above" ;;
      esac
      ((SECONDS < until)) || { show_why "$service"; die "$service is not there after $WAIT_S s; the swarm goes on trying"; }
      sleep 1
    done
    say "$service: all copies run ${IMAGE[$service]:-}"
  done
}

deploy_all() {
  choose_history_node
  build "${BUILT[@]}"
  hand_out "${SERVICES[@]}"
  make_password
  make_first_key
  publish_keys
  deploy_stack
  await "${SERVICES[@]}"
  say "TeleLink Customer Analytics: port ${HTTP_PORT:-80} of every node"
}

update() {
  check_services "$@"
  check_runs "$@"
  choose_history_node
  build "$@"
  hand_out "$@"
  local service
  local -a auth=()
  [[ -z ${REGISTRY:-} ]] || auth=(--with-registry-auth)
  for service in "$@"; do
    swarm service update --detach --quiet --no-resolve-image "${auth[@]}" --image "${IMAGE[$service]}" "${STACK}_$service" >/dev/null
    await "$service"
  done
}

rollback() {
  check_services "$@"
  check_runs "$@"
  local service
  for service in "$@"; do
    IMAGE[$service]=$(swarm service inspect --format '{{with .PreviousSpec}}{{.TaskTemplate.ContainerSpec.Image}}{{end}}' "${STACK}_$service")
    [[ -n ${IMAGE[$service]} ]] || die "there is no $service from before to go back to"
    swarm service rollback --detach --quiet "${STACK}_$service" >/dev/null
    await "$service"
  done
}

keys_that_are_used() {
  swarm service inspect --format '{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{println .SecretName .File.Name}}{{end}}' \
    "${STACK}_gateway" | awk '$2 == "api-keys" {print $1}'
}

# The gateway alone, one copy after the other; nothing is built, and no setting is changed.
keys() {
  (($#)) || { usage >&2; exit 2; }
  check_runs gateway
  IMAGE[gateway]=$(image_that_runs gateway)
  [[ -e $KEYS || $1 == create ]] || die "there is no $KEYS here: run this where the system was deployed from"
  change_keys "$@"
  [[ $1 != list ]] || return 0
  publish_keys
  local used
  used=$(keys_that_are_used)
  [[ $used != "$API_KEYS" ]] || return 0
  swarm service update --detach --quiet --no-resolve-image --secret-rm "$used" \
    --secret-add "source=$API_KEYS,target=api-keys,uid=10001,mode=0400" "${STACK}_gateway" >/dev/null
  await gateway >&2
}

clean_up() { [[ -z $SCRATCH ]] || rm -rf "$SCRATCH"; }

main() {
  VERB=${1:-deploy_all}
  case $VERB in
    -h | --help) usage; return ;;
    deploy_all) set -- ;;
    update | rollback | keys) shift ;;
    *) usage >&2; exit 2 ;;
  esac
  check_swarm
  hold_lock "$here"
  cd "$here/../.."
  trap clean_up EXIT
  # What the swarm was told it goes on with by itself.
  trap 'exit 130' INT
  trap 'exit 143' TERM
  SCRATCH=$(mktemp -d)
  "$VERB" "$@"
}

main "$@"
