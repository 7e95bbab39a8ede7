# nonneg: the commands of a working copy. `make help` lists them.
#
# Each command installs what it needs into .venv (see scripts/bootstrap.sh) the first
# time, and again when pyproject.toml has changed.

PY := .venv/bin/python
export MPLBACKEND ?= agg
# PYTHON=/path/to/python3.13 chooses the interpreter of .venv
export PYTHON
# Compiled modules are kept: tests start processes that import all of them again.
unexport PYTHONDONTWRITEBYTECODE

# Where `make demo` writes, and how `make test` is run: slow tests are left out, and run
# by themselves with MARKS=slow, or with all others with MARKS='slow or not slow'.
OUTPUT ?= demo
JOBS ?= 2
MARKS ?= not slow
PYTEST_ARGS ?=
# Tests that are run all the time compile with few optimisations, which saves a quarter of
# their time. 0: as users compile, which the slow ones do, and all before a release.
ifeq ($(MARKS),not slow)
JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
endif
JAX_DISABLE_MOST_OPTIMIZATIONS ?= 0
BENCH_ARGS ?=

.PHONY: help demo test lint format docs bench clean distclean
.DELETE_ON_ERROR:

help:
	@echo "make demo              run the demonstration, results in $(OUTPUT)/"
	@echo "make demo DATA=x.h5ad  the same on your own file"
	@echo "make test              run the tests (MARKS=slow: the slow ones)"
	@echo "make lint              ruff and mypy"
	@echo "make format            let ruff rewrite what it can"
	@echo "make docs              build the documentation into docs/_build/html"
	@echo "make bench             run the benchmarks"
	@echo "make clean             remove build results and caches"
	@echo "make distclean         the same, and .venv"

# One stamp per dependency group.
.venv/.stamp-%: pyproject.toml scripts/bootstrap.sh
	sh scripts/bootstrap.sh $*
	@touch $@

.PRECIOUS: .venv/.stamp-%

demo: .venv/.stamp-demo
	$(PY) scripts/demo.py --output "$(OUTPUT)" $(if $(DATA),--data "$(DATA)")

test: .venv/.stamp-test
	JAX_DISABLE_MOST_OPTIMIZATIONS=$(JAX_DISABLE_MOST_OPTIMIZATIONS) \
	$(PY) -m pytest -n $(JOBS) --dist worksteal -m "$(MARKS)" $(PYTEST_ARGS)

lint: .venv/.stamp-lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: .venv/.stamp-lint
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: .venv/.stamp-doc
	$(PY) -m sphinx -M html docs docs/_build -W --keep-going

bench: .venv/.stamp-bench
	$(PY) -m benchmarks $(BENCH_ARGS)

clean:
	rm -rf build dist demo docs/_build docs/api/generated test-data
	rm -rf .coverage .coverage.* htmlcov .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf .venv .bootstrap
