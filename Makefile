# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: help setup demo test check proto up images bench clean faults faults-long fuzz soak panels

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(VENV)/.installed: requirements.txt requirements-dev.txt constraints.txt $(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
	@command -v $(PYTHON) > /dev/null || { echo "Dragoman needs Python 3.11 or newer: install it, or say which with PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

setup: $(VENV)/.installed  ## create .venv with everything

demo: setup  ## real text and a real model to a scorecard, on this machine
	$(BIN)/dragoman demo

up: setup  ## start the whole stack on this machine; Ctrl-C stops it
	$(BIN)/dragoman up

# The longest first. Three at a time on two cores, since those that watch real processes mostly wait.
test: setup  ## all tests, against real servers
	$(PYTEST) tests/e2e tests/faults tests/integration tests/unit tests/deploy -n 3 --no-loadscope-reorder -m "not full"

faults: setup  ## the fault tests alone, with their output
	$(PYTEST) tests/faults tests/integration/test_trainer_service.py -v -s

INPUTS ?= 10000

fuzz: setup  ## requests, ids, manifests and files that nobody would send; INPUTS=10000 of each
	FUZZ_INPUTS=$(INPUTS) $(PYTEST) tests/integration/test_fuzz.py tests/unit/test_fuzz_files.py -v --timeout 3600

RUNS ?= 50
JOBS ?= 10000

faults-long: setup  ## jobs of every kind under random kills: a table of what was lost; RUNS=50
	$(BIN)/python -m tests.faults.rough_runs --runs $(RUNS)

soak: setup  ## small jobs from 50 clients, some cancelled, while servers are killed; JOBS=10000
	$(BIN)/python benchmarks/jobs.py --jobs $(JOBS) --restarts $$(( $(JOBS) / 50 )) --cancels 0.1

PROMETHEUS ?= http://127.0.0.1:9090

panels: setup  ## ask a Prometheus for every panel of the dashboards; PROMETHEUS=http://127.0.0.1:9090
	$(BIN)/python scripts/panels.py --prometheus $(PROMETHEUS)

check: setup  ## style, types, contract, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/buf lint protos
	$(BIN)/buf format -d --exit-code protos
	scripts/check_stubs.sh
	$(BIN)/python scripts/check_layers.py

proto: setup  ## generate the stubs from protos/
	scripts/proto.sh

DOCKER ?= docker
REGISTRY ?=
TAG ?= dev
TORCH_INDEX ?=

images:  ## build the four images; DOCKER=podman REGISTRY=registry/team/ TAG=0.1.0 TORCH_INDEX=.../whl/cu128 for GPUs
	@for service in activation sae-trainer explainer scorer; do \
	  $(DOCKER) build -f services/$$service/Dockerfile -t $(REGISTRY)dragoman-$$service:$(TAG) \
	    $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) . || exit 1; done

bench: setup  ## every benchmark; the last line of each is one JSON object
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:  ## remove the virtual environment and caches (never ~/.dragoman)
	rm -rf $(VENV) .pytest_cache .ruff_cache
