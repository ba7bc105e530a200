# Two commands set a fresh machine up: make demo, make test. Python 3.11 or newer and pip are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-alone test-rest test-gpu lint clean

demo: $(INSTALLED)
	$(BIN)/focusdd demo --out demo

# Tests that kill processes and start clusters wait a lot, and want a process without the traces of others.
ALONE := tests/test_interruption.py tests/test_remedies.py tests/execute

test: $(INSTALLED)
	$(MAKE) -j2 test-alone test-rest

test-alone: $(INSTALLED)
	$(BIN)/python -m pytest $(ALONE)

test-rest: $(INSTALLED)
	$(BIN)/python -m pytest $(addprefix --ignore=,$(ALONE)) tests

# With the packages that are there, on a machine with a GPU; what needs others is skipped. ARGS="-n 8" for
# pytest-xdist.
test-gpu:
	PYTHONPATH="src:$$PYTHONPATH" $(PYTHON) -m pytest $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo
