#!/usr/bin/env bash
# Make .venv/audit with the tools that look at the packages: apart from these, so that they do not count themselves.
# Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/audit/.installed
wanted=$(sha256sum <requirements/audit.txt)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi
"${PYTHON:-python3}" -m venv .venv/audit
.venv/audit/bin/python -m pip --quiet --disable-pip-version-check install --no-deps -r requirements/audit.txt
echo "$wanted" >"$stamp"
