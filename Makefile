# Each target does its own set-up: `make demo` and `make test` are all that a fresh machine needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
GPU_BIN := .venv-gpu/bin
export HF_HUB_OFFLINE := 1
export VLLM_NO_USAGE_STATS := 1
export VLLM_HOST_IP := 127.0.0.1

.PHONY: help setup setup-gpu controlplane helm otelcol prometheus operator-image images demo cluster charts test check lint types bench bench-limits simulate validate bench-gpu record-gpu check-gpu audit lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/.installed  ## install the pinned stack into .venv (downloads once, then cached)

.venv/.installed: requirements/cpu.lock requirements/bootstrap.lock pyproject.toml
	@tools/check-system
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r requirements/bootstrap.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r requirements/cpu.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup-gpu: .venv-gpu/.installed  ## the same with stock vLLM for CUDA, into .venv-gpu

.venv-gpu/.installed: requirements/gpu.lock requirements/bootstrap.lock pyproject.toml
	@command -v nvidia-smi >/dev/null || { echo "no NVIDIA GPU here: nvidia-smi is missing" >&2; exit 1; }
	@test -x $(GPU_BIN)/python || $(PYTHON) -m venv .venv-gpu
	@test -x $(GPU_BIN)/uv || $(GPU_BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r requirements/bootstrap.lock
	$(GPU_BIN)/uv pip install --python $(GPU_BIN)/python --no-deps --require-hashes -r requirements/gpu.lock
	$(GPU_BIN)/uv pip install --python $(GPU_BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

controlplane:  ## etcd and Kubernetes' binaries for tests and `make cluster` (built once, then cached)
	@tools/controlplane/build

helm:  ## Helm 3 and 4 for tests and `make charts` (built once, then cached)
	@tools/controlplane/build-helm

otelcol:  ## an OpenTelemetry Collector for tests (built once, then cached)
	@tools/controlplane/build-otelcol

prometheus:  ## prometheus and promtool for tests and `make charts` (Debian's, unpacked once, then cached)
	@tools/monitoring/prometheus

operator-image: setup  ## the operator's image for tests, without a container engine (needs root)
	@$(BIN)/python tools/images/build

ENGINE ?= docker
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
images:  ## both images by `docker build`, or by ENGINE=podman or buildah; see docs/images.md
	for each in operator runtime; do \
		$(ENGINE) build --target $$each --tag superinfer/$$each:$(VERSION) --build-arg VERSION=$(VERSION) \
			--build-arg REVISION=$$(git rev-parse HEAD) $(BUILD_FLAGS) . || exit 1; \
	done

cluster: setup controlplane  ## the operator on a real Kubernetes API server, pods as processes (needs root)
	PYTHONPATH=tests/testbed $(BIN)/python tools/cluster/demo.py --output out/cluster.json

charts: setup controlplane helm prometheus  ## install, upgrade, roll back and uninstall by Helm, under load, on the same (needs root)
	PYTHONPATH=tests/testbed:tools/cluster:tools/monitoring $(BIN)/python tools/charts/run.py --output out/charts.json

demo: setup  ## the main job: stock vLLM against RotaSched on this CPU, budgets resized by telemetry
	$(BIN)/python -m superinfer_runtime.demo --output out/demo.json

test: setup controlplane helm otelcol prometheus operator-image lint types  ## everything that CI runs
	@tools/check-system chromium
	$(BIN)/pytest -n 2

check: setup lint types  ## the loop to work in: all but what imports vLLM or starts servers
	$(BIN)/pytest -n 2 -q -m "not e2e and not cluster and not slow" --ignore tests/engine --ignore tests/telemetry/test_telemetry_stat_logger.py

lint: setup  ## ruff, import layers and the Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile

types: setup  ## mypy, strict
	$(BIN)/mypy

bench: setup controlplane  ## decision time, scheduler step beside stock vLLM's, ledger, CPU rotation, operator with 200 services
	PYTHONPATH=tests/testbed $(BIN)/python tools/bench/run.py --output out/bench.json

bench-limits: setup  ## 10,000 telemetry series at the operator, 1,000 clients at a runtime
	PYTHONPATH=tests/testbed $(BIN)/python tools/bench/limits.py --output out/bench-limits.json

simulate: setup  ## on virtual time: the paper's grid, highest rates, stock vLLM side by side, sensitivity; into out/simulate.*
	$(BIN)/python tools/simulate/run.py --output out/simulate.json

validate: setup  ## simulated runs against real ones on this CPU, and against figures of an H200
	$(BIN)/python tools/validate/run.py --output out/validate.json

bench-gpu: setup-gpu  ## KV rotation on this machine's GPU beside plain copies, and what decoding loses by it
	$(GPU_BIN)/python tools/bench/gpu/run.py --output out/bench-gpu.json

record-gpu: setup-gpu  ## bench and parity of two GPUs, recorded in benchmarks/results
	$(GPU_BIN)/python tools/bench/gpu/record.py

check-gpu: setup-gpu  ## parity, leaks, faults and live resizes on this machine's GPU
	$(GPU_BIN)/python tests/gpu/gpu_checks.py --json out/check-gpu.json

audit: setup .venv-audit/.installed  ## pins, hashes, closure, licences; known vulnerabilities where a service answers
	$(BIN)/python tools/audit/run.py --pip-audit .venv-audit/bin/pip-audit --output out/audit.json

.venv-audit/.installed: requirements/audit.lock .venv/.installed
	$(BIN)/uv venv --quiet --clear .venv-audit
	$(BIN)/uv pip install --python .venv-audit/bin/python --quiet --no-deps --require-hashes -r requirements/audit.lock
	@touch $@

lock: setup  ## remake requirements/*.lock from their *.in
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate requirements/gpu.in -o requirements/gpu.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --override requirements/overrides.txt --generate-hashes \
		--no-emit-index-url --no-header --no-annotate requirements/cpu.in -o requirements/cpu.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate requirements/audit.in -o requirements/audit.lock
	for name in operator image; do \
		$(BIN)/uv pip compile --quiet --python-version 3.11 --constraint requirements/cpu.lock --generate-hashes \
			--no-emit-index-url --no-header --no-annotate requirements/$$name.in -o requirements/$$name.lock || exit 1; \
	done
	awk '/^uv==/{on=1} on{print; if ($$0 !~ /\\$$/) exit}' requirements/cpu.lock > requirements/bootstrap.lock

clean:  ## remove what was made here; the download cache stays
	rm -rf .venv .venv-gpu .venv-audit out .mypy_cache .pytest_cache .ruff_cache .hypothesis
