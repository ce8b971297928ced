# Everything a person types. `make workbook` and `make test` set up what they need themselves.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
PRESET ?= fast
SEED   ?= 0

VENV := .venv
BIN  := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
STRIP := $(BIN)/nbstripout --keep-id --extra-keys "metadata.papermill cell.metadata.papermill metadata.language_info.version"

.PHONY: help setup workbook series studies test check lint format smoke publish lab clean

help:
	@echo "make workbook            set up, train every run and execute every notebook (PRESET, SEED)"
	@echo "make series              the same for stepwise internalization alone (ten minutes)"
	@echo "make studies             the same, and the studies: ablations, depth, mixture, shifts (hours)"
	@echo "make test                set up, run the tests, every notebook at smoke among them"
	@echo "make check               what CI runs: lint, then test"
	@echo "make lab                 set up, open the notebooks in JupyterLab"
	@echo "make publish             write figures/ from finished runs"
	@echo "make format              format code, strip notebook outputs"

# torch goes first and alone: pinned exactly, it can come from a local CPU build.
$(VENV)/.ready: constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python found: install Python 3.11 or newer, or make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.ready

workbook: setup
	$(BIN)/icot workbook --preset $(PRESET) --seed $(SEED)
	@$(BIN)/icot runs

series: setup
	$(BIN)/icot workbook --preset $(PRESET) --seed $(SEED) --series

studies: setup
	$(BIN)/icot workbook --preset $(PRESET) --seed $(SEED) --studies

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(STRIP) --verify $(NOTEBOOKS)

check: lint test

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(STRIP) $(NOTEBOOKS)

smoke: PRESET = smoke
smoke: studies

publish: setup
	$(BIN)/icot publish

lab: setup
	$(BIN)/jupyter lab notebooks

clean:
	rm -rf $(VENV) data/cache .pytest_cache .ruff_cache
