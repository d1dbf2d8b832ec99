#!/usr/bin/env bash
# What the checks and the tests need beside .venv: the TypeScript client's tools (Node 20 or newer)
# and a Chromium for the tests of the page. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."

package=clients/typescript
command -v npm >/dev/null ||
    { echo "setup: the TypeScript client is checked and tested with Node 20 or newer, and npm" >&2; exit 1; }
stamp=$package/node_modules/.installed
wanted=$( (node --version; cat $package/package-lock.json) | sha256sum | cut -d' ' -f1)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    npm --prefix $package ci --no-audit --no-fund --loglevel=error
    echo "$wanted" >"$stamp"
fi
(cd $package && node scripts/build.js dist) # what users install; the playground keeps its own copy

has_chromium() {
    command -v chromium || command -v chromium-browser || command -v google-chrome ||
        compgen -G "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}/chromium*"
} >/dev/null
install_chromium() {
    .venv/bin/playwright install chromium || { apt-get update && apt-get install -y chromium; }
} >/dev/null 2>&1
has_chromium || { echo "setup: installing Chromium"; install_chromium; } ||
    { echo "setup: no Chromium was found for the tests of the page, and none could be installed" >&2; exit 1; }
