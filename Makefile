# Needs Python >= 3.11, make, and nothing else: the environment is made here, in .venv.
#
#   make verify                         predict, measure, compare, write the report
#   make verify ARGS="--data digits"    the same, with arguments for `whydeep verify`
#   make test                           linters, types, import contracts, tests and doctests
#   make slow                           the published claims at full size, in minutes
#   make clean                          remove the environment, caches and reports

PYTHON ?= python3
PROCESSES ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
RUN_STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test

# The tests run on the CPU, one thread for each process in linear algebra: same work on every machine.
TEST_ENV := JAX_PLATFORMS=cpu OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(BIN)/python -m pytest -q

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help verify test lint types contracts tests lanes slow clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "whydeep needs Python >= 3.11, and $(PYTHON) is not: try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "==> making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing whydeep into $(VENV) (once; a minute or two)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(TEST_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing whydeep and its test tools into $(VENV) (once; a few minutes)"
	@$(PIP) install -c constraints.txt -e '.[test]'
	@touch $(RUN_STAMP) $@

verify: $(RUN_STAMP)
	@echo "==> whydeep verify $(ARGS)"
	@$(BIN)/whydeep verify $(ARGS)

# In this order, also under make -j: the quick checks first.
test: $(TEST_STAMP)
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory contracts
	@$(MAKE) --no-print-directory lanes
	@$(MAKE) --no-print-directory tests

lint: $(TEST_STAMP)
	@echo "==> ruff"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet

types: $(TEST_STAMP)
	@echo "==> pyright"
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

contracts: $(TEST_STAMP)
	@echo "==> import contracts"
	@$(BIN)/lint-imports --no-cache --no-logo

# With JAX's 64-bit switch on, whatever must not depend on it.
lanes: $(TEST_STAMP)
	@echo "==> tests that JAX's 64-bit switch must not change, with the switch on"
	@$(TEST_ENV) JAX_ENABLE_X64=1 $(PYTEST) -n $(PROCESSES) -m lanes

tests: $(TEST_STAMP)
	@echo "==> all tests and doctests, with JAX as it comes (32-bit)"
	@$(TEST_ENV) JAX_ENABLE_X64=0 $(PYTEST) -n $(PROCESSES)

# What takes a minute or more each: the published claims at their full size.
slow: $(TEST_STAMP)
	@echo "==> slow tests"
	@$(TEST_ENV) JAX_ENABLE_X64=0 $(PYTEST) -m slow

clean:
	rm -rf $(VENV) build dist report.html .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
