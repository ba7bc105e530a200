# Two commands set a fresh machine up: make demo, make test. Python 3.11 or newer and pip are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-gpu lint clean

demo: $(INSTALLED)
	$(BIN)/focusdd demo --out demo

test: $(INSTALLED)
	$(BIN)/python -m pytest

# With the packages that are there, on a machine with a GPU; what needs others is skipped. ARGS="-n 8" for
# pytest-xdist.
test-gpu:
	PYTHONPATH=src $(PYTHON) -m pytest $(ARGS)

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
