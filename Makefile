# make demo     see it work: a real Airflow trains a model on a local emulator and uses it
# make demo-ui  the same, and leave it running to look around
# make test     formatter, linter, types, layers and all tests; AIRFLOW=2.11.2 for the oldest Airflow
# make test-registry  a store of champions in the registry of a real MLflow server, in an environment of its own
# make test-endurance  workers and triggerers killed at every step of a real Airflow; a quarter of an hour
# make gateway  LiteLLM in an environment of its own, for the test that runs it in front of the emulator; a minute
# make mlflow   an MLflow server in an environment of its own, for the test of a store in its registry; a minute
# make docs     the documentation site, in build/docs
# make dist     what is published, in dist, built and checked as a package index wants it
# make pins     the hashes of all files that the package index has of each pinned version, after a change of requirements/*.txt
# make sbom     a bill of materials (CycloneDX) of the wheel and what it needs, in build
# make bench    the benchmarks, each with its baseline
# make screenshots  the pictures of the page in Airflow's UI, in docs; needs Chromium
# make clean    remove what was made

AIRFLOW ?= 3.3.2
VENV := .venv/airflow-$(AIRFLOW)
RUN := $(VENV)/bin/python -m
# A file whose hash is not the pinned one is not installed.
INSTALL := pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes --requirement
# The pins were made on 3.11; a later Python takes them as well where its wheels exist.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# Airflow is imported by some hundred processes of the tests: what the first one compiles is kept for the others.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-ui screenshots test test-registry test-endurance lint docs dist pins sbom gateway mlflow bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.project
	@$(RUN) demo

demo-ui: $(VENV)/.project
	@$(RUN) demo --ui

screenshots: $(VENV)/.project
	@$(RUN) demo.screenshots docs

test: lint
	$(RUN) pytest -m "not system" -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)
ifeq ($(filter 2.%,$(AIRFLOW)),)
	$(RUN) pytest tests/system tests/ui -m "system and not endurance" -n 2 --dist loadfile $(ARGS)
endif

test-registry: .venv/mlflow/.packages
	.venv/mlflow/bin/python -m pytest tests/registry

test-endurance: $(VENV)/.project
	$(RUN) pytest -m endurance $(ARGS)

lint: $(VENV)/.project
	$(RUN) ruff format --check .
	$(RUN) ruff check .
ifeq ($(filter 2.%,$(AIRFLOW)),)
	$(RUN) mypy
	$(VENV)/bin/lint-imports
endif

docs: $(VENV)/.docs
	AIRFLOW_HOME=$(CURDIR)/build/airflow AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR $(RUN) sphinx --fail-on-warning --keep-going --quiet docs build/docs

$(VENV)/.docs: $(VENV)/.project requirements/hashes/docs.txt
	@$(RUN) $(INSTALL) requirements/hashes/docs.txt
	@touch $@

dist: .venv/dist/.packages
	rm -rf dist
	.venv/dist/bin/python -m build --no-isolation
	.venv/dist/bin/python -m twine check --strict dist/*

.venv/dist/.packages: requirements/hashes/dist.txt
	@$(PYTHON) -m venv --clear .venv/dist
	@.venv/dist/bin/python -m $(INSTALL) $<
	@touch $@

# Of every platform and Python, so that the pins hold there too.
pins: .venv/tools/.packages
	@for pins in $(notdir $(wildcard requirements/*.txt)); do \
		.venv/tools/bin/uv pip compile --quiet --upgrade --no-deps --generate-hashes --no-header --no-annotate \
			--python-version 3.11 requirements/$$pins --output-file requirements/hashes/$$pins || exit 1; \
	done

sbom: .venv/tools/.packages
	@mkdir -p build
	@.venv/tools/bin/uv pip compile --quiet --upgrade --all-extras --constraint requirements/airflow-$(AIRFLOW).txt --generate-hashes \
		--no-header --no-annotate --python-version 3.11 pyproject.toml --output-file build/runtime.txt
	@PYTHONWARNINGS=ignore .venv/tools/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type library --output-reproducible \
		--output-file build/airflow-provider-finetune.cdx.json build/runtime.txt
	@echo "build/airflow-provider-finetune.cdx.json"

.venv/tools/.packages: requirements/hashes/tools.txt
	@$(PYTHON) -m venv --clear .venv/tools
	@.venv/tools/bin/python -m $(INSTALL) $<
	@touch $@

bench: $(VENV)/.project
	@missed=; for benchmark in benchmarks/*.py; do \
		echo "== $$benchmark"; $(VENV)/bin/python $$benchmark || missed="$$missed $$benchmark"; \
	done; test -z "$$missed" || { echo "Not as it should be:$$missed" >&2; exit 1; }

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist

$(VENV)/.project: $(VENV)/.packages pyproject.toml
	@$(RUN) pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.packages: requirements/hashes/airflow-$(AIRFLOW).txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later with venv is needed; \
	install it, or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making $(VENV): Airflow $(AIRFLOW) and what the tests need; this takes a minute or two"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(RUN) $(INSTALL) $<
	@touch $@

gateway: .venv/litellm/.packages

# Apart from the others, whose pins it contradicts.
.venv/litellm/.packages: requirements/hashes/litellm.txt
	@$(PYTHON) -m venv --clear .venv/litellm
	@.venv/litellm/bin/python -m $(INSTALL) $<
	@touch $@

mlflow: .venv/mlflow/.packages

# It sees the packages of the project's environment, and has its own before them.
.venv/mlflow/.packages: requirements/hashes/mlflow.txt $(VENV)/.project
	@$(PYTHON) -m venv --clear .venv/mlflow
	@.venv/mlflow/bin/python -m $(INSTALL) $<
	@$(RUN) sysconfig | sed -n 's/.*purelib = "\(.*\)"/import site; site.addsitedir("\1")/p' \
		>"$$(.venv/mlflow/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/airflow.pth"
	@touch $@

requirements/hashes/airflow-%.txt:
	@echo "Airflow $* is not among the tested versions: $(patsubst requirements/airflow-%.txt,%,$(wildcard requirements/airflow-*.txt))" >&2; exit 1
