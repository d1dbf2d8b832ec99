#!/usr/bin/env bash
# Install Chromium for the playground's tests, unless a browser is there: the distribution's, else Playwright's own.
set -euo pipefail
cd "$(dirname "$0")/.."

launches() { .venv/bin/python -m tests.e2e.chromium; }
install() {
    if [ "$(id -u)" = 0 ] && command -v apt-get && apt-get update -qq && apt-get install -y -qq chromium; then return; fi
    .venv/bin/playwright install --with-deps chromium
}
if launches 2>/dev/null; then exit 0; fi
echo "setup: installing Chromium for the playground's tests"
log=$(mktemp)
install >"$log" 2>&1 || true
launches || { cat "$log"; echo "setup: Chromium does not start" >&2; exit 1; }
