# Everything a developer does, each with a command of its own; `make help` lists them.
# Needs Python 3 with venv, git and make. What gets installed stays in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST_ARGS ?=
SECONDS ?= 600
# the demo keeps its state here, away from the user's own
DEMO := PATH="$(CURDIR)/$(BIN):$$PATH" EXQ_STATE="$(CURDIR)/.exq-demo" EXQ_SPECS="$(CURDIR)/specs" $(BIN)/exq

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint check bench fuzz sim sim-pairs soak clean

help:  ## list these commands
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# A half-made .venv, as Debian without python3-venv leaves it, is removed, so that the next try starts clean.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "exq needs Python 3.10 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@echo "making a virtual environment in .venv"
	@$(PYTHON) -m venv "$(VENV)" >/dev/null 2>&1 || { rm -rf "$(VENV)"; \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu this mends it:" >&2; \
		echo "  sudo apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing exq and what the demo trains with"
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "the development tools need Python 3.11 or newer (exq itself runs on 3.10)" >&2; exit 1; }
	@echo "installing exq, the demo and the development tools"
	@$(PIP) --editable '.[demo,dev]'
	@touch $@ $(VENV)/.demo

venv: $(VENV)/.dev  ## make .venv with everything in it

demo: $(VENV)/.demo  ## run specs/ to the end: teachers, students, a table of accuracies
	@$(DEMO) validate
	@$(DEMO) run --until-settled  # prints the plan first, and the summary at the end
	@echo
	@$(BIN)/python examples/digits/table.py runs/digits/students
	@echo
	@echo "a page of it, from this folder:"
	@echo "  EXQ_STATE=.exq-demo $(BIN)/exq report digits --html digits.html"

test: $(VENV)/.dev  ## run all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.dev  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

check: lint test  ## everything that has to pass

bench: $(VENV)/.dev  ## measure speed and memory
	$(BIN)/python -m tests.bench

fuzz: $(VENV)/.dev  ## damage specs and state, for SECONDS (default 600)
	$(BIN)/python -m tests.fuzz $(SECONDS)

sim: $(VENV)/.dev  ## try all single faults in the simulated world; make sim SEED=7 replays one run
	$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),singles)

sim-pairs: $(VENV)/.dev
	$(BIN)/python -m tests.sim pairs

soak: $(VENV)/.dev  ## random simulated runs, for SECONDS (default 600)
	$(BIN)/python -m tests.sim soak --seconds $(SECONDS)

clean:  ## remove .venv, caches, and the demo's state and results
	rm -rf .venv .exq-demo experiment_queue runs/digits build dist
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find reconciler tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
