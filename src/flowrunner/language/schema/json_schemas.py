"""What may be written in a JSON Schema of an input or a form."""

from flowrunner.language.json_schema import TYPES
from flowrunner.language.schema.pieces import Schema, ref, text, whole


def json_schema() -> Schema:
    """JSON Schema as inputs and forms may use it."""
    inner = ref("jsonSchema")
    count, flag = whole(0), {"type": "boolean"}
    type_name = {"enum": list(TYPES)}
    schemas = {"type": "array", "minItems": 1, "items": inner}
    named = {"type": "object", "additionalProperties": inner}
    return {
        "type": ["object", "boolean"],
        "properties": {
            "type": {
                "description": "What kind of value it is.",
                "anyOf": [type_name, {"type": "array", "minItems": 1, "items": type_name}],
            },
            "description": text("What people should give."),
            "title": text("A name for people."),
            "default": {"description": "What counts if it is left out."},
            "required": {
                "description": "false: the input may be left out. Within an object: the names it must have.",
                "anyOf": [flag, {"type": "array", "items": {"type": "string"}}],
            },
            "enum": {"description": "The values allowed.", "type": "array", "minItems": 1},
            "const": {"description": "The one value allowed."},
            "examples": {"type": "array"},
            "minimum": {"type": "number"},
            "maximum": {"type": "number"},
            "exclusiveMinimum": {"type": "number"},
            "exclusiveMaximum": {"type": "number"},
            "multipleOf": {"type": "number", "exclusiveMinimum": 0},
            **dict.fromkeys(
                ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), count
            ),
            "pattern": text("A regular expression, without (?=…) and back-references."),
            "format": {"type": "string", "examples": ["date", "date-time", "email", "uri", "uuid"]},
            "uniqueItems": flag,
            "items": inner,
            "prefixItems": schemas,
            "contains": inner,
            "properties": named,
            "patternProperties": named,
            "additionalProperties": inner,
            "propertyNames": inner,
            "allOf": schemas,
            "anyOf": schemas,
            "oneOf": schemas,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$defs": named,
            "$ref": {"type": "string", "pattern": "^#(/|$)"},
        },
    }
