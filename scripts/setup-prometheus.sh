#!/usr/bin/env bash
# Install prometheus and promtool for the tests, unless they are on PATH: the distribution's package is unpacked into
# .venv, without root and without starting a service. If it cannot be had, the tests that need it are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=.venv/prometheus
if { command -v prometheus && command -v promtool; } >/dev/null || [ -x "$folder/usr/bin/promtool" ]; then exit 0; fi
echo "setup: unpacking Prometheus for the tests of rules and dashboard"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
download() { (cd "$scratch" && apt-get download -qq prometheus); }
if command -v apt-get >/dev/null && { download || { apt-get update -qq && download; }; } >"$scratch/log" 2>&1; then
    dpkg -x "$scratch"/prometheus_*.deb "$folder"
    "$folder/usr/bin/promtool" --version >/dev/null
else
    cat "$scratch/log" 2>/dev/null || true
    echo "setup: no Prometheus found: put prometheus and promtool on PATH to test rules and dashboard" >&2
fi
