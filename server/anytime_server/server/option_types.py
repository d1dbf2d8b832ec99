"""Types of options whose text has a form of its own: lists, tables, origins, networks."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def _origin(value: str) -> str:
    if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", value):
        raise PydanticCustomError(
            "origin", "must be origins such as https://example.com, without a path, or *"
        )
    return value


EFFORTS_FORM = "must be efforts and thinking tokens such as low=512,high=4096"
ADAPTERS_FORM = "must be adapters such as NAME=FOLDER, separated by commas"
Origin = Annotated[str, AfterValidator(_origin)]


def _proxy(value: str) -> str:
    if value != "*":
        try:
            ip_network(value)
        except ValueError as error:
            reason = "must be addresses or networks, such as 10.0.0.0/8, or *"
            raise PydanticCustomError("proxy", reason) from error
    return value


Proxy = Annotated[str, AfterValidator(_proxy)]


def read_list(value: Any) -> Any:
    """The elements of a text, or of several, that are separated by commas."""
    if not isinstance(value, str | list):
        return value
    texts = [value] if isinstance(value, str) else value
    if not all(isinstance(text, str) for text in texts):
        return value
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def read_adapters(value: Any) -> Any:
    """Names and folders, from the text of an environment variable or from a table."""
    if not isinstance(value, str):
        return value
    pairs = [pair.strip().partition("=") for pair in value.split(",") if pair.strip()]
    if not all(name and folder for name, _, folder in pairs):
        raise PydanticCustomError("adapters", ADAPTERS_FORM)
    return {name: folder for name, _, folder in pairs}


def read_efforts(value: Any) -> Any:
    """Tokens by effort, from the text of an environment variable or from a table."""
    if not isinstance(value, str):
        return value
    pairs = [pair.strip().partition("=") for pair in value.split(",") if pair.strip()]
    if not all(tokens.strip().isdecimal() for _, _, tokens in pairs):
        raise PydanticCustomError("efforts", EFFORTS_FORM)
    return {name.strip(): int(tokens) for name, _, tokens in pairs}
