.PHONY: setup serve test check format clean
VENV := .venv/bin

setup:            ## make .venv with everything (idempotent)
	@scripts/setup.sh

serve: setup      ## serve the bundled checkpoint on 127.0.0.1:8000
	@$(VENV)/anytime serve $(ARGS)

test: setup       ## run all tests
	$(VENV)/python -m pytest $(ARGS)

check: setup      ## lint, types, import directions
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/pyright
	$(VENV)/lint-imports

format: setup     ## let ruff mend what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

clean:            ## remove the environment and caches
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis
