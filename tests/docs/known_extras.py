"""Checks that the extras in `pip install 'anytime-reasoner[EXTRA,...]'` exist."""

import re
import sys
from importlib.metadata import metadata

named = re.findall(r"[a-z]+", " ".join(re.findall(r"\[(.*?)\]", " ".join(sys.argv[1:]))))
unknown = set(named) - set(metadata("anytime-reasoner").get_all("Provides-Extra") or ())
sys.exit(f"no such extras: {unknown}" if unknown else 0)
