"""Constraints of an answer's text: a JSON schema, a regular expression, some choices or a grammar.

A client's constraint may be more than tokens can be held to; `Enforced` says what an engine makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ConstraintKind = Literal["json_schema", "regex", "choice", "grammar"]

TITLES: dict[ConstraintKind, str] = {
    "json_schema": "JSON schema",
    "regex": "regular expression",
    "choice": "list of choices",
    "grammar": "grammar",
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """A language that a text must belong to."""

    kind: ConstraintKind
    text: str
    """A JSON schema, or a list of choices, as JSON; a regular expression that the whole text matches; a
    grammar, in GBNF or in llguidance's variant of Lark."""

    @property
    def title(self) -> str:
        """Its kind, for messages."""
        return TITLES[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforced:
    """A constraint as an engine can hold tokens to it."""

    constraint: Constraint
    """For `Sampling`."""
    left_out: tuple[str, ...] = ()
    """JSON pointers of the schema's keywords that are not in it. A text must be checked for them."""
    unknown: tuple[str, ...] = ()
    """Of those, the ones that no check knows."""
    is_exact: bool = True
    """Whether each of its texts is one of the client's constraint, but for unknown keywords."""
