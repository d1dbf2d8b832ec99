"""Imported by the process that stages are forked from. Imports alone: a GPU cannot be used before a fork."""

from contextlib import suppress

with suppress(Exception):  # each stage that needs it then fails on its own, with the reason in the record
    from anytime_server.engine.environment import prepare_environment

    prepare_environment()  # before torch is imported
    from gpu_check import attention, demo, packing, step  # noqa: F401
