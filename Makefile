# Everything runs inside .venv, made on first use from nothing but Python and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests run on one thread each, so two processes of them keep two cores busy.
WORKERS ?= 2

.PHONY: install demo compare-world test test-all check format clean
.DEFAULT_GOAL := test

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## The whole story on the invented world, offline
	$(BIN)/unskew demo --output-dir runs/demo

compare-world: $(STAMP)  ## Every method on the invented world, three seeds; goes on where it stopped
	$(BIN)/unskew reproduce world --output-dir runs/compare-world

check: $(STAMP)  ## Style, types, layers
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pytest tests/architecture

test: check  ## The gate: no network, no GPU, no downloaded weights
	$(BIN)/pytest -m "not slow" --numprocesses=$(WORKERS) --dist=loadfile --durations=15

test-all: check  ## The gate and the slow checks
	$(BIN)/pytest --numprocesses=$(WORKERS) --dist=loadfile --durations=15

format: $(STAMP)
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

clean:
	rm -rf $(VENV) runs
