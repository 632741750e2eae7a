# Every target sets up what it needs: a virtual environment in .venv with the locked dependencies.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock
SOURCES := simulation qpipe_resources qpipe_assets jobs qpipe_cli deploy tests benchmarks

.PHONY: install demo test env smoke services services-down test-services test-campaign screenshots audit audit-baseline jars lint bench bench-tables bench-simulation bench-streaming ui clean

# The environment alone; it touches no data.
install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/qpipe demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup --durations 12 --ignore tests/integration

# .env with the secrets of docker-compose.yml; what is there stays (docs/compose.md).
env:
	@$(PYTHON) -m deploy.environment

# docker-compose.yml without containers: every service's own command and health check, and a campaign through all of it.
smoke: $(VENV)/.installed-dev jars
	$(BIN)/python -m deploy.smoke

services: $(VENV)/.installed
	$(BIN)/python -m deploy.services up

services-down: $(VENV)/.installed
	$(BIN)/python -m deploy.services down

test-services: $(VENV)/.installed-dev services
	QPIPE_REQUIRE="$${QPIPE_REQUIRE:+$$QPIPE_REQUIRE,}services" $(BIN)/python -m pytest tests/integration --durations 12

# A part of tier 1, 144 runs, by the real daemon, every kind of process killed in the middle: ten minutes on two idle cores.
test-campaign: $(VENV)/.installed-dev
	QPIPE_CAMPAIGN=full $(BIN)/python -m pytest tests/shell/test_batch_backfill.py -s

# Spark: pyspark, and the jars that it lacks.
jars: $(VENV)/.installed-spark
	$(BIN)/python -m deploy.spark_jars

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

AUDIT := .audit

# Known vulnerabilities, withdrawn releases, secrets: docs/security.md. What could not be looked up is told, and fails nothing.
audit: $(AUDIT)/.installed
	$(AUDIT)/bin/python -m deploy.audit $(if $(STRICT),--strict)

audit-baseline: $(AUDIT)/.installed
	$(AUDIT)/bin/detect-secrets scan --no-verify --exclude-files 'go\.sum$$|\.png$$' > .secrets.baseline

screenshots: $(VENV)/.installed-dev
	SCREENSHOTS=docs/images QPIPE_REQUIRE=browser $(BIN)/python -m pytest tests/shell/test_screenshots.py

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.tables --only embedded

# Against Spark; REFERENCE is the folder docker/airflow of a checkout of quantum-pipeline.
bench-tables: $(VENV)/.installed-dev jars
	$(BIN)/python -m benchmarks.tables $(if $(REFERENCE),--reference '$(REFERENCE)')

bench-simulation: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.simulation

bench-streaming: $(VENV)/.installed-dev services
	$(BIN)/python -m benchmarks.streaming

ui: $(VENV)/.installed
	eval "$$($(BIN)/qpipe home)" && PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dagster dev --host 127.0.0.1 --workspace workspace.yaml

clean:
	rm -rf $(VENV) $(AUDIT) .bench build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "qpipe needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(or $(MAKECMDGOALS),install)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "Installing the locked dependencies into $(VENV) (about two minutes, once)"
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.installed-spark: $(VENV)/.installed
	$(PIP) --editable '.[spark]'
	@touch $@

$(AUDIT)/.installed: deploy/audit/requirements.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@
