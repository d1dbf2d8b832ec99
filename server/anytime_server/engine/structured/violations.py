"""Checks whether a text is an instance of a JSON schema: every keyword counts, also those not enforced."""

from __future__ import annotations

import json
import re
from typing import Any

SMALL_VALUES = ("null", "0", '""', "[]", "{}", "[null]", '{"a": null}')
UNICODE_CLASS = re.compile(r"\\[pP]\{[^}]*\}")
"""A class of characters that Python does not know."""


def violation(json_schema: str, text: str) -> str | None:
    """The JSON pointer of a keyword of a schema that a text violates; None if it violates none.

    May take very long: patterns are searched by backtracking. Returns `#` for a text that is no JSON.

    Raises:
        Exception: of any kind, where the text cannot be checked.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    schema: Any = json.loads(json_schema)
    validator_class = validator_for(schema, default=Draft202012Validator)
    checker = validator_class.FORMAT_CHECKER
    validator = validator_class(schema, registry=Registry(), format_checker=checker)  # loads nothing
    try:
        instance = json.loads(text)
    except (ValueError, RecursionError):
        return "#"
    error = next(validator.iter_errors(instance), None)
    return None if error is None else "/".join(("#", *map(str, error.absolute_schema_path)))


def unresolved(json_schema: str) -> str | None:
    """Why texts cannot be checked against a schema: it refers to another schema. None if none was found.

    Only references that small values lead to are found.
    """
    from referencing.exceptions import Unresolvable

    for text in SMALL_VALUES:
        try:
            violation(json_schema, text)
        except Unresolvable as error:
            return f"{error.ref} is not in it"
        except Exception:  # reported when a text is checked
            return None
    return None


def pattern_fault(pattern: str) -> str | None:
    """The fault of a regular expression; None where it has none, even if it cannot be checked."""
    try:
        re.compile(UNICODE_CLASS.sub("x", pattern))
    except (re.error, RecursionError, OverflowError) as error:
        return f"{error} in a pattern"
    return None


def can_check_pattern(pattern: str) -> bool:
    """Whether `violation()` reads a regular expression as other languages do."""
    return UNICODE_CLASS.search(pattern) is None


def can_check_format(name: str) -> bool:
    """Whether `violation()` knows a format; that depends on the libraries that are installed."""
    from jsonschema import Draft202012Validator

    return name in Draft202012Validator.FORMAT_CHECKER.checkers
