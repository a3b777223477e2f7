# Everything starts here. Each target does the set-up it needs; the second time costs nothing.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install system-packages demo up down test test-quick check bench nightly clean

PY := .venv/bin/python
# Debian packages that tests need, as command:package. Installed when the command is missing and we are root.
DEBIAN := git:git
SCHEDULER := scheduler/src/labcommons/scheduler
# Modules that must not have one untested branch: the life cycles, the money, the compiler.
FULLY_COVERED := $(SCHEDULER)/attempts.py $(SCHEDULER)/steps.py $(SCHEDULER)/allocation/ledger.py nodes/src/labcommons/protocols/compile.py
COVERAGE := $(PY) -m coverage

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install:  ## make or refresh .venv from requirements.lock (hashes checked)
	@.ci/install

system-packages:
	@for pair in $(DEBIAN); do .ci/apt "$${pair%%:*}" "$${pair##*:}"; done

demo: install  ## one facility, two labs, 24 experiments; judges itself (SEED=n, KILL=1, DUMB=1)
	@$(PY) -m labcommons.facility.demo

up: install  ## start facility and demo labs, keep them running, print where everything is
	@.venv/bin/labcommons up $(ARGS)

down: install  ## end what `make up` started
	@.venv/bin/labcommons down $(ARGS)

test: install system-packages  ## every test, then the coverage gates
	@rm -f .coverage .coverage.*
	$(COVERAGE) run -m pytest tests --part=quick $(ARGS)
	$(COVERAGE) run -m pytest tests --part=rest $(ARGS)
	@$(MAKE) --no-print-directory coverage-gates

.PHONY: coverage-gates
coverage-gates:
	@$(COVERAGE) combine -q
	$(COVERAGE) report
	@for module in $(FULLY_COVERED); do \
	  echo "100 % of $$module"; $(COVERAGE) report --fail-under=100 --include="$$module" || exit 1; done

test-quick: install  ## unit, model and contract tests that start nothing slow
	$(PY) -m pytest tests --part=quick $(ARGS)

check: install  ## ruff, mypy, import contracts: the static half of CI
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports --no-cache

bench: install  ## measure; tables here, JSON in benchmarks/results/
	@for file in benchmarks/bench_*.py; do [ -e "$$file" ] || { echo "benchmarks/ holds no bench_*.py"; break; }; \
	  echo "== $$file"; $(PY) "$$file" || exit 1; done

nightly: install system-packages  ## every test with many more generated examples
	LABCOMMONS_EXAMPLES=5000 $(PY) -m pytest tests --timeout=3600 $(ARGS)

clean:  ## remove .venv, caches, coverage, build output
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist benchmarks/results
	find nodes scheduler platform courses tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
