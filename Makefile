# Sparkyard: `make help` lists what can be done. Every target does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv/bin
PORT ?= 8000
PYTEST := $(VENV)/pytest
# Four share two cores well, as some always wait; what stays together and what comes first is said in tests/conftest.py and tests/support/by_file.py.
SIDE_BY_SIDE := -n 4 --dist loadfile --no-loadscope-reorder
# Two files of the cluster's tests at once: its drivers and hubs are on the same two cores.
ON_CLUSTER := -n 2 --dist loadfile --timeout 900
# `make test` tries what failed once more and names it (docs/decisions/0029-tried-once-more.md).
ONCE_MORE := --durations 15 --reruns 1 --reruns-delay 2 --rerun-show-tracebacks -rfER

.PHONY: help setup up down test check lint types imports unit contract local cluster-up cluster-down cluster-test images bench docs lock clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Install everything that `make up` needs
	@scripts/setup up

up: setup ## Start Sparkyard on this machine (PORT=8000, DETACH=1 returns when ready)
	@exec $(VENV)/sparkyard-standalone up --port $(PORT) $(if $(DETACH),--detach)

down: ## Stop what `make up DETACH=1` started
	@if [ -x $(VENV)/sparkyard-standalone ]; then exec $(VENV)/sparkyard-standalone down; else echo "nothing is installed here, so nothing runs"; fi

setup-test:
	@scripts/setup test

test: setup-test ## Everything: lint, types, imports, unit, contract, the stories in a real browser, here and on a real Kubernetes
	@$(MAKE) --no-print-directory lint types imports
	@# What the cluster needs is built with what the tests leave over, mostly while they wait; then it is there, or said why not.
	@PYTHONPATH=tests setsid nice -n 19 $(VENV)/python -m support.cluster prepare </dev/null >.sparkyard/prepare.log 2>&1 & building=$$!; \
	trap 'kill -- -$$building 2>/dev/null || true' EXIT; \
	(set -x; $(PYTEST) $(SIDE_BY_SIDE) $(ONCE_MORE) tests/unit tests/contract tests/local); \
	wait $$building || true
	@PYTHONPATH=tests $(VENV)/python -m support.cluster prepare
	$(PYTEST) $(ON_CLUSTER) $(ONCE_MORE) tests/cluster

check: setup-test ## The quick part of the tests: lint, types, imports, unit, contract
	@$(MAKE) --no-print-directory lint types imports
	$(PYTEST) $(SIDE_BY_SIDE) tests/unit tests/contract

lint: setup-test
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/python scripts/tidy.py

types: setup-test
	$(VENV)/mypy catalog/src spawner/src hub/src sparkmagic_config/src gateway/src

imports: setup-test
	$(VENV)/lint-imports

unit: setup-test ## Unit tests alone
	$(PYTEST) $(SIDE_BY_SIDE) tests/unit

contract: setup-test ## The Livy contract and its clients
	$(PYTEST) $(SIDE_BY_SIDE) tests/contract

local: setup-test ## The stories on this machine: real hub, real Spark, real Chromium
	$(PYTEST) tests/local

cluster-up: setup-test ## Start a real Kubernetes on this machine for the tests (root; docs/cluster.md)
	@PYTHONPATH=tests $(VENV)/python -m support.cluster up

cluster-down: setup-test ## Stop it (FORGET=1 removes its images and logs too)
	@PYTHONPATH=tests $(VENV)/python -m support.cluster $(if $(FORGET),forget,down)

images: setup-test ## Build the images on Debian's packages (IMAGES="hub spark-3.5"), load them where the cluster is up
	@PYTHONPATH=tests $(VENV)/python -m support.cluster images $(IMAGES)

cluster-test: setup-test ## The tests on that Kubernetes
	@PYTHONPATH=tests $(VENV)/python -m support.cluster prepare
	$(PYTEST) $(ON_CLUSTER) tests/cluster

bench: setup-test ## Speed and memory, as ratios measured in one run
	PYTHONPATH=tests $(VENV)/python -m load.bench

docs: setup-test ## Take the screenshots that the documentation shows, from a running Sparkyard
	PYTHONPATH=tests $(VENV)/python -m support.screenshots

lock: setup ## Resolve the dependencies anew
	scripts/lock $(LOCK)

clean: ## Remove the virtual environment and caches; users' notebooks in .sparkyard stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
