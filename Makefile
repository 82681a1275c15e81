# Two commands need nothing but python3 with venv:
#   make demo    draw a small archive, scan it, show where the results are
#   make test    lint, types and the whole test suite
# and a third that needs 5 GB and more of other systems, and Java 17 for one of them:
#   make bench   batchscan against its peers, see benchmarks/README.md

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test bench clean

demo: $(VENV)/.scoring
	$(BIN)/batchscan demo

test: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# Options for the race: make bench RACE="ARCHIVE --images 2000"
bench: $(VENV)-race/.race
	$(VENV)-race/bin/python -m benchmarks.race $(RACE)

clean:
	rm -rf $(VENV) $(VENV)-race batchscan-demo

# pip from 25.1 on knows dependency groups; the pip that comes with Python may be older.
$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

# What an installation is made of: it is to be made anew when one of them changes.
PACKAGE := pyproject.toml setup.py $(wildcard batchscan/image/native/*)

$(VENV)-race/.race: $(PACKAGE)
	$(PYTHON) -m venv $(VENV)-race
	$(VENV)-race/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)-race/bin/python -m pip install --quiet --editable . --group race
	touch $@

$(VENV)/.scoring: $(VENV)/.pip $(PACKAGE)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.development: $(VENV)/.pip $(PACKAGE)
	$(BIN)/python -m pip install --quiet --editable ".[train]" --group dev
	touch $@ $(VENV)/.scoring
