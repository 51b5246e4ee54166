# The project's commands. `make help` lists them.
#
# Needed beforehand: make, bash, a Python from 3.11 on with its venv module, and a package registry that pip can reach.
# Everything is installed into .venv, from the hash-pinned locks; a second run with the same locks installs nothing.
#
#   make demo ARGUMENTS="--port 8000"        options for the command itself
#   make test ARGUMENTS="tests/billing -x"
#   make test PYTHON=/opt/python3.12/bin/python3   a Python of your choice (looked at only when .venv is made)

SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

venv := .venv
bin := $(venv)/bin

# An installation is known by the files that decided it. One for development has all that one for running has.
fingerprint = $(shell cat $(1) setup.cfg pyproject.toml | cksum | tr ' ' '-')
installed_for_running := $(venv)/installed-for-running-$(call fingerprint,requirements.lock)
installed_for_development := $(venv)/installed-for-development-$(call fingerprint,requirements-dev.lock)
installed := $(or $(wildcard $(installed_for_development)),$(installed_for_running))

.PHONY: help install drivers demo test check lint bench bench-ledger bench-scale exam reference mutants lock dashboard programs

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name does; do \
		printf '  make %-13s %s\n' "$$name" "$$does"; done

install: $(installed) ## find-token and what it needs to run, into .venv
	@echo "Installed. Start with: $(bin)/find-token --help"

drivers: $(installed) ## what books in PostgreSQL and limits in Redis need, into .venv, too
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		--requirement requirements-image.lock

demo: $(installed) ## the gateway with six simulated providers, an account and a key; Ctrl-C ends it
	@$(bin)/find-token demo $(ARGUMENTS)

# Most tests wait for something, so two at a time take little more than half as long. A file stays with one process.
in_parallel := -n 2 --dist loadfile

test: $(installed_for_development) programs ## the tests
	@$(bin)/python -m pytest $(or $(ARGUMENTS),$(in_parallel))

programs: $(installed_for_development) ## install what tests drive and has no wheel (as root, with apt-get): Prometheus, HAProxy, nginx, curl
	@$(bin)/python -m tests.fakes.programs

check: lint test ## everything that must hold before a change lands: lint, then test

lint: $(installed_for_development) ## form, style, types, import floors
	@$(bin)/ruff format --check .
	@$(bin)/ruff check .
	@$(bin)/mypy
	@$(bin)/lint-imports

dashboard: $(installed_for_development) ## write deploy/grafana.json from deploy/dashboard.py
	@$(bin)/python deploy/dashboard.py

bench: $(installed_for_development) ## what a request costs in CPU time, beside a direct call and a bare passthrough
	@$(bin)/python bench/passthrough/run.py $(ARGUMENTS)

bench-ledger: $(installed_for_development) ## hold and settlement: pairs per second and CPU per pair, on SQLite and PostgreSQL
	@$(bin)/python -m bench.ledger.run $(ARGUMENTS)

bench-scale: $(installed_for_development) ## calls per second and CPU per call, by workers and by nodes
	@$(bin)/python -m bench.scale.run $(ARGUMENTS)

exam: $(installed_for_development) programs ## the tests with long campaigns of generated examples; takes its time
	@FIND_TOKEN_EXAM=1 $(bin)/python -m pytest --timeout=0 $(ARGUMENTS)

reference: $(installed_for_development) ## write the settings into docs/configuration.md and deploy/find-token.toml
	@$(bin)/python -c 'from pathlib import Path; from proxy.reference import write_reference; write_reference(Path())'

mutants: $(installed_for_development) ## mistakes put into the code that counts money, one at a time: which ones do the tests find?
	@nice -n 19 $(bin)/python -m tests.mutation.functions $(ARGUMENTS)
	@nice -n 19 $(bin)/python -m tests.mutation.planting

lock: $(installed_for_development) ## write the locks anew from setup.cfg (UPGRADE=--upgrade for newer versions)
	@$(compile) --extra build --output-file requirements.lock
	@$(compile) --extra build --extra dev --output-file requirements-dev.lock
	@$(compile) --extra build --extra postgres --extra redis --constraint requirements.lock --output-file requirements-image.lock

compile = $(bin)/uv pip compile setup.cfg --quiet --generate-hashes --no-header --universal --python-version 3.11 $(UPGRADE)

# Nothing is installed that has no hash in a lock: packages come as wheels, because building one would fetch its build
# tools without a hash; and the project itself is built with the setuptools of the lock (--no-build-isolation).
define install_from
	@$(bin)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(venv) holds a Python older than 3.11. Remove the folder and run make again." >&2; exit 1; }
	@echo "Installing $(1) into $(venv): half a minute or so, once."
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		--requirement $(1)
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(installed_for_running): | $(bin)/python
	$(call install_from,requirements.lock)

$(installed_for_development): | $(bin)/python
	$(call install_from,requirements-dev.lock)

$(bin)/python:
	@for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 python3 python; do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(venv) with $$python."; "$$python" -m venv $(venv); exit; \
		fi; \
	done; \
	echo "find-token needs Python 3.11 or newer with its venv module, and none was found." >&2; \
	echo "Install one (on Debian and Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1
