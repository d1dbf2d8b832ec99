"""Runs a script until it has parsed its options: `python parse_only.py SCRIPT OPTION...`."""

import argparse
import runpy
import sys
from pathlib import Path

parse_args = argparse.ArgumentParser.parse_args


def parse_and_stop(self: argparse.ArgumentParser, *args: object) -> None:
    parse_args(self)
    sys.exit(0)


argparse.ArgumentParser.parse_args = parse_and_stop  # pyright: ignore[reportAttributeAccessIssue]
del sys.argv[0]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
sys.exit(f"{sys.argv[0]} did not read its options")
