"""The tools that a request lets the model call, or makes it call, in the forms of several dialects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from anytime_server.errors import InvalidRequest
from anytime_server.types import IgnoredFields

FIELD = "tool_choice"
CALLABLE = ("function", "custom", "tool")
"""Types of a choice of one tool by its name."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """A request's wishes about the calls of its answer."""

    allowed: frozenset[str] | None = None
    """Names of the tools that the model is shown; None for all."""
    required: tuple[str, ...] = ()
    """Names of the tools of which one must be called; empty where the model decides."""
    is_named: bool = False
    """Whether the client chose the one tool to call."""

    def offered(self, tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The tools that the model is shown, of those given as chat templates take them."""
        return [tool for tool in tools if self.allowed is None or tool["function"]["name"] in self.allowed]


def tool_choice_of(choice: Any, names: Sequence[str], ignored: IgnoredFields) -> ToolChoice:
    """The meaning of a `tool_choice`: a word, a tool, or OpenAI's `allowed_tools`.

    Args:
        names: of the tools that the model can call.

    Raises:
        InvalidRequest: it is none, or names what is not there.
        NotSupported: it has no effect, and the server is strict.
    """
    kind = choice.get("type") if isinstance(choice, dict) else choice
    match kind:
        case None | "auto":
            return ToolChoice()
        case "none":
            return ToolChoice(allowed=frozenset())
        case "required" | "any":
            return ToolChoice(required=_known(names, names))
        case "allowed_tools":
            given = choice.get("allowed_tools", choice)
            allowed = _known([_name(tool) for tool in _items(given)], names)
            if (mode := given.get("mode", "auto")) not in ("auto", "required", "any"):
                raise InvalidRequest(f"{FIELD}.mode: must be auto or required", field=f"{FIELD}.mode")
            required = () if mode == "auto" else allowed
            return ToolChoice(allowed=frozenset(allowed), required=required)
        case str() if kind in CALLABLE and isinstance(choice, dict):
            return ToolChoice(required=_known([_name(choice)], names), is_named=True)
        case str() if isinstance(choice, dict):  # of hosted tools
            ignored.add(FIELD, f"the model cannot be made to use {kind[:40]!r}")
            return ToolChoice()
    raise InvalidRequest(f"{FIELD}: must be none, auto, required or a tool", field=FIELD)


class MayBeStrict(Protocol):
    """A tool as a request describes it."""

    name: str
    strict: Any


def note_strict(field: str, tool: MayBeStrict, choice: ToolChoice, ignored: IgnoredFields) -> None:
    """Report a tool's `strict` where the model decides about calls: it then writes them as it likes.

    Raises:
        NotSupported: the server is strict, too.
    """
    if tool.strict and tool.name not in choice.required and choice.allowed != frozenset():
        ignored.add(field, "arguments are held to the schema only where tool_choice requires the call")


def _items(given: Any) -> list[Any]:
    tools = given.get("tools") if isinstance(given, dict) else None
    if not isinstance(tools, list):
        raise InvalidRequest(f"{FIELD}: must have a list of tools", field=FIELD)
    return tools


def _name(tool: Any) -> str:
    """The name of a tool, which some dialects have within a further object."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    inner = tool.get(kind, tool) if isinstance(kind, str) else tool
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(name, str):
        raise InvalidRequest(f"{FIELD}: must have the name of a tool", field=FIELD)
    return name


def _known(chosen: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    if not chosen:
        raise InvalidRequest(f"{FIELD}: there is no tool to call", field=FIELD)
    for name in chosen:
        if name not in names:
            raise InvalidRequest(f"{FIELD}: there is no tool {name[:64]!r}", field=FIELD)
    return tuple(dict.fromkeys(chosen))
