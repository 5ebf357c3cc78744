# `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
RECENT := import sys; sys.version_info >= (3, 11) or sys.exit("footfall: Python 3.11 or newer is needed; %s is %s." % (sys.executable, sys.version.split()[0]))

.DEFAULT_GOAL := help
.PHONY: always help run demo test test-unit check lint format bench screenshots lighthouse lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

run: .venv/run ## start everything on SQLite files under var/
	@$(BIN)/python -m ops.run

demo: .venv/run ## the same under var/demo/, with an admin and 90 days of sample events
	@$(BIN)/python -m ops.run --home var/demo --demo

test: .venv/dev ## every test; real PostgreSQL, Valkey and Chromium included
	@$(BIN)/python -m ops.test_setup
	@$(BIN)/python -m ops.tools
	@$(PYTEST) -n 2 --dist loadfile

test-unit: .venv/dev ## the quick tests alone
	@$(PYTEST) -n 2 --dist loadfile tests/unit tests/test_architecture.py

check: .venv/dev lint bandit test ## lint, types, import contracts, templates, bandit, tests

lint: .venv/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/djlint --lint --quiet templates chassis/templates

format: .venv/dev ## rewrite the code in the one style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/djlint --reformat --quiet templates chassis/templates || true

bench: .venv/dev ## the benchmarks, side by side with peers, as a table of ratios; WRITE=file to keep it
	@$(BIN)/python -m benchmarks $(if $(WRITE),--write $(WRITE))

screenshots: .venv/dev ## pictures of every page, under var/screenshots/
	@$(BIN)/python -m ops.test_setup
	@$(BIN)/python -m tests.e2e.screenshots

lighthouse: .venv/dev ## accessibility and best practices of every page, by Lighthouse from npm
	@$(BIN)/python -m ops.test_setup
	@$(BIN)/python -m tests.e2e.lighthouse $(PAGES)

lock: .venv/dev ## write the locks from pyproject.toml; UPGRADE=--upgrade takes newer versions
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile $(LOCK) $(APPS) --extra run pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile $(LOCK) --group npm -o ops/requirements-npm.txt
	@$(BIN)/uv pip compile $(LOCK) $(APPS) --extra tracing --extra fast -c requirements.txt pyproject.toml -o requirements-image.txt
	@$(BIN)/uv pip compile $(LOCK) $(APPS) --extra run --extra tracing --extra test --extra bench --extra proof -c requirements.txt pyproject.toml -o requirements-dev.txt
APPS := --extra users --extra analytics --extra dashboard
LOCK := --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

-include ops/ops.mk
-include ops/proof.mk

clean: ## remove the environment; data under var/ stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

.venv/run: requirements.txt .venv/made
	@echo "Installing what Footfall needs into .venv …"
	@$(INSTALL) -r requirements.txt || $(NOT_INSTALLED)
	@touch $@

.venv/dev: requirements-dev.txt .venv/made
	@echo "Installing what Footfall and its tests need into .venv …"
	@$(INSTALL) -r requirements-dev.txt || $(NOT_INSTALLED)
	@touch $@
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
NOT_INSTALLED := { echo "footfall: the packages could not be installed; see above." >&2; exit 1; }

# Made anew when it was left half made, or when its Python has gone or is another one now.
.venv/made: always
	@if ! { test -e $@ && $(BIN)/python -c 'import pip'; } 2>/dev/null; then \
	  $(PYTHON) -c '$(RECENT)' || exit 1; \
	  ! test -L .venv || { echo "footfall: .venv is a link to an environment that can't be used; remove the link to have one made here." >&2; exit 1; }; \
	  $(PYTHON) -m venv --clear .venv || { rm -rf .venv; echo "footfall: $(PYTHON) could not make a virtual environment; Debian has that in python3-venv." >&2; exit 1; }; \
	  touch $@; \
	fi
