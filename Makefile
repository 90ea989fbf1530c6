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
STAMP_LLAMAINDEX := .venv-llamaindex/.setup
STAMP_OPENWEBUI := .venv-openwebui/.setup
STAMP_ROUTER := .venv-router/.setup
STAMP_RAY := .venv/.setup-ray-$(VARIANT)
STAMP_NODE := tests/e2e/node/node_modules/.package-lock.json
STAMP_BROWSER := tests/e2e/node/browser/chromium
FORMATTED := store server preference adapters lab bench tests integrations

ifeq ($(filter $(VARIANT),cpu gpu),)
$(error VARIANT must be cpu or gpu, not "$(VARIANT)")
endif

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run demo test test-openwebui test-router test-ray image test-image lint format lab-train lab-eval bench-gateway bench-embedding bench-recall bench-recipes bench-rates bench-training bench-adapters bench-crash bench-console bench-capacity bench-scale bench-fuzz console-screenshots profile-gateway lock clean

help: ## Show this help
	@echo "Usage: make TARGET [ARGS=\"...\"]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with everything the server needs

setup-dev: $(STAMP_DEV) $(STAMP_LITELLM) $(STAMP_LLAMAINDEX) $(STAMP_NODE) $(STAMP_BROWSER) ## The same, with the test tools and the clients that tests try

run: $(STAMP) ## Serve the assistant (ARGS="--port 8080")
	$(BIN)/attune serve $(ARGS)

demo: $(STAMP) ## Play one user through edits, preferences and an adapter; writes out/demo.json (ARGS="--seeds 10")
	$(BIN)/attune demo $(ARGS)

test: lint setup-dev ## Lint, type-check, check the import contracts, run all tests (ARGS="-k name")
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses=auto --maxprocesses=4 --no-loadscope-reorder)

image: ## Build the container without a daemon, as root, and report its layers and parts (deploy/image/build.sh)
	COMMIT=$$(git rev-parse HEAD) deploy/image/build.sh

test-image: $(STAMP_DEV) ## Run that container: it answers, keeps its data, stops in time, on a read-only root
	$(BIN)/python -m pytest tests/e2e/image.py -s $(ARGS)

test-router: $(STAMP_DEV) $(STAMP_ROUTER) ## Try two real vLLMs behind vllm-router; it takes minutes
	$(BIN)/python -m pytest tests/e2e/router.py $(ARGS)

test-ray: $(STAMP_DEV) $(STAMP_RAY) ## Try trainings on a Ray cluster of two nodes; it takes minutes
	$(BIN)/python -m pytest tests/adapters/training/on_ray.py $(ARGS)

test-openwebui: $(STAMP_DEV) $(STAMP_OPENWEBUI) ## Try the real Open WebUI in front of a real server; it takes gigabytes, so `make test` leaves it out
	$(BIN)/python -m pytest tests/e2e/openwebui.py $(ARGS)

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

bench-gateway: $(STAMP) $(STAMP_LITELLM) $(STAMP_ROUTER) ## Measure what Attune adds to an engine, beside LiteLLM and vllm-router (ARGS="--quick")
	$(BIN)/attune models fetch smollm2-135m
	$(BIN)/python -m bench.gateway --json out/bench-gateway.json $(ARGS)

bench-embedding: $(STAMP) ## Measure what a new text's embedding costs on one core
	$(BIN)/python -m bench.embedding --json out/bench-embedding.json $(ARGS)

bench-recall: $(STAMP) ## Measure recall at a million rows, beside a shared index (ARGS="--quick")
	$(BIN)/python -m bench.recall --json out/bench-recall.json $(ARGS)

bench-recipes: $(STAMP) ## Measure what each recipe costs to train and gains (ARGS="--quick")
	$(BIN)/python -m bench.recipes --json out/bench-recipes.json $(ARGS)

bench-rates: $(STAMP) ## Measure which learning rate, epochs and rank suit a real model (ARGS="--model smollm2-135m")
	$(BIN)/python -m bench.rates --json out/bench-rates.json $(ARGS)

bench-training: $(STAMP) ## Measure training many adapters at once (ARGS="--quick")
	$(BIN)/python -m bench.training --json out/bench-training.json $(ARGS)

bench-adapters: $(STAMP) ## Measure many users on adapters of their own, and swaps under load (ARGS="--quick")
	$(BIN)/python -m bench.adapters --json out/bench-adapters.json $(ARGS)

bench-crash: $(STAMP_DEV) ## Kill the server 500 times on each store and count what that costs (ARGS="--kills 50")
	$(BIN)/python -m bench.crash --json out/bench-crash.json $(ARGS)

bench-console: $(STAMP_DEV) $(STAMP_BROWSER) ## Measure the console's first paint, interactivity and bytes in Chromium
	$(BIN)/python -m bench.console --json out/bench-console.json $(ARGS)

console-screenshots: $(STAMP_DEV) $(STAMP_BROWSER) ## Make the pictures of docs/console.md, with a real server (ARGS="--url URL")
	$(BIN)/python -m tests.e2e.screenshots $(ARGS)

bench-fuzz: $(STAMP_DEV) ## Try every route with many more generated requests (ARGS="--max-examples 1000")
	$(BIN)/python -m tests.server.fuzz --max-examples 500 $(ARGS)

profile-gateway: $(STAMP_DEV) ## Show where a request's time goes (ARGS="personalised --stream")
	$(BIN)/python -m bench.profile_gateway $(ARGS)

bench-scale: $(STAMP_DEV) $(STAMP_ROUTER) ## Kill engines behind a router and servers on one database, and count what that costs (ARGS="--quick")
	$(BIN)/python -m bench.scale --json out/bench-scale.json $(ARGS)

bench-capacity: $(STAMP) ## Measure who finds their adapter loaded, beside the simulation that says it for more users
	$(BIN)/python -m bench.capacity --json out/bench-capacity.json $(ARGS)

lock: $(STAMP_DEV) ## Pin requirements/*.in again, with hashes (ARGS="--upgrade" for newer versions)
	$(call compile,lock-cpu,attune.in lab.in vllm.in,--no-emit-package=torch --no-emit-package=triton)
	$(call compile,engine-cpu,engine-cpu.in,--no-deps)
	$(call compile,torch-cuda,torch-cuda.in,--constraint=lock-cpu.txt)
	$(call compile,lock-gpu,gpu.in)
	$(call compile,lock-dev,dev.in,--constraint=lock-cpu.txt)
	$(call compile,lock-ray,ray.in,--constraint=lock-cpu.txt)
	$(call compile,lock-router,router.in)
	$(call compile,lock-litellm,litellm.in)
	$(call compile,lock-llamaindex,llamaindex.in)
	$(call compile,lock-openwebui,openwebui.in,--no-emit-package=torch --no-emit-package=triton)

clean: ## Remove caches and build outputs, not .venv or data
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find $(wildcard $(FORMATTED)) -name __pycache__ -type d -prune -exec rm -rf {} +

# Each package comes from the default index alone, and each of its files is named by its hash, for every platform.
# The one exception is the CPU build of torch, which vllm.in asks for: UV_FIND_LINKS names a folder or page that has it.
# Triton's only use is on a GPU; without one vLLM switches it off, so the CPU lock leaves out its gigabyte.
compile = cd requirements && ../$(BIN)/uv pip compile --quiet --generate-hashes --strip-extras --annotation-style=line \
	--python-version=3.11 --custom-compile-command="make lock" $3 $(ARGS) --output-file=$1.txt $2

# Locks are complete, so nothing is resolved (--no-deps), and nothing comes whose hash is not in them: whichever index it
# came from. TORCH_INDEX is asked for torch's CPU build alone; without that build, the CUDA build has its own lock.
TORCH_INDEX ?=
LOCKED := --no-deps --require-hashes
CPU_LOCKS := $(addprefix requirements/,lock-cpu.txt engine-cpu.txt torch-cpu.txt torch-cuda.txt)

.venv/.setup-cpu: pyproject.toml $(CPU_LOCKS)
	$(call venv)
	$(PIP) install $(LOCKED) -r requirements/lock-cpu.txt -r requirements/engine-cpu.txt
	$(PIP) install $(LOCKED) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r requirements/torch-cpu.txt \
		|| { echo "Without torch's CPU build (see TORCH_INDEX), the larger CUDA build is taken."; \
			$(PIP) install $(LOCKED) -r requirements/torch-cuda.txt; }
	$(call project)

.venv/.setup-gpu: pyproject.toml requirements/lock-gpu.txt
	$(call venv)
	$(PIP) install $(LOCKED) -r requirements/lock-gpu.txt
	$(call project)

$(STAMP_DEV): $(STAMP) requirements/lock-dev.txt
	$(PIP) install $(LOCKED) -r requirements/lock-dev.txt
	@touch $@

$(STAMP_RAY): $(STAMP) requirements/lock-ray.txt
	$(PIP) install $(LOCKED) -r requirements/lock-ray.txt
	@touch $@

# A newer FastAPI than vLLM's.
$(STAMP_ROUTER): requirements/lock-router.txt
	$(PYTHON) -m venv .venv-router
	.venv-router/bin/python -m pip --disable-pip-version-check --quiet install $(LOCKED) -r requirements/lock-router.txt
	@touch $@

# LiteLLM's pins are its own: they would not fit beside vLLM's.
$(STAMP_LITELLM): requirements/lock-litellm.txt
	$(PYTHON) -m venv .venv-litellm
	.venv-litellm/bin/python -m pip --disable-pip-version-check --quiet install $(LOCKED) -r requirements/lock-litellm.txt
	@touch $@

# SQLAlchemy and others are older or newer there than here.
$(STAMP_LLAMAINDEX): requirements/lock-llamaindex.txt
	$(PYTHON) -m venv .venv-llamaindex
	.venv-llamaindex/bin/python -m pip --disable-pip-version-check --quiet install $(LOCKED) -r requirements/lock-llamaindex.txt
	@touch $@

# The version of torch that we have fits, and its CPU build needs no libraries of CUDA's.
$(STAMP_OPENWEBUI): requirements/lock-openwebui.txt requirements/torch-cpu.txt
	$(PYTHON) -m venv .venv-openwebui
	.venv-openwebui/bin/python -m pip --disable-pip-version-check --quiet install $(LOCKED) -r requirements/lock-openwebui.txt
	.venv-openwebui/bin/python -m pip --disable-pip-version-check --quiet install $(LOCKED) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r requirements/torch-cpu.txt \
		|| .venv-openwebui/bin/python -m pip --disable-pip-version-check --quiet install $(LOCKED) -r requirements/torch-cuda.txt
	@touch $@

# Node itself comes from PyPI, with the test tools.
$(STAMP_NODE): $(STAMP_DEV) tests/e2e/node/package-lock.json
	cd tests/e2e/node && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --loglevel=error
	@touch $@

# Chromium comes packed in an npm package; its own scripts would unpack it elsewhere.
$(STAMP_BROWSER): $(STAMP_NODE) tests/e2e/node/browser.mjs
	cd tests/e2e/node && PATH="$(CURDIR)/$(BIN):$$PATH" node browser.mjs
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
