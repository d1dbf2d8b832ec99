.PHONY: setup setup-dev setup-browser serve test check docs docs-parts format clean
VENV := .venv/bin
WORKERS ?= 2

setup:            ## make .venv with everything that serves and trains (idempotent)
	@scripts/setup.sh

setup-dev: setup  ## on top, what checks and documentation need
	@scripts/setup-dev.sh

setup-browser: setup-dev  ## on top, a Chromium for the tests
	@scripts/setup-browser.sh

serve: setup      ## serve the bundled checkpoint on 127.0.0.1:8000
	@$(VENV)/anytime serve $(ARGS)

test: setup-browser  ## run all tests
	OMP_NUM_THREADS=1 $(VENV)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: setup-dev  ## lint, types, import directions
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/pyright
	$(VENV)/lint-imports
	npm --prefix clients/typescript run check

docs: setup-dev   ## build the documentation to site/; refuses parts that are out of date
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

docs-parts: setup-dev  ## renew the parts of the documentation that the code tells
	$(VENV)/python scripts/docs/generate.py

format: setup     ## let ruff mend what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

clean:            ## remove the environment and caches
	rm -rf .venv clients/typescript/node_modules clients/typescript/dist site .pytest_cache .ruff_cache .import_linter_cache .hypothesis
