# Short verbs. `make` alone lists them.
PYTHON ?= python3
PORT ?= 8000
DATA ?=
TEST ?=
OPTIONS ?=
N ?= 1200000
OUT ?= var/customers.csv
SEED ?= 0
BENCH_SECONDS ?= 8
ONLY ?=

VENV := .venv
BIN := $(VENV)/bin
RUN_LOCKS := gateway/requirements.lock churn-service/requirements.lock clv-service/requirements.lock
# The lock of a Dask cluster holds what training and scoring files need.
DEV_LOCKS := deploy/dask/requirements.lock tests/requirements.lock
DEV_PACKAGES := training deploy/score
RUN_PACKAGES := shared gateway churn-service clv-service
# Third party by hash first, ours without their dependencies after: our names are never looked up anywhere.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help run install test check format train data bench load openapi readme lock clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.run ## start everything as local processes: the page and the API at http://localhost:8000 (PORT=)
	@MAKE_PID=$$PPID PORT=$(PORT) exec $(BIN)/python deploy/local/run.py

install: $(VENV)/.dev ## make .venv with all that development needs

test: $(VENV)/.dev ## all set-up and all tests
	@tests/run.sh

check: $(VENV)/.dev ## format, lint, types, import rules, shell scripts, Dockerfiles, secrets
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@if command -v shellcheck >/dev/null; then shellcheck -x deploy/*.sh deploy/ec2/*.sh deploy/swarm/*.sh frontend/nginx/entrypoint/*.sh tests/*.sh .ci/run; \
	else echo "shellcheck is not installed: apt-get install shellcheck"; test "$(CI)" != true; fi
	$(BIN)/hadolint */Dockerfile
	@# Keys and tokens by their form; asks nobody whether they work. Entropy and names alone cry at every hash of a model.
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify --disable-plugin HexHighEntropyString \
	  --disable-plugin Base64HighEntropyString --disable-plugin KeywordDetector

format: $(VENV)/.dev ## let the formatter and the linter mend what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(VENV)/.dev ## train both models: DATA= a CSV, openml or synthetic (TEST= a CSV of further rows to report on, OPTIONS= more of the command line)
	@test -n "$(DATA)" || { echo "say which data: make train DATA=customers.csv (or openml, or synthetic)"; exit 2; }
	$(BIN)/python -m telelink_training train --data "$(DATA)" $(if $(TEST),--test "$(TEST)") $(OPTIONS)

data: $(VENV)/.dev ## made-up customers for trials: N= how many, OUT= a CSV file or NAME.parquet, SEED= for others
	@mkdir -p "$(dir $(OUT))"
	$(BIN)/python -m telelink_training population --rows "$(N)" --output "$(OUT)" --seed "$(SEED)"

bench: $(VENV)/.dev ## measure against an endpoint that does nothing; BENCH_SECONDS= for each run, ONLY= a part of it
	@PYTHONPATH=tests $(BIN)/python -m bench.run --seconds $(BENCH_SECONDS) $(ONLY:%=--only %)

load: $(VENV)/.dev ## five times what can be answered, for half a minute; LOAD_SECONDS= for another time
	$(BIN)/python -m pytest tests/load -s

openapi: $(VENV)/.dev ## write the OpenAPI documents that the tests compare with, after a wanted change
	$(BIN)/python tests/write_openapi.py

readme: $(VENV)/.dev ## write today's replies, figures and picture into README.md, after a wanted change
	$(BIN)/python tests/write_readme.py

lock: ## compile the lock files anew (needs uv)
	deploy/lock.sh

clean: ## remove what the other verbs made
	rm -rf $(VENV) var test-artifacts

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "Python 3.11 or newer is needed; set PYTHON= to one"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(RUN_LOCKS) $(RUN_PACKAGES:%=%/pyproject.toml) | $(VENV)/bin/python
	@echo "installing what the services need into $(VENV)"
	@$(PIP) install --require-hashes $(RUN_LOCKS:%=-r %)
	@$(PIP) install --no-deps --no-build-isolation $(RUN_PACKAGES:%=-e ./%)
	@touch $@

$(VENV)/.dev: $(DEV_LOCKS) $(DEV_PACKAGES:%=%/pyproject.toml) $(VENV)/.run
	@echo "installing what training and tests need into $(VENV)"
	@$(PIP) install --require-hashes $(DEV_LOCKS:%=-r %)
	@$(PIP) install --no-deps --no-build-isolation $(DEV_PACKAGES:%=-e ./%)
	@touch $@
