"""`anytime serve` with the options of a document, on a free port, until it says that it serves.

On the scripted engine unless another is named: it starts at once, and reads the same options and checkpoint.
"""

import re
import sys

sys.path.insert(0, "")
from tests.servers import start

_, _, *options = sys.argv
given = re.sub(r"--port[ =]\d+ ?", "", " ".join(options)).split()
engine = [] if any(option.startswith("--engine") for option in given) else ["--engine", "scripted"]
sys.exit(start([*given, *engine]).stop())
