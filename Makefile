# `make run` serves this checkout on http://127.0.0.1:8000, `make test` tests it; `make help` tells the rest.
# Both need Python 3.11 or later, and install what else they need into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test test-all check format bench bench-inflight bench-limiter schema screenshots lock install-run install-dev

VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := map_project tools agents executions ratelimit
# The first of these that is new enough makes the environment; or say which: make run PYTHON=...
PYTHON ?= python3 python3.12 python3.11 python3.13 python3.14

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

run: install-run ## serve on HOST and PORT (127.0.0.1, 8000), with PostgreSQL and Redis of its own
	@exec $(BIN)/python manage.py up --follow-parent $$PPID

test: install-dev ## the tests but the slow ones, with branch coverage
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -m "not slow"
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report

test-all: install-dev ## all tests, with branch coverage
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report

check: install-dev ## format, lint, types, import layers, migrations, the OpenAPI document
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check
	@$(BIN)/python manage.py spectacular --format openapi-json --validate --fail-on-warn \
		--file .openapi.json && status=0 || status=1; \
	[ $$status = 1 ] || diff -u docs/openapi.json .openapi.json || status=1; \
	rm -f .openapi.json; \
	[ $$status = 0 ] || echo "docs/openapi.json is not what the code says: make schema" >&2; \
	exit $$status

format: install-dev ## format the code, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install-run ## measure the platform beside a FastAPI peer, in minutes (ARGS="--only run"; needs wrk)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-inflight: install-run ## measure a thousand runs that wait for a slow model at once, in a minute
	@$(BIN)/python -m benchmarks.inflight $(ARGS)

bench-limiter: install-dev ## measure the limiter beside others on one Redis, in two minutes
	@$(call install,bench)
	@$(BIN)/python -m benchmarks.limiter $(ARGS)

schema: install-dev ## write docs/openapi.json anew
	$(BIN)/python manage.py spectacular --format openapi-json --validate --fail-on-warn --file docs/openapi.json

screenshots: install-dev ## make the pictures of the desk in docs/ anew (needs a Chromium)
	@$(BIN)/python -m tests.browser.screenshots

# dev.txt holds all of run.txt, in the same versions: an environment made for the tests serves as well.
lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml $(COMPILE) --extra embedded --extra openai --extra dev -o requirements/dev.txt
	uv pip compile pyproject.toml $(COMPILE) --extra embedded --extra openai -c requirements/dev.txt -o requirements/run.txt
	uv pip compile pyproject.toml $(COMPILE) --extra openai -c requirements/dev.txt -o requirements/base.txt
	uv pip compile pyproject.toml $(COMPILE) --extra bench -c requirements/dev.txt -o requirements/bench.txt
COMPILE := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header

# What is installed is kept beside it as a copy of its lock; where that has not changed, there is nothing to do.
install-run:
	@cmp -s requirements/dev.txt $(VENV)/dev.txt && $(BIN)/python -c '' || $(call install,run)

install-dev:
	@$(call install,dev)

define install
{ cmp -s requirements/$(1).txt $(VENV)/$(1).txt && $(BIN)/python -c ''; } || { \
	if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		for python in $(PYTHON); do \
			$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
		done || { echo "Python 3.11 or later is needed, and none of these is: $(PYTHON)." >&2; exit 1; }; \
		$$python -c 'import venv, ensurepip' 2>/dev/null || { \
			echo "$$python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }; \
		echo "Making $(VENV) with $$($$python --version) ..."; \
		$$python -m venv --clear $(VENV) || exit 1; \
	fi; \
	echo "Installing requirements/$(1).txt into $(VENV) ..."; \
	$(BIN)/python -m pip install --disable-pip-version-check --no-input \
		--only-binary :all: --no-deps --require-hashes -r requirements/$(1).txt || exit 1; \
	cp requirements/$(1).txt $(VENV)/$(1).txt; }
endef
