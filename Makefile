# Every target sets up what it needs; `make demo` and `make test` work on a fresh clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# uv reads its own variables; where pip has been told of local wheels, tell uv too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Refuse to import packages from the user's site by accident.
export PYTHONNOUSERSITE := 1

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(STAMP): requirements.lock pyproject.toml
	@echo "setting up $(VENV) (a minute on first use, downloads aside)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^uv==' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.PHONY: setup
setup: $(STAMP) ## make the virtual environment

.PHONY: demo
demo: $(STAMP) ## one real night on this machine: smoke suite, report, dashboards
	@$(BIN)/nightbench up
	@$(BIN)/nightbench run suites/smoke.yaml

.PHONY: test
test: $(STAMP) ## the tests that need nothing but this machine
	@$(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: test-servers
test-servers: $(STAMP) ## every server that can run here: conformance, then one sweep over all (20 minutes; first use builds 8 GB)
	@$(BIN)/python -m pytest tests/conformance --remaining
	@$(BIN)/nightbench run suites/servers.yaml --offline
	@$(BIN)/nightbench envs

test-docker: only ?= tests/docker
.PHONY: test-docker
test-docker: $(STAMP) ## servers, the launcher and the compose stack on a real container engine of their own (as root)
	$(call needs,dockerd haproxy psql,docker.io haproxy postgresql postgresql-client)
	@$(BIN)/python -m pytest $(only)

.PHONY: test-e2e
test-e2e: $(STAMP) ## a run started by hand in Prefect's pages, in a real browser (needs chromium)
	$(call needs,chromium,chromium)
	@$(BIN)/python -m pytest tests/e2e/test_trigger.py

.PHONY: test-panels
test-panels: $(STAMP) ## draw every dashboard panel with Grafana's own components in a headless browser (needs node and chromium)
	$(call needs,node npm chromium,nodejs npm chromium)
	@$(BIN)/python -m tests.e2e.panels

.PHONY: test-machines
test-machines: $(STAMP) ## nights on several machines, network namespaces here: workers, one database, faults (10 minutes, as root)
	@test -d /usr/lib/postgresql || apt-get install --quiet=2 --no-install-recommends postgresql iproute2
	@$(BIN)/python -m pytest tests/machines

# Debian packages; without them, or the right to install them, the tables say what is absent. perf_analyzer and Locust
# come by pip into ~/.cache/nightbench/peers.
define needs
	@{ for program in $(1); do command -v $$program || exit 1; done; } >/dev/null 2>&1 || \
		apt-get install --quiet=2 --no-install-recommends $(2) gcc libc6-dev || true
endef

.PHONY: bench-loadgen
bench-loadgen: $(STAMP) ## the load engine beside wrk, h2load, perf_analyzer, Locust and Python clients (5 minutes)
	$(call needs,wrk h2load cc,wrk nghttp2-client)
	@$(BIN)/python -m benchmarks.loadgen

.PHONY: bench-truth
bench-truth: $(STAMP) ## what clients report beside what a packet capture saw (5 minutes, as root)
	$(call needs,wrk tcpdump cc,wrk tcpdump)
	@$(BIN)/python -m benchmarks.truth

.PHONY: bench-precision
bench-precision: $(STAMP) ## the time until p50 and p99 are known, beside perf_analyzer (40 minutes, as root)
	$(call needs,tcpdump cc,tcpdump)
	@$(BIN)/python -m benchmarks.precision

.PHONY: bench-memory
bench-memory: $(STAMP) ## ten million requests in one cell (3 minutes)
	$(call needs,cc,)
	@$(BIN)/python -m benchmarks.memory

.PHONY: bench-statistics
bench-statistics: $(STAMP) ## how often intervals hold and alarms are false, in simulation (10 minutes)
	@$(BIN)/python -m benchmarks.coverage
	@$(BIN)/python -m benchmarks.alarms

.PHONY: bench-judge
bench-judge: $(STAMP) ## false alarms and missed steps of the judge and of other rules, in simulation (an hour; --quick: 10 minutes)
	@$(BIN)/python -m benchmarks.judge

.PHONY: bench-store
bench-store: $(STAMP) ## five years of 2,000 series: dashboards, ingest, history (half an hour, 20 GB of disk; --quick: half a minute)
	@$(BIN)/python -m benchmarks.store

.PHONY: bench-containers
bench-containers: $(STAMP) ## the same server as a process and as a container, in turns (10 minutes, needs a container engine)
	@$(BIN)/python -m benchmarks.containers

.PHONY: story
story: $(STAMP) ## plant a slower server and a slower machine, and watch what the nights make of them (half an hour, as root)
	@$(BIN)/python -m benchmarks.story

.PHONY: check
check: $(STAMP) ## ruff, mypy --strict, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

.PHONY: format
format: $(STAMP) ## rewrite the code in the house style
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

# torch names its CUDA packages by exact version itself. Leaving them out of the lock lets a
# CPU build of torch install without gigabytes of CUDA, and a CUDA build still gets its own.
CUDA_PACKAGES := cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
	nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx triton

# Local wheels carry local versions (+cpu) that no other machine has: the lock is made without them.
.PHONY: lock
lock: ## pin every dependency: requirements.lock and each server's requirements.txt
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	@UV_FIND_LINKS= $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --extra export --extra pipeline --extra dev \
		$(addprefix --no-emit-package ,$(CUDA_PACKAGES)) pyproject.toml -o requirements.lock
	@for folder in servers/*/ export/environments/*/ dashboards/otava/; do \
		test -f $$folder/requirements.in || continue; \
		UV_FIND_LINKS= $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
			--no-emit-index-url --no-emit-find-links \
			$$(test -f $$folder/overrides.txt && echo --override $$folder/overrides.txt) \
			$(addprefix --no-emit-package ,$(CUDA_PACKAGES)) $$folder/requirements.in -o $$folder/requirements.txt; \
	done

.PHONY: clean
clean: ## remove what was built here (not the caches in your home)
	@rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
