# Two commands for a fresh clone: `make demo` and `make test`.
# Both make the environment .venv first, from pinned versions.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench install clean

demo: install  ## train, export, translate, score, report: runs/demo/report.html
	$(BIN)/cyclegan demo

test: install  ## the whole test suite
	$(BIN)/python -m pytest

check: install  ## style, types, layers, package contents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_package.py

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo,dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
