#!/usr/bin/env bash
# Download the packages whose tokenizers and chat templates the tests of model families read, unless they are there:
# the files are kept in build/families. If they cannot be had, the tests that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

is_complete() { .venv/bin/python -c 'import sys; from tests.families.packages import missing; sys.exit(bool(missing()))'; }
if is_complete; then exit 0; fi
echo "setup: downloading tokenizers and chat templates for the tests of model families"
.venv/bin/python -m tests.families.download || echo "setup: the tests of model families will be skipped" >&2
