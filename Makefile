# Everything a person does with this project: make demo, test, check, protos, deploy-check, clean.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .work/data
PROTOS := $(wildcard protos/longmemory/v1/*.proto)
export LONGMEMORY_DATA := $(DATA)
export HF_HUB_OFFLINE := 1

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: setup demo test test-long test-fast check lock protos bench deploy-check clean

# Packages with their hashes first, torch last: see deploy/torch.lock.
$(VENV)/.installed: deploy/requirements.lock deploy/torch.lock pyproject.toml engine/wheels.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile --no-deps --require-hashes -r deploy/requirements.lock
	$(PIP) --no-compile -r deploy/torch.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

setup: $(VENV)/.installed  ## virtual environment, pinned dependencies, models, one-time conversion
	$(BIN)/longmemory setup --data $(DATA)

demo: setup  ## the whole job once, as a table
	$(BIN)/python -m evaluation.demo --data $(DATA) --json .work/demo.json

test: setup  ## the whole suite
	$(BIN)/python -m pytest

test-long: setup  ## the tests that take minutes each: several servers and workers, live metrics
	$(BIN)/python -m pytest -m long

test-fast: setup  ## without the wheel model and without processes
	$(BIN)/python -m pytest -m "not wheel and not process and not long"

check: $(VENV)/.installed  ## lint, types, proto lint, drift of generated code, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint protos
	$(BIN)/python -m pytest tests/protos tests/test_layers.py
	$(BIN)/python deploy/audit.py deploy/*.lock engine/wheels.lock

deploy-check: $(VENV)/.installed  ## the tests of deploy/, then the cpu image built and run; root on a Debian
	$(BIN)/python -m pytest tests/deploy
	tests/deploy/image.sh

bench: setup  ## one benchmark: make bench NAME=retrieval QUESTIONS=FOLDER
	$(BIN)/python -m benchmarks.$(NAME) --data $(DATA) $(if $(QUESTIONS),--questions $(QUESTIONS))

protos: $(VENV)/.installed  ## generate code from protos/longmemory/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -I protos -I protos/third_party \
		--python_out=protos --pyi_out=protos --grpc_python_out=protos $(PROTOS)

# What torch needs on a machine with CUDA follows from its build (see deploy/torch.lock); the last two are for
# systems that nothing runs on.
APART := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti \
	nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand \
	nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
	nvidia-nvshmem-cu13 nvidia-nvtx colorama httpx2-jsfetch
COMPILE := uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" -c deploy/torch.lock $(APART:%=--no-emit-package %)

lock:  ## what pyproject.toml asks for, pinned with hashes; needs uv; delete a line first to let it rise
	$(COMPILE) --extra cpu --extra http --extra otel --extra evaluate --extra dev -o deploy/requirements.lock
	$(COMPILE) --extra cpu -c deploy/requirements.lock -o deploy/cpu.lock
	$(COMPILE) --extra gpu -c deploy/requirements.lock -o deploy/gpu.lock

clean:  ## what was built; models and registered corpora in .work too
	rm -rf $(VENV) .work build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
