# shellcheck shell=bash
# What both scripts share. Sourced, never run.

# A line for each argument.
say() { printf '%s\n' "$@"; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Two runs at once would undo each other's work. The scripts' own folder is locked: a file in /tmp that one user made
# could not be opened by another. The lock goes with the process that holds it.
hold_lock() {
  exec 9<"$1"
  flock --nonblock 9 || die "another run is under way; wait for it to end"
}
