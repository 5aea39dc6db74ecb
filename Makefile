# make setup | demo | check | test | bench | lock
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
STAMP := $(VENV)/.installed

.PHONY: setup demo check test bench lock docs clean

## setup: make .venv with everything pinned; does nothing when nothing changed
setup: $(STAMP)

# uv looks at what is installed, so that this is quick where little has changed.
$(STAMP): requirements-dev.txt lab/aws/ministack-requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("trainstack needs Python 3.11 or newer; this is %s. Set PYTHON=/path/to/python3.11." % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(UV) || ($(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9)
	@echo "installing what requirements-dev.txt pins; about two minutes the first time"
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode -r requirements-dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@test -x .venv-ministack/bin/python || $(UV) venv --quiet --python $(BIN)/python .venv-ministack
	$(UV) pip install --quiet --python .venv-ministack/bin/python --compile-bytecode -r lab/aws/ministack-requirements.txt
	@$(BIN)/python -m compileall -q cli components infra lab policy pricing review training
	@touch $(STAMP)

## demo: the whole stack and two training jobs on this machine, with no cloud account
demo: setup
	$(BIN)/trainstack demo

## check: format, lint, types, dependency direction
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check
	$(BIN)/pytest -q -p no:cacheprovider tests/test_dependency_direction.py

## test: everything that runs on one machine
test: setup
	$(BIN)/pytest

## bench: the speeds the project promises, measured
bench: setup
	$(BIN)/python -m bench

## lock: compile requirements*.in to exact pins
lock:
	$(UV) pip compile -q --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(UV) pip compile -q --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" -c requirements.txt requirements-lab.in -o requirements-lab.txt
	$(UV) pip compile -q --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" -c requirements-lab.txt requirements-dev.in -o requirements-dev.txt
	$(UV) pip compile -q --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" lab/aws/ministack-requirements.in -o lab/aws/ministack-requirements.txt

## docs: write the generated pages and schemas again
docs: setup
	$(BIN)/python -m cli.generate

clean:
	rm -rf $(VENV) .venv-ministack .trainstack
