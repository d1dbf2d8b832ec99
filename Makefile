.PHONY: setup setup-dev setup-browser setup-prometheus serve test check docs docs-parts format clean dist image-check sbom audit
VENV := .venv/bin
WORKERS ?= 2

setup:            ## make .venv with everything for serving and training (idempotent)
	@scripts/setup.sh

setup-dev: setup  ## also install the tools for checks and documentation
	@scripts/setup-dev.sh

setup-browser: setup-dev  ## also install a Chromium for the tests
	@scripts/setup-browser.sh

setup-prometheus: setup  ## also install a Prometheus for the tests
	@scripts/setup-prometheus.sh

serve: setup      ## serve the bundled checkpoint on 127.0.0.1:8000
	@$(VENV)/anytime serve $(ARGS)

test: setup-browser setup-prometheus  ## run all tests
	OMP_NUM_THREADS=1 $(VENV)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: setup-dev  ## lint, types, import directions, prose
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/pyright
	$(VENV)/lint-imports
	$(VENV)/python scripts/prose/check.py
	npm --prefix clients/typescript run check

docs: setup-dev   ## build the documentation to site/; refuses outdated parts
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

docs-parts: setup-dev  ## renew the parts of the documentation that are generated from code
	$(VENV)/python scripts/docs/generate.py

format: setup     ## let ruff fix what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

dist: setup-dev   ## build the sdist and the wheel to dist/
	$(VENV)/python -m build --no-isolation --outdir dist

image-check:      ## carry out the Dockerfile's steps in a bare Debian, without Docker; as root
	@scripts/image-check.sh $(ARGS)

sbom: setup-dev   ## list the contents of images and packages, and their licences, to dist/
	@scripts/setup-audit.sh
	@scripts/sbom.sh

audit: setup-dev  ## look up known vulnerabilities of all pinned packages
	@scripts/setup-audit.sh
	@scripts/audit.sh $(ARGS)

clean:            ## remove the environment and caches
	rm -rf .venv clients/typescript/node_modules clients/typescript/dist site .pytest_cache .ruff_cache .import_linter_cache .hypothesis
