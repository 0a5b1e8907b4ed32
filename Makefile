# Each target does its own set-up: `make demo` and `make test` are all that a fresh machine needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export HF_HUB_OFFLINE := 1
export VLLM_NO_USAGE_STATS := 1
export VLLM_HOST_IP := 127.0.0.1

.PHONY: help setup demo test check lint types bench lock clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/.installed  ## install the pinned stack into .venv (downloads once, then cached)

.venv/.installed: requirements/cpu.lock requirements/bootstrap.lock pyproject.toml
	@tools/check-system
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r requirements/bootstrap.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r requirements/cpu.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## the main job: stock vLLM against RotaSched on this CPU, budgets resized by telemetry
	$(BIN)/python -m superinfer_runtime.demo --output out/demo.json

test: setup lint types  ## everything that CI runs
	$(BIN)/pytest -n 2 --dist loadgroup

check: setup lint types  ## the loop to work in: all but what imports vLLM or starts servers
	$(BIN)/pytest -n 2 --dist loadgroup -q -m "not e2e" --ignore tests/engine --ignore tests/telemetry/test_telemetry_stat_logger.py

lint: setup  ## ruff and import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

types: setup  ## mypy, strict
	$(BIN)/mypy

bench: setup  ## policy decision time, ledger rate, CPU rotation bandwidth
	$(BIN)/python tools/bench/run.py --output out/bench.json

lock: setup  ## remake requirements/*.lock from cpu.in
	$(BIN)/uv pip compile --quiet --python-version 3.11 --override requirements/overrides.txt --generate-hashes \
		--no-emit-index-url --no-header --no-annotate requirements/cpu.in -o requirements/cpu.lock
	awk '/^uv==/{on=1} on{print; if ($$0 !~ /\\$$/) exit}' requirements/cpu.lock > requirements/bootstrap.lock

clean:  ## remove what was made here; the download cache stays
	rm -rf .venv out .mypy_cache .pytest_cache .ruff_cache .hypothesis
