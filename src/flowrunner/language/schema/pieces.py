"""The pieces that the schema is put together from."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from flowrunner.domain.values import JSON

Schema: TypeAlias = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def text(description: str, **rules: JSON) -> Schema:
    return {"description": description, "type": "string", **rules}


def whole(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def object_of(properties: Schema, *, required: Sequence[str] = ()) -> Schema:
    """A map of these keys and of those for one's own use."""
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": True},
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }
