# shellcheck shell=bash
# Replaces the container of one service while it serves. Sourced by deploy.sh, never run.
#
#   beside    the new container is started next to the old one, under no name that anybody asks for
#   prove     it is ready, and answers as it must
#   admit     it gets the service's name; from here on both are asked
#   retire    the old one is told to stop: it is not ready any more, answers for its drain time, and ends
#
# What has not been admitted has the restart policy "no": whatever ends this script, and whenever, the next run knows by
# that which of two containers may serve. The policy is set last, so it also says that all of it was done.

# Where each service is asked from: the network on which its name must lead to proven containers alone.
declare -rA ENTRANCE=([churn-service]=models [clv-service]=models [gateway]=public [frontend]=public)
declare -rA PORT=([churn-service]=8001 [clv-service]=8002 [gateway]=8000 [frontend]=8080)
# Set while there is something to undo: the service that is being replaced, and what serves by service.
REPLACING=
declare -A SERVING=()
CANDIDATE=

inspect() { "${DOCKER[@]}" inspect --format "$1" "$2"; }

# The name of a service's image, as docker-compose.yml has it. Compose lists those of its dependencies with it.
image_of() { compose config --images "$1" | grep -- "-$1\$"; }

image_id() { "${DOCKER[@]}" image inspect --format '{{.Id}}' "$1" 2>/dev/null; }

# Newest first: when it was made, what it is, what it does and its restart policy.
containers_of() {
  local found
  found=$(compose ps --all --quiet "$1")
  [[ -n $found ]] || return 0
  # Not those of `docker compose run`, which are somebody's own.
  # shellcheck disable=SC2086  # ids, one a word
  "${DOCKER[@]}" inspect --format '{{index .Config.Labels "com.docker.compose.oneoff"}} {{.Created}} {{.Id}} {{.State.Status}} {{.HostConfig.RestartPolicy.Name}}' $found \
    | awk '$1 != "True" {print $2, $3, $4, $5}' | sort --reverse
}

# It is given its drain time also where it should never have been asked: it may be under the service's name already.
remove() {
  "${DOCKER[@]}" stop "$1" >/dev/null || true
  "${DOCKER[@]}" rm --force "$1" >/dev/null
}

# Keeps an image as the one before. Not the other way round: after a roll back, that is still the one to be rolled back to.
remember() {
  local service=$1 old=$2 new=$3 image
  image=$(image_of "$service")
  [[ $old == "$new" || $new == "$(image_id "$image:before")" ]] || "${DOCKER[@]}" tag "$old" "$image:before"
}

retire() {
  local service=$1 old=$2 new=$3
  say "$service: the one before answers what it was asked and ends"
  remember "$service" "$(inspect '{{.Image}}' "$old")" "$(inspect '{{.Image}}' "$new")"
  remove "$old"
}

# Ends what an earlier run was killed in: of containers that serve the newest stays, and nothing else does.
tidy() {
  local service=$1 created container status policy serving='' stopped=''
  local -a containers
  mapfile -t containers < <(containers_of "$service")
  for each in "${containers[@]}"; do
    read -r created container status policy <<<"$each"
    [[ $policy == unless-stopped ]] || continue
    if [[ $status == running ]]; then serving=${serving:-$container}; else stopped=${stopped:-$container}; fi
  done
  for each in "${containers[@]}"; do
    read -r created container status policy <<<"$each"
    case $container in
      "$serving" | "${serving:-$stopped}") continue ;;
    esac
    say "$service: removing what was left of $created"
    if [[ -n $serving && $status == running && $policy == unless-stopped ]]; then
      retire "$service" "$container" "$serving"
    else
      remove "$container"
    fi
  done
  [[ -z $serving ]] || SERVING[$service]=$serving
}

# Whether a container is of the image and the settings that a new one would be of, and is well.
is_current() {
  local service=$1 container=$2
  [[ $(inspect '{{.Image}} {{.State.Health.Status}} {{index .Config.Labels "com.docker.compose.config-hash"}}' "$container") \
    == "$(image_id "$(image_of "$service"):latest") healthy $(compose config --hash "$service" | awk '{print $2}')" ]]
}

# Leaves the entrance of its service and joins it again, under its own name and those that are given.
join() {
  local service=$1 container=$2 network
  shift 2
  # shellcheck disable=SC2016  # the engine's variables, not the shell's
  for network in $(inspect '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}' "$container"); do
    [[ $network == *"_${ENTRANCE[$service]}" ]] || continue
    "${DOCKER[@]}" network disconnect "$network" "$container"
    "${DOCKER[@]}" network connect "$@" "$network" "$container"
  done
}

# Makes the new container, and does not start it.
beside() {
  local service=$1 old=$2
  compose up --no-start --no-build --no-deps --no-recreate --scale "$service=2" "$service"
  CANDIDATE=$(containers_of "$service" | awk -v old="$old" '$2 != old {print $2; exit}')
  [[ -n $CANDIDATE ]] || die "$service: no container was made beside the one that serves; see above"
  "${DOCKER[@]}" update --restart no "$CANDIDATE" >/dev/null
}

# Says in one line why it is not to be. What has been done so far is undone by the trap.
refuse() {
  local service=$1 reason=$2
  "${DOCKER[@]}" logs --tail 20 "$CANDIDATE" >&2 || true
  die "$service: what was built now $reason; the one before goes on serving. Mend that and run this again"
}

# The last reason that a service gave, else its last line.
last_words() {
  "${DOCKER[@]}" logs --tail 20 "$CANDIDATE" 2>&1 | awk '
    {last = $0}
    match($0, /"reason": ?"[^"]*/) {reason = substr($0, RSTART, RLENGTH); sub(/^"reason": ?"/, "", reason)}
    END {print reason == "" ? last : reason}'
}

await_ready() {
  local service=$1 state
  for ((waited_s = 0; waited_s < WAIT_S; waited_s++)); do
    state=$(inspect '{{.State.Status}} {{.State.Health.Status}} {{.State.ExitCode}}' "$CANDIDATE")
    case $state in
      "running healthy "*) return ;;
      "running starting "*) sleep 1 ;;
      "running "*) refuse "$service" "starts, but does not become ready" ;;
      *) refuse "$service" "does not start, exit code ${state##* } ($(last_words))" ;;
    esac
  done
  refuse "$service" "does not become ready within $WAIT_S s"
}

# What the gateway says of itself and both models.
health_of() {
  "${DOCKER[@]}" exec "$1" python -c "
import socket, urllib.request as http
ask = http.build_opener(http.ProxyHandler({})).open
print(ask(f'http://{socket.gethostbyname(socket.gethostname())}:${PORT[gateway]}/health', timeout=5).read().decode())"
}

prove() {
  local service=$1 old=$2 said
  case $service in
    gateway)
      # No less than the one that serves: with a model service away, also a new gateway is without it.
      said=$(health_of "$CANDIDATE" 2>&1) || refuse "$service" "does not answer /health (${said##*$'\n'})"
      [[ $said == *'"healthy"'* || $(health_of "$old" 2>&1) != *'"healthy"'* ]] \
        || refuse "$service" "does not reach the models, which the one before does ($said)"
      ;;
    frontend)
      said=$("${DOCKER[@]}" exec "$CANDIDATE" curl --fail --silent --show-error --noproxy '*' --output /dev/null \
        "http://127.0.0.1:${PORT[frontend]}/" 2>&1) || refuse "$service" "does not serve its page ($said)"
      ;;
    *)
      # shellcheck disable=SC2154  # deploy.sh's own folder
      said=$("${DOCKER[@]}" exec --interactive "$CANDIDATE" python - "${PORT[$service]}" <"$here/golden_rows.py" 2>&1) \
        || refuse "$service" "answers wrongly (${said##*$'\n'})"
      say "$service: $said"
      ;;
  esac
}

try_beside() {
  local service=$1 old=$2
  beside "$service" "$old"
  join "$service" "$CANDIDATE"
  "${DOCKER[@]}" start "$CANDIDATE" >/dev/null
  await_ready "$service"
  prove "$service" "$old"
}

# One port of the machine can be had by one container only: the page is away from the end of the old one until the new
# one listens. What then takes over has been tried at another port, which only this machine can ask.
replace_frontend() {
  local old=$1
  HTTP_BIND=127.0.0.1 HTTP_PORT=0 try_beside frontend "$old"
  remove "$CANDIDATE"
  beside frontend "$old"
  record frontend
  "${DOCKER[@]}" stop "$old" >/dev/null
  "${DOCKER[@]}" start "$CANDIDATE" >/dev/null
  await_ready frontend
}

replace_asked_by_name() {
  local service=$1 old=$2
  try_beside "$service" "$old"
  record "$service"
  join "$service" "$CANDIDATE" --alias "$service"
}

# Replaces what serves by what was built, without a lost request but for the frontend's.
replace() {
  local service=$1 old=${SERVING[$1]}
  if is_current "$service" "$old"; then
    say "$service: what runs is what was built"
    unset "SERVING[$service]"
    return
  fi
  say "$service: starting the new one beside the one that serves"
  REPLACING=$service
  if [[ $service == frontend ]]; then replace_frontend "$old"; else replace_asked_by_name "$service" "$old"; fi
  # From here on it is the new one that serves, whatever ends this.
  "${DOCKER[@]}" update --restart unless-stopped "$CANDIDATE" >/dev/null
  retire "$service" "$old" "$CANDIDATE"
  REPLACING=
  unset "SERVING[$service]"
}

# However the script ends: nothing that was not admitted stays, what serves does, and the images' names are those of it.
undo() {
  trap '' INT TERM
  set +e
  if [[ -n $REPLACING ]]; then
    local old=${SERVING[$REPLACING]}
    unset "SERVING[$REPLACING]"
    tidy "$REPLACING"
    # The frontend's had been stopped already.
    [[ -n ${SERVING[$REPLACING]:-} ]] || { "${DOCKER[@]}" start "$old"; SERVING[$REPLACING]=$old; }
  fi
  for service in "${!SERVING[@]}"; do
    "${DOCKER[@]}" tag "$(inspect '{{.Image}}' "${SERVING[$service]}")" "$(image_of "$service"):latest"
  done
} >/dev/null
