# Two commands need nothing but python3 with venv:
#   make demo    draw a small archive, scan it, show where the results are
#   make test    lint, types and the whole test suite

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test clean

demo: $(VENV)/.scoring
	$(BIN)/batchscan demo

test: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) batchscan-demo

# pip from 25.1 on knows dependency groups; the pip that comes with Python may be older.
$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

$(VENV)/.scoring: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.development: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[train]" --group dev
	touch $@ $(VENV)/.scoring
