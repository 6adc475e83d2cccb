# Everything runs from a virtual environment in .venv, which is made when it is needed.
# PYTHON chooses the interpreter that it is made with (3.11 or newer); .venv is made anew when PYTHON
# is given and is of another version than .venv.

PYTHON ?= python3
PORT ?= 8765
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# pyright asks the net for its newest version otherwise.
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1
# mkdocs-material advertises its successor otherwise.
export NO_MKDOCS_2_WARNING = 1

.PHONY: help demo test lint types unit debug soak pictures docs bench clean venv

help:
	@echo 'make demo    serve the examples on http://127.0.0.1:8765, with a page to try them; PORT=...'
	@echo 'make test    lint, types and tests: what a change has to pass'
	@echo 'make lint    ruff (rules and format), codespell, import-linter'
	@echo 'make types   mypy and pyright'
	@echo 'make unit    the tests with branch coverage; ARGS="-k close" runs a part, without coverage'
	@echo 'make debug   the tests in the debug mode of asyncio and Python; ARGS="tests/integration" runs a part'
	@echo 'make soak    the tests that have a longer run, in full length, with their figures; some minutes'
	@echo 'make pictures  draw the reference pictures of tests/browser/pictures anew, to be looked at; ARGS="few dense"'
	@echo 'make docs    the documentation, into site/'
	@echo 'make bench   how fast it is, and what it is compared with; ARGS="--help" tells what can be chosen'
	@echo 'make clean   remove .venv and all that was built'
	@echo 'PYTHON=...   the interpreter for .venv, 3.11 or newer (default: python3)'

demo: venv
	@$(MAKE) --silent .venv/.run
	@exec $(BIN)/python examples/demo.py --port '$(PORT)'

test: lint types unit

lint: .dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/lint-imports

types: .dev
	$(BIN)/mypy
	$(BIN)/pyright

# `coverage run -m pytest`, not pytest-cov: a pytest plugin imports rxws before pytest-cov would look.
# In two halves at a time: many tests wait for peers. What the one says is told when it is done.
# Those that need a browser are together: they share one.
HALF := tests/integration tests/robustness tests/browser

unit: .dev
ifeq ($(strip $(ARGS)),)
	@$(BIN)/coverage erase
	@said=$$(mktemp); failed=0; \
	$(BIN)/coverage run --parallel-mode -m pytest $(HALF) >$$said 2>&1 & half=$$!; \
	$(BIN)/coverage run --parallel-mode -m pytest $(HALF:%=--ignore=%) || failed=$$?; \
	wait $$half || failed=$$?; \
	cat $$said; rm -f $$said; exit $$failed
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
else
	$(BIN)/python -m pytest $(ARGS)
endif

# Without the benchmarks, which measure processes of their own.
debug: .dev
	PYTHONASYNCIODEBUG=1 $(BIN)/python -X dev -m pytest --ignore=tests/project/test_benchmarks.py $(ARGS)

# With their output: the figures are printed.
soak: .dev
	RXWS_SOAK=1 $(BIN)/python -m pytest -m soak -s $(ARGS)

# What they show is held for right by the tests: look at each before it is committed.
pictures: .dev
	$(BIN)/python scripts/reference_pictures.py $(ARGS)

docs: venv
	@$(MAKE) --silent .venv/.docs
	$(BIN)/mkdocs build --strict

bench: venv
	@$(MAKE) --silent .venv/.bench
	$(BIN)/python benchmarks/speed.py --loop asyncio uvloop $(ARGS)

clean:
	rm -rf .venv build dist site htmlcov .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find rxws tests examples benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# An existing .venv is kept unless PYTHON is given and is of another version. A .venv that is not whole
# (an interrupted run, an interpreter that went away) is made anew.
venv:
	@old=$$($(BIN)/python -c 'import pip, sys; print(sys.version)' 2>/dev/null) || old=; \
	if [ -n "$$old" ] && [ '$(origin PYTHON)' = file ]; then exit 0; fi; \
	if ! command -v '$(PYTHON)' >/dev/null; then \
		echo 'PYTHON=$(PYTHON) was not found. rxws needs Python 3.11 or newer:' \
			'make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; exit 1; fi; \
	new=$$('$(PYTHON)' -c 'import sys; print(sys.version)') || { \
		echo 'PYTHON=$(PYTHON) does not run. rxws needs Python 3.11 or newer:' \
			'make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; exit 1; }; \
	if ! '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		echo "PYTHON=$(PYTHON) is $${new%% *}. rxws needs Python 3.11 or newer:" \
			'make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; exit 1; fi; \
	if [ "$$old" = "$$new" ]; then exit 0; fi; \
	echo "making .venv with Python $${new%% *}"; \
	rm -rf .venv; '$(PYTHON)' -m venv .venv || { rm -rf .venv; exit 1; }

.PHONY: .dev
.dev: venv
	@$(MAKE) --silent .venv/.dev

# The stamps. Each is older than pyproject.toml when something there changed, and is made again.
.venv/.run: pyproject.toml
	@echo 'installing rxws into .venv'
	@$(PIP) install --editable '.[typed]'
	@touch $@

.venv/.dev: pyproject.toml
	@echo 'installing rxws and its tools for tests, lint and types into .venv'
	@$(PIP) install --upgrade 'pip>=25.1'  # the first that knows dependency groups
	@$(PIP) install --editable '.[typed]' --group test --group lint
	@touch .venv/.run $@

.venv/.docs: pyproject.toml
	@echo 'installing rxws and its tools for the documentation into .venv'
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[typed]' --group docs
	@touch $@

.venv/.bench: pyproject.toml
	@echo 'installing rxws and what it is compared with into .venv'
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[typed]' --group bench
	@touch $@
