# Two commands on a fresh machine: `make demo` and `make test`. Each installs only when something changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check style types rooms site picture bench clean

demo: $(VENV)/.run  ## audit the built-in demo on the default model; ends by naming the report
	$(BIN)/spillover audit demo --out runs/demo

test: $(VENV)/.dev  ## all tests, on up to four cores
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

check: style types rooms site  ## style, types, which room imports which, and the docs; --jobs 2 does two at once

style: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/pyright

rooms: $(VENV)/.dev
	$(BIN)/lint-imports

site: $(VENV)/.dev  ## the docs as a site, in site/; a warning is an error, and its examples are run
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

picture: $(VENV)/.dev  ## docs/rooms.svg, from the imports as they are
	$(BIN)/python -m docs.draw_rooms

bench: $(VENV)/.bench  ## both sides of every comparison, in one run
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) runs site

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) --editable '.[dev,docs]'
	touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) --editable '.[dev,docs,bench]'
	touch $@ $(VENV)/.run $(VENV)/.dev
