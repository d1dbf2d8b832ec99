"""The parts of a checkpoint, and the facts about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.families.architectures import Architecture
from tests.families.templates import Template
from tests.families.vocabularies import Vocabulary


@dataclass(frozen=True)
class Mode:
    """Variables of the chat template, and the end of the generation prompt from the assistant's header on."""

    variables: Mapping[str, Any]
    ending: str


@dataclass(frozen=True)
class Facts:
    """The behaviour of the chat template and of vLLM's parsers; tests compare it with rendered prompts."""

    default: str  # how the generation prompt ends without variables, from the assistant's header on
    start: str = ""  # how thinking opens, by whomever; empty: the model does not think
    end: str = ""  # how thinking ends
    on: Mode | None = None  # if thinking is asked for by variables
    off: Mode | None = None  # if it is switched off by variables
    off_by_text: tuple[Literal["system", "user"], str, str] | None = None  # role, text, ending
    variables: tuple[str, ...] = ()  # that the template reads and that bear on thinking
    history: tuple[str, ...] = ()  # keys of an assistant message that hold its earlier thinking
    keeps: Literal["", "tool loop", "always"] = ""  # which earlier thinking is rendered
    late_system: Literal["rendered", "merged", "dropped", "refused"] = "rendered"
    tool_call: str = ""  # what a call of get_weather begins with in the rendered history
    arguments: Literal["object", "string"] = "object"  # of calls in the history that the template takes
    content_of_calls: str | None = ""  # of a message with calls; None if the template needs it to be null
    reasoning_parser: str | None = None  # in vLLM
    tool_parser: str | None = None  # in vLLM
    note: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """One published model: its parts, and the family that the server recognises it as."""

    name: str
    vocabulary: Vocabulary
    template: Template
    architecture: Architecture
    facts: Facts
    ends: tuple[str, ...] = ()  # in generation_config.json; default: the tokenizer's
    sampling: Mapping[str, Any] = field(
        default_factory=dict
    )  # generation_config.json, as published or on the card
    tool_template: Template | None = None  # the template named tool_use, beside the default one
    recognised_as: str = ""  # name of its family, if that is not its own

    @property
    def thinks(self) -> bool:
        return bool(self.facts.start)

    @property
    def family(self) -> str:
        """The name of the family that the server should recognise."""
        return (self.recognised_as or self.name) if self.thinks else "no-thinking"
