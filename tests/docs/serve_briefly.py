"""Runs `anytime serve` with documented options on a free port, and stops it once it has started.

Without `--engine` it uses the scripted engine, which takes the same options and starts at once.
"""

import re
import sys

sys.path.insert(0, "")
from tests.servers import start

_, _, *options = sys.argv
given = re.sub(r"--port[ =]\d+ ?", "", " ".join(options)).split()
engine = [] if any(option.startswith("--engine") for option in given) else ["--engine", "scripted"]
sys.exit(start([*given, *engine], forked=False).stop())
