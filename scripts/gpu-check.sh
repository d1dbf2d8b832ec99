#!/usr/bin/env bash
# Check training and the transformers engine on one GPU, within 8 minutes and without a network; the record is one JSON file.
#   scripts/gpu-check.sh [--out FILE] [--minutes N] [--only STAGE] [--tiny] [--commit TEXT]
#   scripts/gpu-check.sh --pack
# The machine needs torch and transformers. `--pack` puts all other packages that the check imports into .gpu-check/
# (34 MB), on a machine with a network, for Python 3.12 on x86-64 (or PYTHON_VERSION=3.13); take that folder along.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi

if [ "${1:-}" = --pack ]; then
    version=${PYTHON_VERSION:-3.12}
    rm -rf ".gpu-check/$version"
    platforms=(--platform={manylinux_2_28,manylinux_2_17,manylinux2014,manylinux1}_x86_64)
    "$python" -m pip install --quiet --disable-pip-version-check --target ".gpu-check/$version" --no-deps --no-compile \
        --only-binary=:all: --implementation cp --python-version "$version" \
        "${platforms[@]}" -r requirements/gpu-check.txt
    du -sh .gpu-check
    exit
fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
export PYTHONPATH=.gpu-check/$version:server:training:research:scripts:.${PYTHONPATH:+:$PYTHONPATH}
exec "$python" -m gpu_check "$@"
