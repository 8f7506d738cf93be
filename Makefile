# Everything a person runs. Bare `make` lists it. PYTHON=python3.12 chooses an interpreter, ARGS="..." passes arguments on.

PYTHON ?= python3
ARGS ?=
SEEDS ?= 10
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
TESTS := $(VENV)/.tests-installed
SOURCES := manage.py orchestrator_project journal risk decisions reflection
UV := $(BIN)/uv
# A cache on another file system cannot be linked to: say so once here instead of on every run.
export UV_LINK_MODE ?= copy

.DEFAULT_GOAL := help
.PHONY: help install run shell test test-unit test-integration test-e2e lint format types contracts migrations audit mutation chaos bench deployment backup restore prove lock clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(RUNTIME) ## Prepare .venv with the pinned requirements, nothing more

run: $(RUNTIME) ## Start everything: servers, migrations, market, venue, workers, web; Ctrl-C ends it
	@$(BIN)/python manage.py runstack --end-with-parent $(ARGS)

shell: $(RUNTIME) ## A Python shell with the models at hand
	@$(BIN)/python manage.py shell $(ARGS)

test: $(TESTS) ## The whole suite on its own private servers, two files at a time (ARGS="-k name" narrows it)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-unit: $(TESTS) ## Pure tests only: no servers, a few seconds
	@$(BIN)/python -m pytest tests/unit $(ARGS)

test-integration: $(TESTS) ## Tests on real Postgres and Valkey
	@$(BIN)/python -m pytest tests/integration $(ARGS)

test-e2e: $(TESTS) ## Tests that run the whole stack
	@$(BIN)/python -m pytest tests/e2e $(ARGS)

lint: $(TESTS) ## Style and common mistakes (ruff), formatting included
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(TESTS) ## Format the sources
	@$(BIN)/ruff format .

types: $(TESTS) ## Types (mypy; strict for the pure modules)
	@$(BIN)/mypy $(SOURCES)

contracts: $(TESTS) ## Import contracts: layers, and pure modules free of frameworks
	@$(BIN)/lint-imports

migrations: $(TESTS) ## Fail when the models have changes without a migration
	@$(BIN)/python manage.py makemigrations --check --dry-run

audit: $(TESTS) ## Ask a vulnerability service about every pinned package; what it could not be asked is told loudly
	@$(BIN)/python tests/audit.py $(ARGS)

mutation: $(TESTS) ## Change the risk gate line by line: its tests must notice every change (ARGS="risk.gate.x_leverage*" narrows it)
	@$(BIN)/python tests/mutation.py $(ARGS)

chaos: $(TESTS) ## The stack under every kind of fault, a line a run (SEEDS=200; ARGS="--seed 7 --verbose" looks at one)
	@$(BIN)/python -m tests.chaos --seeds $(SEEDS) --end-with-parent $(ARGS)

bench: $(TESTS) ## Print the measurements of tests/bench
	@set -e; for bench in $$(grep -l __main__ tests/bench/*.py); do echo "== $$bench"; $(BIN)/python $$bench $(ARGS); done

deployment: $(TESTS) ## Check the deployment files: by tests, and by docker compose, systemd and promtool where they are installed
	@$(BIN)/python -m pytest tests/unit/orchestrator_project/test_compose.py tests/unit/orchestrator_project/test_deploy.py $(ARGS)
	@if docker compose version >/dev/null 2>&1; then \
		POSTGRES_PASSWORD=x FLOWER_BASIC_AUTH=a:b docker compose --env-file /dev/null config --quiet && echo "docker compose: good"; \
		else echo "docker compose: not installed"; fi
	@if command -v promtool >/dev/null; then promtool check rules docs/deploy/prometheus/alerts.yml; else echo "promtool: not installed"; fi
	@if command -v systemd-analyze >/dev/null; then \
		for unit in docs/deploy/systemd/*.service; do \
			said=$$(systemd-analyze verify "$$unit" 2>&1 | grep -e "Unknown" -e "Invalid" -e "Failed to parse" -e "Missing" || true); \
			if [ -n "$$said" ]; then echo "$$said"; exit 1; fi; done; echo "systemd-analyze: good"; \
		else echo "systemd-analyze: not installed"; fi

backup: $(RUNTIME) ## The whole record into a file: make backup FILE=backups/one.dump
	@$(BIN)/python manage.py backup $(FILE)

restore: $(RUNTIME) ## A backup into an empty database: make restore FILE=backups/one.dump LOCAL_DIR=a-new-folder
	@$(BIN)/python manage.py restore $(FILE)

prove: $(TESTS) ## The long runs: books that balance and repeat, a reckless week, 20,000 steps of an account (about an hour)
	@$(BIN)/python -m pytest tests -m prove $(ARGS)

lock: $(TESTS) ## Renew requirements.txt and tests/requirements.txt from pyproject.toml
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --upgrade --quiet -o requirements.txt
	$(UV) pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --constraint requirements.txt --quiet -o tests/requirements.txt

clean: ## Remove .venv and caches; the data in .local stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.local/*' -prune -exec rm -rf {} +

$(UV): .ci/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo 'Python 3.11 or newer is needed, and `$(PYTHON)` is not that: make PYTHON=python3.12 ... names another.' >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo 'This Python has no venv. On Debian and Ubuntu: apt install python3-venv' >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .ci/uv.txt
	@touch $(UV)

$(RUNTIME): requirements.txt | $(UV)
	@$(UV) pip install --quiet --no-build --python $(BIN)/python --require-hashes -r requirements.txt
	@touch $(RUNTIME)

$(TESTS): tests/requirements.txt $(RUNTIME)
	@$(UV) pip install --quiet --no-build --python $(BIN)/python --require-hashes -r tests/requirements.txt
	@touch $(TESTS)
