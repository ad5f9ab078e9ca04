#!/usr/bin/env bash
# Compiles each folder's lock files from its pyproject.toml: exact versions with hashes, no index addresses.
# Needs uv. With names of packages as arguments, only these are upgraded; without, what is locked stays.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() { # compile OUTPUT SOURCE...
  local output=$1
  shift
  # hatchling builds our own packages after the locked ones are installed, without isolation.
  printf 'hatchling\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-emit-package telelink-shared \
    --no-emit-package telelink-churn --no-emit-package telelink-clv --no-annotate --no-header \
    "${upgrades[@]}" --output-file "$output" "$@" -
  printf 'compiled %s\n' "$output"
}

upgrades=()
for name in "$@"; do upgrades+=(--upgrade-package "$name"); done

for folder in gateway churn-service clv-service training; do
  compile "$folder/requirements.lock" "$folder/pyproject.toml"
done
# A pipeline is unpickled by the versions that pickled it.
for folder in churn-service clv-service; do
  compile "$folder/requirements-sklearn.lock" --extra sklearn --constraint training/requirements.lock \
    "$folder/pyproject.toml"
done
compile tests/requirements.lock tests/requirements.in
# Scoring files, by itself; and a Dask cluster, which trains and scores: by the versions that the others have.
compile deploy/score/requirements.lock --constraint gateway/requirements.lock --constraint training/requirements.lock \
  deploy/score/pyproject.toml
compile deploy/dask/requirements.lock --extra dask --constraint gateway/requirements.lock \
  --constraint training/requirements.lock --constraint tests/requirements.lock \
  deploy/score/pyproject.toml training/pyproject.toml
