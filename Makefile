.DEFAULT_GOAL := help
export UV_PROJECT_ENVIRONMENT ?= .venv
VENV := $(UV_PROJECT_ENVIRONMENT)
UV := $(shell command -v uv 2>/dev/null || echo $(VENV)/bin/uv)
SYNC := $(UV) sync --quiet --locked --all-packages --all-extras
RUN := $(UV) run --quiet --no-sync

.PHONY: help install demo serve test soak check format bench docs clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml sdk/pyproject.toml uv.lock
	@command -v uv >/dev/null || { test -x $(VENV)/bin/uv || { python3 -m venv $(VENV) && $(VENV)/bin/pip install --quiet uv; }; }
	@echo "installing into $(VENV) (the storage engine's wheel is large: about 0.9 GB unpacked) …"
	@$(SYNC) --inexact
	@touch $@

install: $(VENV)/.installed ## install everything into .venv

demo: install ## all of Otero, watching three Flask services with customers and faults
	@$(RUN) otero demo

serve: install ## the server, scraping itself and this host
	@$(RUN) otero serve

test: install ## all tests
	$(RUN) pytest -n auto --dist worksteal

soak: install ## the slow tests
	$(RUN) pytest -m soak

check: install ## lint, format, types, layers, unit tests
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) basedpyright
	$(RUN) lint-imports
	$(RUN) pytest -n auto --dist worksteal -q -m "not soak and not e2e"

format: install ## format and mend what can be mended
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

bench: install ## the benchmarks of the hot paths
	$(RUN) pytest benchmarks --benchmark-only --benchmark-columns=median,ops -p no:xdist

docs: install ## build the user guide into site/
	@$(UV) sync --quiet --locked --all-packages --all-extras --group docs --inexact
	$(RUN) mkdocs build --strict

clean: ## remove what was built
	rm -rf .venv site dist .pytest_cache .ruff_cache .import_linter_cache
