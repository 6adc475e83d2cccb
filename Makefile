# Everything runs from a virtual environment in .venv, which is created on demand.
# PYTHON is the interpreter for it (3.11 or newer). If you pass a PYTHON of another version, .venv is
# created again.

PYTHON ?= python3
PORT ?= 8765
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# Otherwise pyright looks up its newest version on the network.
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1
# Otherwise mkdocs-material prints an advertisement for its successor.
export NO_MKDOCS_2_WARNING = 1
# Otherwise each process that a test starts compiles rxws again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint types unit debug soak pictures docs bench clean venv

help:
	@echo 'make demo    serve the playground and the examples on http://127.0.0.1:8765; PORT=...'
	@echo 'make test    run lint, types and tests: every change must pass'
	@echo 'make lint    ruff (rules and format), codespell, import-linter'
	@echo 'make types   mypy and pyright'
	@echo 'make unit    run the tests with branch coverage; ARGS="-k close" runs some of them, without coverage'
	@echo 'make debug   run the tests in the debug mode of asyncio and Python; ARGS="tests/integration" runs some'
	@echo 'make soak    run the long tests at full length and print their figures; takes some minutes'
	@echo 'make pictures  redraw the reference pictures in tests/browser/pictures; ARGS="few dense" redraws two'
	@echo 'make docs    build the documentation into site/'
	@echo 'make bench   compare the speed with other libraries; ARGS="--help" lists the options'
	@echo 'make clean   remove .venv and everything that was built'
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
	@$(MAKE) --silent --jobs=2 .mypy .pyright

.PHONY: .mypy .pyright
.mypy:
	$(BIN)/mypy

.pyright:
	$(BIN)/pyright

# Each of these runs in a process of its own, the longest first, and a last process runs all others.
PARTS := tests/robustness tests/integration/cli tests/project tests/browser tests/unit

# `coverage run -m pytest`, not pytest-cov: the pytest plugin imports rxws before pytest-cov starts.
# Four parts run at once, because many tests wait for peers. The output of a part is printed when it
# has finished.
unit: .dev
ifeq ($(strip $(ARGS)),)
	@$(BIN)/coverage erase
	@printf '%s\0' $(PARTS) '$(PARTS:%=--ignore=%)' | xargs -0 -n 1 -P 4 sh -c 'output=$$(mktemp); \
		$(BIN)/coverage run --parallel-mode -m pytest $$0 >$$output 2>&1; code=$$?; \
		cat $$output; rm $$output; exit $$code'
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
else
	$(BIN)/python -m pytest $(ARGS)
endif

# Without the benchmarks: they measure other processes, which do not run in debug mode.
debug: .dev
	PYTHONASYNCIODEBUG=1 $(BIN)/python -X dev -m pytest --ignore=tests/project/test_benchmarks.py $(ARGS)

# -s: the tests print their figures.
soak: .dev
	RXWS_SOAK=1 $(BIN)/python -m pytest -m soak -s $(ARGS)

# The tests compare new pictures with these: look at each one before you commit it.
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

# Keeps an existing .venv unless PYTHON is given and has another version. Creates it again if it is
# incomplete, after an interrupted run or when its interpreter is gone.
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

# Stamp files. When pyproject.toml is newer than one of them, its packages are installed again.
.venv/.run: pyproject.toml
	@echo 'installing rxws into .venv'
	@$(PIP) install --editable '.[cli,typed]'
	@touch $@

.venv/.dev: pyproject.toml
	@echo 'installing rxws and its tools for tests, lint and types into .venv'
	@$(PIP) install --upgrade 'pip>=25.1'  # the first that supports dependency groups
	@$(PIP) install --editable '.[cli,typed]' --group test --group lint
	@touch .venv/.run $@

.venv/.docs: pyproject.toml
	@echo 'installing rxws and its tools for the documentation into .venv'
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[cli,typed]' --group docs
	@touch $@

.venv/.bench: pyproject.toml
	@echo 'installing rxws and what it is compared with into .venv'
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[cli,typed]' --group bench
	@touch $@
