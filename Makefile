.PHONY: setup setup-dev setup-browser setup-prometheus setup-families setup-guidellm setup-agents serve test test-nightly mutation check docs docs-parts format clean dist sbom audit
VENV := .venv/bin
WORKERS ?= 2
BALANCED := -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

setup:            ## install everything for serving and training into .venv
	@scripts/setup.sh

setup-dev: setup  ## install the tools for checks and documentation
	@scripts/setup-dev.sh

setup-browser: setup-dev  ## install Chromium for the tests
	@scripts/setup-browser.sh

setup-prometheus: setup  ## install Prometheus for the tests
	@scripts/setup-prometheus.sh

setup-families: setup  ## download real tokenizers and chat templates for the tests
	@scripts/setup-families.sh

setup-guidellm: setup  ## install guidellm for the nightly tests
	@scripts/setup-guidellm.sh

setup-agents:     ## install Codex and Claude Code for the nightly tests
	@scripts/setup-agents.sh

serve: setup      ## serve the bundled checkpoint on 127.0.0.1:8000, or MODEL; MODEL=smollm2 is got first
	@$(if $(filter smollm2,$(MODEL)),$(VENV)/anytime models get $(MODEL))
	@$(VENV)/anytime serve $(if $(MODEL),--model $(MODEL)) $(ARGS)

test: setup-browser setup-prometheus setup-families  ## run all tests
	OMP_NUM_THREADS=1 $(VENV)/python -m pytest $(BALANCED) $(ARGS)

test-nightly: setup-browser setup-prometheus setup-families setup-guidellm setup-agents  ## also run the long attacks, draw new Hypothesis examples, and require coverage
	OMP_NUM_THREADS=1 $(VENV)/python -m pytest $(BALANCED) --nightly --timeout 1800 --cov --cov-report=term:skip-covered --cov-fail-under=93 $(ARGS)

mutation: setup   ## change the core's code in one place after another; print which changes no test notices
	nice $(VENV)/python scripts/mutation.py $(ARGS)

check: setup-dev  ## lint code, prose and Dockerfile; check types, imports and licences
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/pyright
	$(VENV)/lint-imports
	$(VENV)/python scripts/prose/check.py
	$(VENV)/hadolint Dockerfile
	scripts/licences.sh
	npm --prefix clients/typescript run check

docs: setup-dev   ## build the documentation site; fails if a generated part is out of date
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

docs-parts: setup-dev  ## regenerate the parts of the documentation that come from the code
	$(VENV)/python scripts/docs/generate.py

format: setup     ## apply ruff's fixes and format the code
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

dist: setup-dev   ## build the sdist and the wheel into dist/
	$(VENV)/python -m build --no-isolation --outdir dist

sbom: setup-dev   ## write SBOMs and a licence list into dist/
	@scripts/setup-audit.sh
	@scripts/sbom.sh

audit: setup-dev  ## check all pinned packages for known vulnerabilities
	@scripts/setup-audit.sh
	@scripts/audit.sh $(ARGS)

clean:            ## remove the environment, build outputs and caches
	rm -rf .venv clients/typescript/node_modules clients/typescript/dist site .pytest_cache .ruff_cache .import_linter_cache .hypothesis
