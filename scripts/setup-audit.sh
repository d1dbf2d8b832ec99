#!/usr/bin/env bash
# Install the audit tools into .venv/audit, an environment of their own: they pin other versions than .venv. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/audit/.installed
wanted=$(sha256sum <requirements/audit.txt)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi
"${PYTHON:-python3}" -m venv .venv/audit
.venv/audit/bin/python -m pip --quiet --disable-pip-version-check install --no-deps -r requirements/audit.txt
echo "$wanted" >"$stamp"
