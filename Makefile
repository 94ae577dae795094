# `make run` serves this checkout on http://127.0.0.1:8000, `make test` tests it; `make help` lists all targets.
# They require Python 3.11 or later, and install dependencies into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run stop reset test test-all check format bench bench-inflight bench-limiter bench-jobs bench-streams bench-prune chaos schema screenshots \
	lock install-run install-dev

VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := map_project tools agents executions ratelimit
# The first of these that is 3.11 or later creates the environment. To choose one: make run PYTHON=...
PYTHON ?= python3 python3.12 python3.11 python3.13 python3.14

# Variables of the shell that lead pip to another place, or Python to other packages.
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN PIP_REQUIREMENT PIP_EDITABLE PIP_CONSTRAINT
unexport PIP_PLATFORM PIP_PYTHON_VERSION PIP_IMPLEMENTATION PIP_ABI PIP_IGNORE_INSTALLED
unexport PYTHONHOME PYTHONPATH PYTHONUSERBASE PYTHONSAFEPATH PYTHONPLATLIBDIR

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

run: install-run ## serve on HOST and PORT (127.0.0.1, 8000), with embedded PostgreSQL and Redis
	@exec $(BIN)/python manage.py up --follow-parent $$PPID

stop: install-run ## stop `make run` of this checkout, and its PostgreSQL and Redis
	@$(BIN)/python manage.py stop

reset: install-run ## delete the data of this checkout's PostgreSQL and Redis (ARGS=--noinput: without a question)
	@$(BIN)/python manage.py reset $(ARGS)

# A process for each core, each with its own PostgreSQL and Redis. The tests start hundreds of processes, each of
# which would compile the code if none could keep the result.
RUN := env -u PYTHONDONTWRITEBYTECODE
PYTEST := -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: install-dev ## run the tests except the slow ones, with branch coverage
	@rm -f .coverage .coverage.*
	$(RUN) $(BIN)/coverage run $(PYTEST) -m "not slow"
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report

# The slow tests start most of the processes, in which measuring the coverage costs half of the time.
test-all: test ## run the slow tests as well, without coverage
	$(RUN) $(BIN)/python $(PYTEST) -m slow

check: install-dev ## check format, lint, types, import layers, migrations and the OpenAPI document
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check
	@$(BIN)/python manage.py spectacular --format openapi-json --validate --fail-on-warn \
		--file .openapi.json && status=0 || status=1; \
	[ $$status = 1 ] || diff -u docs/openapi.json .openapi.json || status=1; \
	rm -f .openapi.json; \
	[ $$status = 0 ] || echo "docs/openapi.json is out of date: run make schema" >&2; \
	exit $$status

format: install-dev ## format the code and fix lint issues
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install-run ## compare the platform with a FastAPI application, in minutes (ARGS="--only run"; needs wrk)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-inflight: install-run ## measure 1,000 concurrent runs with a slow model, in a minute
	@$(BIN)/python -m benchmarks.inflight $(ARGS)

bench-jobs: install-run ## measure background runs beside empty jobs of procrastinate, in two minutes
	@$(BIN)/python -m benchmarks.jobs $(ARGS)

bench-streams: install-run ## measure 2,000 open streams, and streams beside LiteLLM, in five minutes
	@$(BIN)/python -m benchmarks.streams $(ARGS)

bench-prune: install-run ## measure prune_history of 1,000,000 executions beside requests, in four minutes
	@$(BIN)/python -m benchmarks.prune $(ARGS)

bench-limiter: install-dev ## compare the limiter with others on one Redis, in two minutes
	@$(call install,bench)
	@$(BIN)/python -m benchmarks.limiter $(ARGS)

chaos: install-dev ## kill and restart all processes at 200 random moments under load, in about ten minutes
	@$(BIN)/python -m tests.faults $(ARGS)

schema: install-dev ## regenerate docs/openapi.json
	$(BIN)/python manage.py spectacular --format openapi-json --validate --fail-on-warn --file docs/openapi.json

screenshots: install-dev ## regenerate the screenshots in docs/ (needs Chromium)
	@$(BIN)/python -m tests.browser.screenshots

# dev.txt contains all of run.txt in the same versions, so an environment for the tests can also serve.
lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml $(COMPILE) --extra embedded --extra anthropic --extra openai --extra otel --extra dev -o requirements/dev.txt
	uv pip compile pyproject.toml $(COMPILE) --extra embedded --extra anthropic --extra openai -c requirements/dev.txt -o requirements/run.txt
	uv pip compile pyproject.toml $(COMPILE) --extra anthropic --extra openai -c requirements/dev.txt -o requirements/base.txt
	uv pip compile pyproject.toml $(COMPILE) --extra bench -c requirements/dev.txt -o requirements/bench.txt
	uv pip compile requirements/clients.in $(COMPILE) -o requirements/clients.txt
COMPILE := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header

install-run:
	@$(call install,run)

install-dev:
	@$(call install,dev)

install = sh requirements/install.sh $(VENV) $(1) $(PYTHON)
