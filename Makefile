# Two commands on a fresh machine: `make demo` and `make test`. Each installs only when something changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check picture bench clean

demo: $(VENV)/.run  ## audit the built-in demo on the default model; ends by naming the report
	$(BIN)/spillover audit demo --out runs/demo

test: $(VENV)/.dev  ## all tests, on up to four cores
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

check: $(VENV)/.dev  ## style, types, and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

picture: $(VENV)/.dev  ## docs/rooms.svg, from the imports as they are
	$(BIN)/python -m docs.draw_rooms

bench: $(VENV)/.bench  ## both sides of every comparison, in one run
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) runs

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) --editable '.[dev,bench]'
	touch $@ $(VENV)/.run $(VENV)/.dev
