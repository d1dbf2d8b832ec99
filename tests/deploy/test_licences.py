"""The licences of what an image holds beside our own code, which is Apache-2.0."""

from __future__ import annotations

import re

import pytest
from licences import licence, packages

PERMISSIVE = {
    "0BSD",
    "Apache 2.0",
    "Apache 2.0 License",
    "Apache Software License",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD License",
    "3-Clause BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "ISC License (ISCL)",
    "MIT",
    "MIT License",
    "MIT-0",
    "MIT-CMU",
    "PSF-2.0",
    "Python Software Foundation License",
    "The Unlicense (Unlicense)",
}
LOOKED_AT = {
    "certifi": "MPL-2.0, for its own files, which are passed on as they are",
    "intel-cmplr-lib-ur": "Intel's own terms, which allow to pass the runtime on as it is",
    "intel-openmp": "Intel's own terms, which allow to pass the runtime on as it is",
    "oss-harmony": "Apache-2.0, in a file beside its metadata",
    "pycountry": "LGPL-2.1: a package of Python that is used as it is, and can be replaced",
    "setuptools": "MIT, in a file beside its metadata",
    "supervisor": "derived from BSD, as it says",
    "tqdm": "MPL-2.0 and MIT, for its own files, which are passed on as they are",
}


@pytest.mark.parametrize("package", packages())
def test_what_is_passed_on_may_be(package: str) -> None:
    parts = set(re.split(r" AND | OR ", licence(package)))
    assert (parts <= PERMISSIVE) != (package in LOOKED_AT), licence(package)
