# Two commands do all the set-up: `make demo` shows the main job, `make test` checks everything.
# Each makes its own virtual environment below .venv; PYTHON picks the interpreter (3.11 or newer).

PYTHON ?= python3
DEMO := .venv/demo
TEST := .venv/test
BENCH := .venv/bench
NODES ?= 1
# Tests wait more than they compute: four processes suit two cores.
WORKERS ?= 4
STATIC := lint format types layers scripts
# The release of the test cluster's Kubernetes, for every target that uses it; the tests' own where none is named.
KUBERNETES := $(LFGPODS_TEST_KUBERNETES)
export LFGPODS_TEST_KUBERNETES := $(KUBERNETES)

.PHONY: help demo demo-svg check test faults record bench cluster-up cluster-down clean $(STATIC) unit embedded lab

help:
	@echo 'make demo          run the main job once, without Kubernetes'
	@echo 'make check         run every check that needs no cluster'
	@echo 'make test          run every check; the end-to-end tests need root on Debian 12, or a host of your own: see docs/development.md'
	@echo 'make faults        kill, cut, fill up, stop and mistreat everything, and print how it held (half an hour)'
	@echo 'make record        record what kubectl answers on the test cluster, to which the embedded host is held'
	@echo 'make bench         measure everything beside kubectl, OpenSSH and others on the real cluster (40 minutes)'
	@echo 'make demo-svg      draw docs/demo.svg anew from a real run'
	@echo 'make cluster-up    start the real Kubernetes that the end-to-end tests use; NODES=2 gives it a second node,'
	@echo '                   and here, as for the tests, KUBERNETES=1.34 makes it the oldest release that is promised'
	@echo 'make cluster-down  stop it and remove what it left'
	@echo 'make clean         remove the virtual environments'

$(DEMO)/made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(DEMO)
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(TEST)/made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(TEST)
	$(TEST)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# As a user has it: without the drivers of databases, whose import peewee would pay for in every command.
$(BENCH)/made: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	touch $@

demo: $(DEMO)/made
	$(DEMO)/bin/lfgpods demo

demo-svg: $(DEMO)/made
	$(DEMO)/bin/python docs/draw_demo.py docs/demo.svg

check: $(TEST)/made
	@$(MAKE) --no-print-directory --jobs 2 embedded $(STATIC)

# What needs no cluster runs while it starts. Then run the tests that share it, and last those that need it to themselves.
test: $(TEST)/made
	@$(MAKE) --no-print-directory --jobs 2 lab $(STATIC) unit
	$(TEST)/bin/pytest -n $(WORKERS) -m 'not exclusive' tests/contract tests/e2e
	$(TEST)/bin/pytest -m exclusive tests/contract tests/e2e

lint: $(TEST)/made
	$(TEST)/bin/ruff check .

format: $(TEST)/made
	$(TEST)/bin/ruff format --check .

types: $(TEST)/made
	$(TEST)/bin/mypy

layers: $(TEST)/made
	$(TEST)/bin/lint-imports

scripts: $(TEST)/made
	$(TEST)/bin/shellcheck $$(find lfgpods tests -name '*.sh') .ci/run

unit: $(TEST)/made
	$(TEST)/bin/pytest -q -n 2 tests/unit

embedded: $(TEST)/made
	LFGPODS_E2E=off $(TEST)/bin/pytest -q -n $(WORKERS) -m 'not real' tests/unit tests/contract

lab: $(TEST)/made
	$(TEST)/bin/python -m tests.lab

faults: $(TEST)/made
	$(TEST)/bin/python -m tests.lab
	$(TEST)/bin/pytest --show-capture=no tests/faults

# What kubectl answers on the test cluster, to which the embedded host is held: always of the tests' own release.
record: export LFGPODS_TEST_KUBERNETES :=
record: export LFGPODS_TEST_KUBECTL :=
record: $(TEST)/made lab
	LFGPODS_E2E=required LFGPODS_RECORD=1 $(TEST)/bin/pytest -q -k real tests/contract/test_kubectl_lines.py

bench: $(BENCH)/made
	$(BENCH)/bin/python -m tests.bench

cluster-up: $(TEST)/made
	$(TEST)/bin/python -m tests.cluster up --nodes $(NODES)

cluster-down: $(TEST)/made
	$(TEST)/bin/python -m tests.cluster down

clean:
	rm -rf .venv
