"""Fields of a request's body that have no effect: unknown, misplaced, or with a value that is not served.

They are found after validation, in one walk over the body, whichever the dialect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from anytime_server.api.schema.fields import Fields
from anytime_server.types import IgnoredFields


@dataclass(frozen=True, slots=True)
class Unserved:
    """Marks a field (in `Annotated`) as one that is ignored and reported, unless its value asks for nothing.

    Null and false ask for nothing.
    """

    harmless: tuple[Any, ...] = (0, "", [], {})
    """Further values that ask for nothing."""
    why: str = "is not served"

    def reports(self, value: Any) -> bool:
        return value is not None and value is not False and (value is True or value not in self.harmless)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described = f"Ignored, and reported in `anytime.ignored`: {self.why}."
        return {"description": described} | handler(schema)


def report_ignored(body: Fields, ignored: IgnoredFields) -> None:
    """Add a body's unknown, misplaced and unserved fields.

    Raises:
        InvalidRequest: there is one, and the server is strict.
    """
    for field, unserved in _ignored(body, ""):
        if unserved is None:
            ignored.add_unknown(field)
        else:
            ignored.add(field, unserved.why)


@cache
def _described(kind: type[Fields]) -> dict[str, tuple[str, Unserved | None]]:
    """Wire name and mark of each field of a class."""
    return {
        name: (info.alias or name, next((one for one in info.metadata if isinstance(one, Unserved)), None))
        for name, info in kind.model_fields.items()
    }


def _ignored(fields: Fields, path: str) -> Iterator[tuple[str, Unserved | None]]:
    if (why := type(fields).unserved_because) is not None:
        yield path.removesuffix("."), Unserved(why=why)
        return
    for name in fields.unknown:
        yield path + name, None
    for name, why in fields.misplaced.items():
        yield path + name, Unserved(why=why)
    described = _described(type(fields))
    for name, (wire_name, unserved) in described.items():
        if name not in fields.model_fields_set:
            continue
        value = getattr(fields, name)
        if unserved is not None and unserved.reports(value):
            yield path + wire_name, unserved
        elif isinstance(value, Fields):
            yield from _ignored(value, f"{path}{wire_name}.")
        elif isinstance(value, Sequence):
            for position, item in enumerate(value):
                if isinstance(item, Fields):
                    yield from _ignored(item, f"{path}{wire_name}.{position}.")
