# SPDX-License-Identifier: GPL-2.0-or-later
# A newcomer needs two of these: `make demo` and `make test`. Both set up everything first.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
PAIRKEEP := $(VENV)/bin/pairkeep
# What Debian must have installed; everything else lives below .venv and build.
HOST_PACKAGES := python3 python3-venv mmdebstrap debian-archive-keyring uidmap util-linux ca-certificates curl
RUNS ?= 10
SEEDS ?= 5000
JOBS ?= $(shell nproc)

.PHONY: help setup wizard-screens check unit sim mutants lint demo test vm-test image bench-failover bench-build bench-image bench-idle repeat clean faults

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENV)/.ready ## install what is needed; leaves the command at .venv/bin/pairkeep

$(VENV)/.ready: pyproject.toml Makefile
	@need=; for tool in python3 mmdebstrap newuidmap nsenter curl; do \
	    command -v $$tool >/dev/null || PATH=$$PATH:/usr/sbin:/sbin command -v $$tool >/dev/null || need="$$need $$tool"; done; \
	python3 -c 'import ensurepip, venv' 2>/dev/null || need="$$need python3-venv"; \
	if [ -n "$$need" ]; then \
	    echo "setup: missing on this machine:$$need"; \
	    if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; else \
	        echo "setup: please run: sudo apt-get install $(HOST_PACKAGES)" >&2; exit 2; fi; \
	    $$as apt-get -qq update && \
	    $$as env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $(HOST_PACKAGES); \
	fi
	@echo "setup: installing the Python packages into $(VENV)"
	@[ -x $(PYTHON) ] || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

check: setup lint unit ## the quick part: lint, types, unit tests, simulation; under 3 minutes

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --explicit-package-bases tests
	$(VENV)/bin/mypy vm-tests

unit: setup
	$(PYTHON) -m pytest -q tests

sim: setup ## simulated clusters that try to break the rules: make sim SEEDS=5000
	$(PAIRKEEP) sim --seeds $(SEEDS) --jobs $(JOBS)

mutants: setup ## break the decisions on purpose; each defect has to be noticed
	$(PAIRKEEP) mutants --jobs $(JOBS)

image: setup ## build the images of the demo
	$(PAIRKEEP) image build database
	$(PAIRKEEP) image build witness

demo: setup ## two machines and a witness, a database, a power cut: no acknowledged row is lost
	$(PAIRKEEP) demo

vm-test: setup
	$(PYTHON) -m pytest -v --durations=5 -m 'not long' vm-tests

test: check vm-test ## what is quick, then the scenarios in real machines: under 40 minutes on two cores without KVM

test-all: check ## as test, with the scenarios that take longest
	$(PYTHON) -m pytest -v --durations=5 vm-tests

faults: setup ## every fault at several moments, on machines that fence each other: more than an hour without KVM
	$(PAIRKEEP) lab faults --fenced

repeat: setup ## the power cut again and again: make repeat RUNS=10
	$(PAIRKEEP) lab repeat power-cut $(RUNS)

wizard-screens: setup ## draw the pictures of the wizard anew, those of the tests and of the README
	$(PYTHON) -m tests.wizard_screens

bench-failover: setup ## takeover time against a hand-written script, side by side
	$(PAIRKEEP) bench failover --runs $(RUNS)

bench-build: setup ## image builds: cold, and after an edit
	$(PAIRKEEP) bench build

bench-image: setup ## image builds against mkosi's and mmdebstrap's by hand: time and size
	$(PAIRKEEP) bench image

bench-idle: setup ## what the supervisor costs while nothing happens
	$(PAIRKEEP) bench idle

clean: ## remove what was built (asks nothing, keeps .venv)
	-[ ! -x $(PAIRKEEP) ] || $(PAIRKEEP) lab down --all
	rm -rf build
