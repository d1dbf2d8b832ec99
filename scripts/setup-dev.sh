#!/usr/bin/env bash
# Install the packages for documentation and examples into .venv, and the TypeScript client's tools, which need
# Node 20 or newer. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=(requirements/docs.txt requirements/examples.txt)
stamp=.venv/.installed-dev
wanted=$( (cat .venv/.installed "${requirements[@]}") | sha256sum | cut -d' ' -f1)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    .venv/bin/python -m pip --quiet --disable-pip-version-check install --no-deps "${requirements[@]/#/-r}"
    echo "$wanted" >"$stamp"
fi

command -v npm >/dev/null && node -e 'process.exit(Number(process.versions.node.split(".")[0] < 20))' ||
    { echo "setup: checking the TypeScript client needs npm and Node 20 or newer" >&2; exit 1; }
package=clients/typescript
stamp=$package/node_modules/.installed
wanted=$( (node --version; cat $package/package-lock.json) | sha256sum | cut -d' ' -f1)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    npm --prefix $package ci --no-audit --no-fund --loglevel=error
    echo "$wanted" >"$stamp"
fi
(cd $package && node scripts/build.js dist) # the package that users install; the playground has its own build
