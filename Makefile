# Needs Python >= 3.11, make, and nothing else: the environment is made here, in .venv.
#
#   make verify                         predict, measure, compare, write the report
#   make verify ARGS="--data digits"    the same, with arguments for `whydeep verify`
#   make test                           linters, types, import contracts, tests and doctests
#   make slow                           the published claims at full size, in minutes
#   make test PYTHON=python3.12 VERSIONS=newest
#                                       all tests with the newest versions, without PyTorch
#   make share PYTHON=python3.12 VERSIONS=newest
#                                       a share of them: whatever meets JAX, numpy and scikit-learn
#   make clean                          remove the environments, caches and reports

PYTHON ?= python3
PROCESSES ?= 2
ARGS ?=
VERSIONS ?= pinned

# Two sets of versions, each with an environment of its own.
ifeq ($(VERSIONS),pinned)
VENV := .venv
CONSTRAINTS := constraints.txt
EXTRAS := test,torch
WITHOUT :=
LEAST := 11
CHECKS := lint types contracts lanes bounds tests
else ifeq ($(VERSIONS),newest)
VENV := .venv-newest-$(notdir $(PYTHON))
CONSTRAINTS := constraints-newest.txt
EXTRAS := test
WITHOUT := torch
LEAST := 12
CHECKS := lanes tests
else
$(error VERSIONS is "pinned" or "newest", not "$(VERSIONS)")
endif
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
RUN_STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test

# The tests run on the CPU, one thread for each process in linear algebra: same work on every machine.
TEST_ENV := JAX_PLATFORMS=cpu OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
  WHYDEEP_TESTS_WITHOUT="$(WITHOUT)"
PYTEST := $(BIN)/python -m pytest -q

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help verify test share versions lint types contracts tests lanes bounds bounds-all slow clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, $(LEAST)))' || { \
	  echo "The $(VERSIONS) versions need Python >= 3.$(LEAST), and $(PYTHON) is not: try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "==> making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUN_STAMP): pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "==> installing whydeep into $(VENV) (once; a minute or two)"
	@$(PIP) install -c $(CONSTRAINTS) -e .
	@touch $@

$(TEST_STAMP): pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "==> installing whydeep and its test tools into $(VENV) (once; a few minutes)"
	@$(PIP) install -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	@touch $(RUN_STAMP) $@

verify: $(RUN_STAMP)
	@echo "==> whydeep verify $(ARGS)"
	@$(BIN)/whydeep verify $(ARGS)

# In this order, also under make -j: the quick checks first.
test: $(TEST_STAMP) versions
	@for check in $(CHECKS); do $(MAKE) --no-print-directory $$check || exit 1; done

# What newer versions of JAX, numpy, scipy, scikit-learn and xarray break first, in minutes.
SHARE := tests/test_jaxprs.py tests/test_compiled.py tests/test_process_state.py \
  tests/cli/test_verify.py tests/network/jax_reader/test_read.py tests/ensemble/tangent \
  tests/theory/estimators/test_conventions.py tests/geometry/pieces tests/data src

share: $(TEST_STAMP) versions
	@echo "==> a share of the tests"
	@$(TEST_ENV) JAX_ENABLE_X64=0 $(PYTEST) -n $(PROCESSES) $(SHARE)

versions: $(TEST_STAMP)
	@$(BIN)/python -c 'import sys; from importlib.metadata import version; print("==> Python", \
	  sys.version.split()[0], *(f"{n} {version(n)}" for n in ("jax", "numpy", "scipy", "numba")))'
	@[ -z "$(WITHOUT)" ] || echo "==> without $(WITHOUT): every test that needs it is left out of this lane"

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

# Numba's own checks of every index. Code that was compiled without them must not be found.
BOUNDS := NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/$(VENV)/bounds

bounds: $(TEST_STAMP)
	@echo "==> compiled code with every index checked"
	@$(TEST_ENV) $(BOUNDS) JAX_ENABLE_X64=0 $(PYTEST) -n $(PROCESSES) -m 'bounds and not slow'

# Likewise, all tests that run compiled code.
bounds-all: $(TEST_STAMP)
	@echo "==> all tests of compiled code with every index checked"
	@$(TEST_ENV) $(BOUNDS) JAX_ENABLE_X64=0 $(PYTEST) -n $(PROCESSES) \
	  --ignore=tests/theory/infinite/conv/test_disjoint.py \
	  tests/geometry tests/gaussian tests/theory/infinite tests/theory/finite

tests: $(TEST_STAMP)
	@echo "==> all tests and doctests, with JAX as it comes (32-bit)"
	@$(TEST_ENV) JAX_ENABLE_X64=0 $(PYTEST) -n $(PROCESSES)

# What takes a minute or more each: the published claims at their full size.
slow: $(TEST_STAMP)
	@echo "==> slow tests"
	@$(TEST_ENV) JAX_ENABLE_X64=0 $(PYTEST) -m slow
	@$(MAKE) --no-print-directory bounds-all

clean:
	rm -rf .venv .venv-newest-* build dist report.html .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
