"""Stages of a GPU check that fail, crash or take too long."""

from __future__ import annotations

import os
import time
from pathlib import Path

from gpu_check.stages import CheckFailed, Context


def passing(context: Context) -> None:
    context.report("answer", 42)


def failing(context: Context) -> None:
    context.report("measured", {"seconds": 1.5})
    raise CheckFailed("1.5 is too long")


def raising(context: Context) -> None:
    raise ValueError("no such shape")


def crashing(context: Context) -> None:
    context.report("before", True)
    os._exit(3)


def endless(context: Context) -> None:
    context.report("pid", os.getpid())
    context.report("group", os.getpgid(0))
    time.sleep(600)


def main(path: str) -> None:
    """Run a stage that never ends."""
    from gpu_check.record import Record
    from gpu_check.stages import Stage, run_stages

    record = Record(Path(path), options={"minutes": 5, "tiny": True, "stages": ["endless"]}, commit="none")
    stages = [Stage(name="endless", entry="tests.gpu_check_stages:endless", share=1)]
    run_stages(stages, record, seconds=300, tiny=True, preloaded=())
