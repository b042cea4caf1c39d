# Everything a person does with this project: make demo, test, check, protos, deploy-check, clean.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .work/data
PROTOS := $(wildcard protos/longmemory/v1/*.proto)
export LONGMEMORY_DATA := $(DATA)
export HF_HUB_OFFLINE := 1

.PHONY: setup demo test test-long test-fast check protos bench deploy-check clean

$(VENV)/.installed: deploy/requirements.lock pyproject.toml engine/wheels.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r deploy/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

setup: $(VENV)/.installed  ## virtual environment, pinned dependencies, models, one-time conversion
	$(BIN)/longmemory setup --data $(DATA)

demo: setup  ## the whole job once, as a table
	$(BIN)/python -m evaluation.demo --data $(DATA) --json .work/demo.json

test: setup  ## the whole suite
	$(BIN)/python -m pytest

test-long: setup  ## the tests that take minutes each: several servers and workers, live metrics
	$(BIN)/python -m pytest -m long

test-fast: $(VENV)/.installed  ## without the wheel model and without processes
	$(BIN)/python -m pytest -m "not wheel and not process and not long"

check: $(VENV)/.installed  ## lint, types, proto lint, drift of generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint protos
	$(BIN)/python -m pytest tests/protos tests/test_layers.py

deploy-check: $(VENV)/.installed  ## the tests of deploy/, then the cpu image built and run; root on a Debian
	$(BIN)/python -m pytest tests/deploy
	tests/deploy/image.sh

bench: setup  ## one benchmark: make bench NAME=retrieval QUESTIONS=FOLDER
	$(BIN)/python -m benchmarks.$(NAME) --data $(DATA) $(if $(QUESTIONS),--questions $(QUESTIONS))

protos: $(VENV)/.installed  ## generate code from protos/longmemory/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -I protos -I protos/third_party \
		--python_out=protos --pyi_out=protos --grpc_python_out=protos $(PROTOS)

clean:  ## what was built; models and registered corpora in .work too
	rm -rf $(VENV) .work build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
