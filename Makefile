# Every command runs in .venv, which the first one builds from the pinned requirements and later ones leave alone.
# VARIANT=cpu or gpu picks the engine; without it, what .venv was built for, else gpu where nvidia-smi finds one.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BUILT_FOR := $(patsubst .venv/.setup-%,%,$(wildcard .venv/.setup-?pu))
VARIANT ?= $(or $(firstword $(BUILT_FOR)),$(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu))
STAMP := .venv/.setup-$(VARIANT)
STAMP_DEV := .venv/.setup-dev-$(VARIANT)
STAMP_LITELLM := .venv-litellm/.setup
STAMP_NODE := tests/e2e/node/node_modules/.package-lock.json
FORMATTED := server preference adapters lab bench tests

ifeq ($(filter $(VARIANT),cpu gpu),)
$(error VARIANT must be cpu or gpu, not "$(VARIANT)")
endif

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run demo test lint format lab-train lab-eval bench-gateway bench-recall bench-recipes bench-training bench-adapters bench-crash bench-fuzz profile-gateway lock clean

help: ## Show this help
	@echo "Usage: make TARGET [ARGS=\"...\"]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with everything the server needs

setup-dev: $(STAMP_DEV) $(STAMP_LITELLM) $(STAMP_NODE) ## The same, with the test tools and the clients that tests try

run: $(STAMP) ## Serve the assistant (ARGS="--port 8080")
	$(BIN)/attune serve $(ARGS)

demo: $(STAMP) ## Play one user through edits, preferences and an adapter; writes out/demo.json
	$(BIN)/attune demo $(ARGS)

test: lint setup-dev ## Lint, type-check, check the import contracts, run all tests (ARGS="-k name")
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses=auto --maxprocesses=4 --no-loadscope-reorder)

lint: $(STAMP_DEV) ## The checks that run nothing: ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP_DEV) ## Format the code and sort its imports
	$(BIN)/ruff check --fix-only --exit-zero --quiet .
	$(BIN)/ruff format .

lab-train: $(STAMP) ## Train the bundled model from its recipe
	$(BIN)/attune lab train $(ARGS)

lab-eval: $(STAMP) ## Measure the bundled model (ARGS="--json FILE")
	$(BIN)/attune lab eval $(ARGS)

bench-gateway: $(STAMP) $(STAMP_LITELLM) ## Measure what Attune adds to an engine, beside LiteLLM (ARGS="--quick")
	$(BIN)/python -m bench.gateway --json out/bench-gateway.json $(ARGS)

bench-recall: $(STAMP) ## Measure recall at a million rows, beside a shared index (ARGS="--quick")
	$(BIN)/python -m bench.recall --json out/bench-recall.json $(ARGS)

bench-recipes: $(STAMP) ## Measure what each recipe costs to train and gains (ARGS="--quick")
	$(BIN)/python -m bench.recipes --json out/bench-recipes.json $(ARGS)

bench-training: $(STAMP) ## Measure training many adapters at once (ARGS="--quick")
	$(BIN)/python -m bench.training --json out/bench-training.json $(ARGS)

bench-adapters: $(STAMP) ## Measure many users on adapters of their own, and swaps under load (ARGS="--quick")
	$(BIN)/python -m bench.adapters --json out/bench-adapters.json $(ARGS)

bench-crash: $(STAMP_DEV) ## Kill the server 500 times on each store and count what that costs (ARGS="--kills 50")
	$(BIN)/python -m bench.crash --json out/bench-crash.json $(ARGS)

bench-fuzz: $(STAMP_DEV) ## Try every route with many more generated requests (ARGS="--max-examples 1000")
	$(BIN)/python -m tests.server.fuzz --max-examples 500 $(ARGS)

profile-gateway: $(STAMP_DEV) ## Show where a request's time goes (ARGS="personalised --stream")
	$(BIN)/python -m bench.profile_gateway $(ARGS)

lock: $(STAMP_DEV) ## Pin requirements/*.in again (ARGS="--upgrade" for newer versions)
	$(call compile,cpu,attune.in vllm.in,--unsafe-package=torch --unsafe-package=triton)
	$(call compile,gpu,gpu.in,--allow-unsafe)
	$(call compile,dev,dev.in,--allow-unsafe --constraint=lock-cpu.txt)
	$(call compile,litellm,litellm.in,--allow-unsafe)

clean: ## Remove caches and build outputs, not .venv or data
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find $(wildcard $(FORMATTED)) -name __pycache__ -type d -prune -exec rm -rf {} +

# Triton's only use is on a GPU; without one vLLM switches it off, so the CPU lock leaves out its gigabyte.
compile = cd requirements && CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/pip-compile --quiet --strip-extras \
	--no-emit-options --annotation-style=line $3 $(ARGS) --output-file=lock-$1.txt $2

# Locks are complete, so nothing is resolved (--no-deps). Only torch is: its CUDA build needs libraries that its CPU build does not.
.venv/.setup-cpu: pyproject.toml requirements/lock-cpu.txt requirements/engine-cpu.txt
	$(call venv)
	$(PIP) install --no-deps -r requirements/lock-cpu.txt -r requirements/engine-cpu.txt
	$(PIP) install -c requirements/lock-cpu.txt -c requirements/engine-cpu.txt torch
	$(call project)

.venv/.setup-gpu: pyproject.toml requirements/lock-gpu.txt
	$(call venv)
	$(PIP) install --no-deps -r requirements/lock-gpu.txt
	$(call project)

$(STAMP_DEV): $(STAMP) requirements/lock-dev.txt
	$(PIP) install --no-deps -r requirements/lock-dev.txt
	@touch $@

# LiteLLM's pins are its own: they would not fit beside vLLM's.
$(STAMP_LITELLM): requirements/lock-litellm.txt
	$(PYTHON) -m venv .venv-litellm
	.venv-litellm/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r requirements/lock-litellm.txt
	@touch $@

# Node itself comes from PyPI, with the test tools.
$(STAMP_NODE): $(STAMP_DEV) tests/e2e/node/package-lock.json
	cd tests/e2e/node && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --loglevel=error
	@touch $@

define venv
@echo "Setting up .venv for the $(VARIANT) engine; the first time this takes a few minutes."
@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Attune needs Python 3.11 or newer: make setup PYTHON=python3.11")'
$(PYTHON) -m venv .venv$(if $(filter-out $(VARIANT),$(BUILT_FOR)), --clear)
endef

define project
$(PIP) install --no-deps --no-build-isolation -e .
@touch $@
endef
