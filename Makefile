.PHONY: setup setup-tests serve test check docs format clean
VENV := .venv/bin

setup:            ## make .venv with everything (idempotent)
	@scripts/setup.sh

setup-tests: setup  ## on top, the TypeScript client's tools and a Chromium
	@scripts/setup-tests.sh

serve: setup      ## serve the bundled checkpoint on 127.0.0.1:8000
	@$(VENV)/anytime serve $(ARGS)

test: setup-tests ## run all tests
	$(VENV)/python -m pytest $(ARGS)

check: setup-tests ## lint, types, import directions
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/pyright
	$(VENV)/lint-imports
	npm --prefix clients/typescript run check

docs: setup       ## build the documentation to site/
	$(VENV)/python scripts/docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

format: setup     ## let ruff mend what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

clean:            ## remove the environment and caches
	rm -rf .venv clients/typescript/node_modules clients/typescript/dist site .pytest_cache .ruff_cache .import_linter_cache .hypothesis
