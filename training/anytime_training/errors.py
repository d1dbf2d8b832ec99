"""Errors of training that the command line reports without a traceback."""

from __future__ import annotations

from pydantic import ValidationError


class RecipeError(ValueError):
    """An unusable recipe or run folder; the message names the key."""


class TrainingFailed(RuntimeError):
    """Training cannot continue; files that were saved before are unchanged."""


def validation_message(error: ValidationError, *, within: tuple[str, ...] = ()) -> str:
    """All faults on one line, each with its dotted key.

    Args:
        within: keys of the table that was validated.
    """
    faults = [f"{'.'.join(map(str, (*within, *fault['loc'])))}: {fault['msg']}" for fault in error.errors()]
    return "; ".join(faults)
