# Everything a person types. `make workbook` and `make test` set up what they need themselves.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
PRESET ?= fast
SEED   ?= 0

VENV := .venv
BIN  := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
STRIP := $(BIN)/nbstripout --keep-id --extra-keys "metadata.papermill cell.metadata.papermill metadata.language_info.version"

.PHONY: help setup workbook series studies smoke test check lint types format publish site lab wheel clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch goes first and alone: pinned exactly, it can come from a local CPU build.
$(VENV)/.ready: constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python found: install Python 3.11 or newer, or make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.site: $(VENV)/.ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[site]'
	@touch $@

setup: $(VENV)/.ready ## install everything into .venv

workbook: setup ## train the runs of all notebooks but the studies, and execute these notebooks (PRESET=fast, SEED=0)
	$(BIN)/icot workbook --preset $(PRESET) --seed $(SEED)
	@$(BIN)/icot runs

series: setup ## the same for stepwise internalization and its baselines alone
	$(BIN)/icot workbook --preset $(PRESET) --seed $(SEED) --series

studies: setup ## the workbook, notebooks 09, 10 and 15 to 23, and runs out of distribution (hours)
	$(BIN)/icot study main --preset $(PRESET)
	$(BIN)/icot workbook --preset $(PRESET) --seed $(SEED) --studies

smoke: PRESET = smoke
smoke: studies ## workbook and studies at toy size, to see that everything runs

test: setup ## run every test
	$(BIN)/python -m pytest

check: lint types test ## what CI runs: lint, types, test

lint: setup ## check style, format and that notebooks hold no output
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(STRIP) --verify $(NOTEBOOKS)

types: setup ## check type hints
	$(BIN)/mypy icotlib

format: setup ## format the code and strip the notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(STRIP) $(NOTEBOOKS)

publish: setup ## write figures/ and the pages' tables from finished runs
	$(BIN)/icot publish

site: $(VENV)/.site ## build README, executed notebooks and guide as web pages, in site/
	$(BIN)/icot site --preset $(PRESET) --seed $(SEED)

lab: setup ## open copies of the notebooks in JupyterLab (ARGS="--no-browser" passes options on)
	@$(BIN)/icot lab $(ARGS)

# Setuptools packs everything in build/lib, modules that an earlier version had too.
wheel: setup ## make dist/icotlib-*.whl, to use the notebooks where there is no checkout, as on Colab
	rm -rf build
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist .

clean: ## remove the installation, wheels and caches; runs stay
	rm -rf $(VENV) build dist data/cache .pytest_cache .ruff_cache .mypy_cache
