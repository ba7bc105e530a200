# Two commands set a fresh machine up: make demo, make test. Python 3.11 or newer and pip are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

AXE := $(VENV)/axe

.PHONY: demo test test-alone test-rest test-gpu test-lowest test-install test-page lint docs dist release-check clean

demo: $(INSTALLED)
	$(BIN)/focusdd demo --out demo

# Two halves of the tests run side by side: those that kill processes and start clusters or other processes wait a lot.
ALONE := tests/test_interruption.py tests/test_remedies.py tests/execute tests/training/test_ranks.py \
    tests/test_recipes.py tests/test_docs_blocks.py

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

# The lowest versions that pyproject.toml allows; their warnings are not ours to mend.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable ".[dev]"
	.venv-lowest/bin/python -m pytest -o filterwarnings=default tests

# As a user installs it: the wheel and the sdist, each in an empty environment without extras.
test-install: dist
	for file in dist/*.whl dist/*.tar.gz; do \
	    rm -rf .venv-empty && $(PYTHON) -m venv .venv-empty && \
	    .venv-empty/bin/python -m pip install --quiet $$file && \
	    .venv-empty/bin/focusdd demo --quick --out $$(mktemp -d)/demo || exit 1; \
	done

# The report page in Chromium, with axe-core from npm.
test-page: $(INSTALLED)
	npm install --silent --no-audit --prefix $(AXE) axe-core@4
	FOCUSDD_AXE=$(AXE)/node_modules/axe-core/axe.min.js $(BIN)/python -m pytest tests/reports/test_accessibility.py

dist:
	rm -rf dist
	$(PYTHON) -m venv .venv-build
	.venv-build/bin/python -m pip install --quiet hatchling
	.venv-build/bin/python -m hatchling build

# TAG=v0.1.0 is that of the version.
release-check:
	grep -qx '__version__ = "$(TAG:v%=%)"' src/focusdd/core/version.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .venv-* demo dist site
