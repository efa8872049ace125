"""Schema of the JSON Schemas of inputs and forms."""

from flowrunner.language.json_schema import TYPES
from flowrunner.language.schema.pieces import Schema, ref, text, whole


def json_schema() -> Schema:
    """Return the schema of the supported part of JSON Schema."""
    schema = ref("jsonSchema")
    count, flag = whole(0), {"type": "boolean"}
    type_name = {"enum": list(TYPES)}
    schemas = {"type": "array", "minItems": 1, "items": schema}
    named = {"type": "object", "additionalProperties": schema}
    return {
        "type": ["object", "boolean"],
        "properties": {
            "type": {
                "description": "The type of the value.",
                "anyOf": [type_name, {"type": "array", "minItems": 1, "items": type_name}],
            },
            "description": text("Explanation for people."),
            "title": text("A name for people."),
            "default": {"description": "The value if it is left out."},
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
            "items": schema,
            "prefixItems": schemas,
            "contains": schema,
            "properties": named,
            "patternProperties": named,
            "additionalProperties": schema,
            "propertyNames": schema,
            "allOf": schemas,
            "anyOf": schemas,
            "oneOf": schemas,
            "not": schema,
            "if": schema,
            "then": schema,
            "else": schema,
            "$defs": named,
            "$ref": {"type": "string", "pattern": "^#(/|$)"},
        },
    }
