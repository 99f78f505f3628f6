# Every command of the project, the same on a laptop and in CI. `make` alone lists them.

PYTHON ?= python3
# More than the two cores of the smallest machine, since many tests wait for a disk or a process.
WORKERS ?= 3
DATA ?= ./data

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCK := $(VENV)-lock
# The consensus engine is compiled from raft/, once for each state of its sources (raft/wheel.py).
ENGINE := $(VENV)/.engine
ENGINE_SOURCES := $(filter-out raft/tests/%,$(wildcard raft/*.* raft/src/*.rs))
PIP := -m pip --disable-pip-version-check --no-input
# It installs the same in a fifth of the time, from where pip is told to; where it cannot be had, or fails, pip does it.
UV := uv==0.13.8
UV_INSTALL := $(if $(PIP_INDEX_URL),UV_DEFAULT_INDEX="$(PIP_INDEX_URL)") $(if $(PIP_CERT),SSL_CERT_FILE="$(PIP_CERT)") \
  $(BIN)/uv pip install --quiet --python $(BIN)/python

# The real S3 server of the tests, built once a machine and kept outside of the clone. tests/s3_server.py looks for it there.
VERSITYGW_VERSION := 1.8.0
VERSITYGW := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/scribe-ledger/versitygw-$(VERSITYGW_VERSION)/versitygw

# The Azure server of the tests, the same way: tests/azure_server.py looks for it there.
AZURITE_VERSION := 3.35.0
AZURITE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/scribe-ledger/azurite-$(AZURITE_VERSION)

# And the server of Google Cloud Storage: tests/gcs_server.py looks for it there.
FAKE_GCS_VERSION := 1.56.1
FAKE_GCS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/scribe-ledger/fake-gcs-server-$(FAKE_GCS_VERSION)/fake-gcs-server

.DEFAULT_GOAL := help
.PHONY: help install run test check format bench docs soak lock clean s3-server azure-server gcs-server

help:
	@echo 'usage: make TARGET'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) $(ENGINE) ## create .venv and install the package with all its tools

# The stamps make a second `make install` free; a change of what is installed redoes it.
$(INSTALLED): pyproject.toml requirements.txt requirements-dev.txt
	@set -e; \
	if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
	  for python in "$(PYTHON)" python3.13 python3.12 python3.11 none; do \
	    if [ "$$python" = none ]; then \
	      echo 'Python 3.11 or later with venv was not found; name one: make install PYTHON=/path/to/python3' >&2; exit 1; \
	    fi; \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	  done; \
	  echo "creating $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV); \
	fi
	@echo 'installing the pinned requirements'
	@{ $(BIN)/python $(PIP) install --quiet --only-binary :all: $(UV) && \
	   $(UV_INSTALL) --compile-bytecode --requirement requirements.txt && \
	   $(UV_INSTALL) --requirement requirements-dev.txt; } || \
	 $(BIN)/python $(PIP) install --quiet --requirement requirements.txt --requirement requirements-dev.txt
	@$(BIN)/python $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(ENGINE): $(INSTALLED) $(ENGINE_SOURCES)
	@set -e; wheel=$$($(BIN)/python raft/wheel.py); \
	if [ -n "$$wheel" ]; then \
	  echo 'installing the consensus engine'; \
	  $(BIN)/python $(PIP) install --quiet --no-deps --force-reinstall "$$wheel"; \
	  touch $@; \
	fi

run: $(INSTALLED) $(ENGINE) ## start a node on ./data, port 8001 (another folder: make run DATA=DIR)
	@exec $(BIN)/scribe-node --data-dir "$(DATA)"

# Some images turn compiled files off: every worker, node and command would compile all that it imports.
test docs soak: export PYTHONDONTWRITEBYTECODE :=

test: $(INSTALLED) $(ENGINE) s3-server azure-server gcs-server ## run the whole test suite, with coverage held at its limit
	@$(BIN)/python -m pytest --config-file raft/pyproject.toml raft/tests
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --durations 15 --cov --cov-report=term

# $(call go_build,FILE,MODULE) builds in a folder of its own, and the program appears in one step: two at once do no harm.
go_build = { mkdir -p "$(dir $1)" && building=$$(mktemp -d "$(dir $1)building.XXXXXX") && { \
  GOBIN="$$building" go install $2 && mv "$$building/$(notdir $1)" "$1" && rmdir "$$building" || { rm -rf "$$building"; false; }; }; }

s3-server:
	@if [ ! -x "$(VERSITYGW)" ]; then \
	  if ! command -v go >/dev/null; then \
	    echo 'no Go toolchain was found: the S3 tests run on moto instead of a real server (versitygw)' >&2; \
	  else \
	    echo 'building versitygw $(VERSITYGW_VERSION), the S3 server of the tests: about two minutes, once'; \
	    if ! $(call go_build,$(VERSITYGW),github.com/versity/versitygw/cmd/versitygw@v$(VERSITYGW_VERSION)); then \
	      echo 'versitygw cannot be built; without a Go toolchain on the PATH the S3 tests would run on moto' >&2; exit 1; \
	    fi; \
	  fi; \
	fi

# Whoever has no npm, or cannot reach its registry, does without: the tests that need it are skipped, and say so.
azure-server:
	@if [ ! -d "$(AZURITE)" ] && command -v npm >/dev/null; then \
	  echo 'installing Azurite $(AZURITE_VERSION), the Azure server of the tests: half a minute, once'; \
	  mkdir -p "$(dir $(AZURITE))" && making=$$(mktemp -d "$(dir $(AZURITE))making.XXXXXX") && \
	  if npm install --silent --no-audit --no-fund --omit=optional --prefix "$$making" azurite@$(AZURITE_VERSION) >/dev/null; then \
	    mv -T "$$making" "$(AZURITE)" || rm -rf "$$making"; \
	  else \
	    rm -rf "$$making"; \
	    echo 'Azurite cannot be installed: the tests against Azure are skipped' >&2; \
	  fi; \
	fi

# The same for whoever has no Go toolchain, or cannot reach its modules.
gcs-server:
	@if [ ! -x "$(FAKE_GCS)" ] && command -v go >/dev/null; then \
	  echo 'building fake-gcs-server $(FAKE_GCS_VERSION), the GCS server of the tests: about two minutes, once'; \
	  if ! $(call go_build,$(FAKE_GCS),github.com/fsouza/fake-gcs-server@v$(FAKE_GCS_VERSION)); then \
	    echo 'fake-gcs-server cannot be built: the tests against it are skipped' >&2; \
	  fi; \
	fi

check: $(INSTALLED) $(ENGINE) ## lint, check the formatting, check the types
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy
	@cd raft && ../$(BIN)/python -m mypy
	@if command -v cargo-fmt >/dev/null; then cargo fmt --check --manifest-path raft/Cargo.toml; fi

format: $(INSTALLED) ## format the code and mend what the linter can mend
	@$(BIN)/python -m ruff check --fix-only --quiet
	@$(BIN)/python -m ruff format

bench: $(INSTALLED) $(ENGINE) s3-server ## measure speed and memory: the ledger, a node, the archive and a cluster, each beside what it stands on
	@$(BIN)/scribe bench local
	@$(BIN)/scribe bench http
	@$(BIN)/scribe bench archive
	@$(BIN)/scribe bench cluster

docs: $(INSTALLED) $(ENGINE) ## check the documents: links, index, and what they claim of the code
	@$(BIN)/python -m pytest -m docs

soak: $(INSTALLED) $(ENGINE) ## the long runs: crashes, random programs, growth
	@$(BIN)/python -m pytest -m soak --override-ini faulthandler_timeout=3600

lock: ## pin requirements*.txt anew from pyproject.toml (all to their newest: make lock UPGRADE=--upgrade)
	@$(PYTHON) -m venv --clear $(LOCK)
	@$(LOCK)/bin/python $(PIP) install --quiet $(UV)
	@$(LOCK)/bin/uv pip compile --quiet $(UPGRADE) --python-version 3.11 --custom-compile-command 'make lock' \
	  --extra cluster --no-emit-package scribe-raft --output-file requirements.txt pyproject.toml
	@$(LOCK)/bin/uv pip compile --quiet $(UPGRADE) --python-version 3.11 --custom-compile-command 'make lock' \
	  --constraint requirements.txt --output-file requirements-dev.txt --group dev
	@rm -rf $(LOCK)

clean: ## remove all that these targets made, but never ./data
	@rm -rf $(VENV) $(LOCK) .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist bench/results bench-results
	@rm -rf raft/target raft/.hypothesis raft/.mypy_cache raft/.pytest_cache raft/.ruff_cache
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
