"""Building blocks of the schema."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from flowrunner.domain.values import JSON

Schema: TypeAlias = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def params_name(type_name: str) -> str:
    return f"params.{type_name}"


def text(description: str, **rules: JSON) -> Schema:
    return {"description": description, "type": "string", **rules}


def whole(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def object_of(properties: Schema, *, required: Sequence[str] = ()) -> Schema:
    """Return the schema of a map with these keys, and with keys that begin with `x-`."""
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": True},
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }
