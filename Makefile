# make reproduce   set up .venv from the lock, then run a study (default: config.yaml)
# make smoke       the same study in small, on made-up images, in minutes
# make test        set up .venv, then run the tests
# make test-all    the long ones too: studies in small, kill tests
# make test-slurm  the workflow on a real SLURM on this host
STUDY   ?= config.yaml
PROFILE ?= profiles/default
PYTHON  ?= python3
BIN     := .venv/bin
# Where a smoke lives: the name of the study without its ending, which may have spaces.
SMOKE   := results/smoke/$(basename $(shell basename "$(STUDY)"))

.PHONY: reproduce smoke test test-all test-slurm check benchmark ui reference schema lock clean

reproduce: .venv/ready
	$(BIN)/snakemake --workflow-profile "$(PROFILE)" --config study="$(STUDY)"

# A study's whole configuration on made-up images and random networks, in minutes: does all of it work?
smoke: .venv/ready
	$(BIN)/lookalike make-smoke "$(STUDY)" "$(SMOKE)"
	$(BIN)/snakemake --directory "$(SMOKE)" --config study=study.yaml

PYTEST  := $(BIN)/pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: .venv/ready
	$(PYTEST)

# The studies in small and the long kill tests too.
test-all: .venv/ready
	$(PYTEST) -m "not slurm"

# Brings up a SLURM of its own on this host and takes it down; needs root and apt-get.
test-slurm: .venv/ready
	$(BIN)/pytest -q -m slurm tests/slurm

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/lint-imports --no-logo
	$(BIN)/lookalike check

benchmark: .venv/ready
	$(BIN)/python benchmarks/nw_head.py
	$(BIN)/python benchmarks/memory_wrap.py
	$(BIN)/python benchmarks/visual_correspondence.py
	$(BIN)/python benchmarks/protoflow.py
	$(BIN)/python benchmarks/large_index.py
	$(BIN)/lookalike data fetch fashion_mnist
	$(BIN)/lookalike data prepare fashion_mnist
	$(BIN)/python benchmarks/input_pipeline.py

# The tracking page, on this machine only.
ui: .venv/ready
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --host 127.0.0.1 --port 5000 \
	    --backend-store-uri sqlite:///$(CURDIR)/results/tracking/mlflow.db

# What the documentation takes from the declarations: tables of keys, backbones, stages, files.
reference: .venv/ready
	$(BIN)/lookalike reference docs

schema: .venv/ready
	$(BIN)/lookalike schema > workflow/schemas/study.schema.json

# Needs uv; names no registry host.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --no-annotate --all-extras pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One file marks a whole environment: an interrupted install starts anew. pip would compile on one core; where Python may
# not write bytecode later, each start would compile all that it imports again. Some files of packages are no Python.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "lookalike needs Python 3.11 or newer; call make PYTHON=/path/to/python3.11"; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null 2>&1 || true
	touch .venv/ready
