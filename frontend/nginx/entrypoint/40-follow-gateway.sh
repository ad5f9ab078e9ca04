#!/bin/sh
# Keeps nginx knowing where the gateway is. Only an upstream block keeps connections open, which halves the cost of a
# request; but nginx looks its names up once, when it reads its configuration. So the block is written here before nginx
# starts; after that, in the background, the name is looked up every second, and nginx reads its configuration again when
# the answer has changed. Requests under way are finished by the old workers. While there are several gateways, as when one
# takes another's place, only those that say they are ready are asked: the one that goes says so seconds before it does.
set -eu

target=${UPSTREAM_FILE:-/etc/nginx/conf.d/gateway.conf}
look_every_s=${GATEWAY_LOOK_EVERY_S:-1}
name=${GATEWAY_ADDRESS%:*}
port=${GATEWAY_ADDRESS##*:}
# So many looks in a row without an address are believed; fewer may be a name server that hiccups.
misses_believed=3
# nginx says that it is well once a gateway is known, or has been looked for in vain so long: the page, too, is worth
# showing. Whoever starts several of these, as a swarm does, goes on to the next only then, and whoever balances asks it
# only then: the names of a new network may take seconds to get around.
patience_s=${PATIENCE_S:-20}

is_number() { case $1 in "" | *[!0-9]*) return 1 ;; esac }

is_ready() { curl --fail --silent --output /dev/null --noproxy '*' --max-time 1 "http://$1:$port/readyz"; }

addresses() {
  every=$(getent ahostsv4 "$name" | cut -d ' ' -f 1 | sort -u)
  ready=
  if [ "$(echo "$every" | wc -l)" -gt 1 ]; then
    # All at once: those on a machine that has died would keep the others waiting.
    ready=$(for address in $every; do { ! is_ready "$address" || echo "$address"; } & done; wait)
    ready=$(echo "$ready" | sort)
  fi
  # None of several is ready: whoever is asked can at least say why.
  echo "${ready:-$every}"
}

# Seconds that no clock sets back.
now() { read -r up _ </proc/uptime; echo "${up%.*}"; }

is_settled() { [ -n "$1" ] || [ "$(now)" -ge "$patient_until" ]; }

block() {
  echo "upstream gateway {"
  # Whoever is signed in is known to one gateway alone: nginx.conf says who is kept at which.
  [ "$(echo "$1" | wc -l)" -eq 1 ] || echo "    hash \$gateway_choice consistent;"
  for address in $1; do
    # Never counted out: it is the gateway that knows what is wrong.
    echo "    server $address:$port max_fails=0;"
  done
  # A name without an address: answered with 503 at once.
  [ -n "$1" ] || echo "    server 127.0.0.1:1 down;"
  echo "    keepalive 64;"
  echo "}"
  echo "map '' \$is_settled { default $2; }"
}

# In one step, so that nginx never reads half of it. With && since -e has no force where the outcome is asked for.
write() { block "$1" "$2" >"$target.new" && mv "$target.new" "$target"; }

follow() {
  known=$1
  settled=$2
  misses=0
  while sleep "$look_every_s" || sleep 1; do
    found=$(addresses || true)
    if [ -n "$found" ]; then misses=0; else misses=$((misses + 1)); fi
    [ -n "$found" ] || [ "$misses" -ge "$misses_believed" ] || continue
    will_be=$settled
    ! is_settled "$found" || will_be=1
    # What fails is tried again at the next look.
    if [ "$found $will_be" != "$known $settled" ] && write "$found" "$will_be" && nginx -s reload; then
      known=$found
      settled=$will_be
    fi
  done
}

if [ "$name" = "$GATEWAY_ADDRESS" ] || [ -z "$name" ] || ! is_number "$port"; then
  echo "GATEWAY_ADDRESS must be a name and a port, like gateway:8000, not '$GATEWAY_ADDRESS'" >&2
  exit 1
fi
patient_until=$(($(now) + patience_s))
found=$(addresses || true)
settled=0
! is_settled "$found" || settled=1
write "$found" "$settled"
follow "$found" "$settled" &
