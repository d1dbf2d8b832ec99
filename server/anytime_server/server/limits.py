"""The operator's limits and aliases, as the options give them."""

from __future__ import annotations

from collections.abc import Collection

from anytime_server.auth import RequestLimits
from anytime_server.errors import UnusableOption
from anytime_server.printable import beginning
from anytime_server.scheduler.operator_limits import OperatorLimits
from anytime_server.server.settings import ServeSettings


def operator_limits(settings: ServeSettings, names: Collection[str]) -> OperatorLimits:
    """
    Args:
        names: of the model and its adapters, which no alias can have.

    Raises:
        UnusableOption: an alias has one of these names.
    """
    aliases: dict[str, RequestLimits] = {alias: RequestLimits() for alias in settings.alias}
    aliases |= settings.aliases
    for name in names:
        if name in aliases:
            raise UnusableOption(f"--alias: {beginning(name)}: is a name of the model or of an adapter")
    return OperatorLimits(server=settings, aliases=aliases, efforts=settings.efforts)
