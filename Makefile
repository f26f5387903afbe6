# make run: set up, run the pipeline, say what came out.   make test: set up, lint, types, import rules, tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.8
ENV := .venv
READY := $(ENV)/.ready

export PATH := $(CURDIR)/$(ENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(ENV)
# Nothing of ours calls home.
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export ORT_DISABLE_TELEMETRY := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run smoke test test-all lint lock setup clean

run: $(READY)
	@dvc repro
	@sightline summary

smoke: $(READY)
	@dvc exp run -S experiment=smoke
	@sightline summary

test: $(READY) lint
	@pytest -m "not slow and not gpu and not network"

test-all: $(READY) lint
	@pytest -m "not gpu and not network"

lint: $(READY)
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports

setup: $(READY)

$(READY): requirements/pipeline.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; v == (3, 11) or sys.exit(f"Python {v[0]}.{v[1]}, expected 3.11: make PYTHON=/path/to/python3.11")'
	@test -x $(ENV)/bin/python || "$(PYTHON)" -m venv $(ENV)
	@$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "installing the locked environment (about 6 GB)"
	@uv pip sync --quiet --require-hashes --compile-bytecode requirements/pipeline.txt
	@uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Locks with hashes and without addresses.
LOCK := uv pip compile --quiet --generate-hashes --no-annotate --python-version 3.11 --python-platform x86_64-manylinux_2_28 --custom-compile-command "make lock"
lock: $(READY)
	@$(LOCK) pyproject.toml --extra pipeline --extra yolo --extra tensorboard --extra wandb --extra dev -o requirements/pipeline.txt
	@for engine in onnxruntime onnxruntime-gpu openvino; do \
		$(LOCK) pyproject.toml --extra serve --extra $$engine -c requirements/pipeline.txt -o requirements/serve-$$engine.txt; done

clean:
	@rm -rf work reports models dist data/raw data/tables data/dataset
