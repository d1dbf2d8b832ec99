"""The command `scripts/gpu-check.sh`: reads its options and runs the stages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gpu_check.record import Record
from gpu_check.stages import STAGES, run_stages

USAGE_ERROR = 2
DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
"""Devices of NVIDIA's driver, the latter under WSL."""


def main() -> int:
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(prog="scripts/gpu-check.sh", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("gpu-check.json"), metavar="FILE", help="the record")
    parser.add_argument("--minutes", type=float, default=8.0, metavar="N", help="time of all stages together")
    parser.add_argument("--only", action="append", choices=names, help="run this stage; may be repeated")
    parser.add_argument("--tiny", action="store_true", help="a dry run on a CPU, in tiny sizes")
    parser.add_argument("--commit", metavar="TEXT", help="the commit, where there is no repository")
    arguments = parser.parse_args()
    if not arguments.tiny and not any(Path(path).exists() for path in DRIVERS):
        print("gpu-check: there is no GPU here; --tiny is a dry run on a CPU", file=sys.stderr)
        return USAGE_ERROR
    stages = [stage for stage in STAGES if arguments.only is None or stage.name in arguments.only]
    options = {
        "minutes": arguments.minutes,
        "tiny": arguments.tiny,
        "stages": [stage.name for stage in stages],
    }
    record = Record(arguments.out, options=options, commit=arguments.commit)
    passed = run_stages(stages, record, seconds=60 * arguments.minutes, tiny=arguments.tiny)
    print(f"record: {arguments.out}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
