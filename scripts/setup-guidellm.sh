#!/usr/bin/env bash
# Install guidellm into build/guidellm for the nightly tests of load tools: an environment of its own on top of .venv,
# whose torch and transformers it shares. If it cannot be had, the tests that need it are skipped. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build/guidellm
stamp=$folder/.installed
wanted=$( (cat .venv/.installed requirements/guidellm.txt) | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi
echo "setup: installing guidellm for the tests of load tools"
install() {
    rm -rf "$folder" && .venv/bin/python -m venv "$folder" || return
    "$folder/bin/python" - "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" <<'PYTHON' || return
import sys, sysconfig, pathlib
pathlib.Path(sysconfig.get_path("purelib"), "shared.pth").write_text(f"{sys.argv[1]}\n")
PYTHON
    "$folder/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps --ignore-installed -r requirements/guidellm.txt || return
    "$folder/bin/guidellm" --version
}
log=$(mktemp)
if install >"$log" 2>&1; then
    echo "$wanted" >"$stamp"
else
    cat "$log"
    rm -rf "$folder"
    echo "setup: no guidellm: the tests that need it will be skipped" >&2
fi
