"""Draft-07 schemas of node parameters, with an expression allowed in place of every value."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowrunner.domain.values import JSON
from flowrunner.language.schema.node_types import DescribedNodeType
from flowrunner.language.schema.older_forms import with_older_parameters
from flowrunner.language.schema.pieces import Schema, params_name

_EXPRESSION: Final = r"\$\{"


def params_definitions(node_type: DescribedNodeType) -> Schema:
    """Return the definitions of the parameters of a type and of everything that they refer to."""
    written = with_older_parameters(node_type.name, node_type.params_schema())
    shared = written.pop("$defs", {})
    prefix = f"{node_type.name}."
    definitions: Schema = {
        params_name(node_type.name): {"title": f"Parameters of {node_type.name}", **_converted(written, prefix)}
    }
    assert isinstance(shared, Mapping)
    for name, schema in shared.items():
        definitions[f"{prefix}{name}"] = {"title": name, **_converted(schema, prefix)}
    return definitions


_KEPT: Final = (
    "type", "description", "enum", "const", "default", "examples", "format", "pattern", "required", "uniqueItems",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "deprecated", "deprecationMessage",
)  # fmt: skip


def _converted(schema: JSON, prefix: str) -> Any:
    """Convert a schema of pydantic to draft-07, with references to these definitions."""
    if not isinstance(schema, Mapping):
        return schema
    result: Schema = {key: value for key, value in schema.items() if key in _KEPT}
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(alternatives := schema.get(key), Sequence):
            result[key] = [_converted(alternative, prefix) for alternative in alternatives]
    for key in ("properties", "patternProperties"):
        if isinstance(named := schema.get(key), Mapping):
            result[key] = {name: _or_expression(_converted(value, prefix)) for name, value in named.items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            result[key] = _or_expression(_converted(schema[key], prefix))
    if isinstance(places := schema.get("prefixItems"), Sequence):
        # `prefixItems` and `items` of draft 2020-12 are `items` and `additionalItems` in draft-07.
        if "items" in result:
            result["additionalItems"] = result.pop("items")
        result["items"] = [_or_expression(_converted(place, prefix)) for place in places]
    if "propertyNames" in schema:
        result["propertyNames"] = _converted(schema["propertyNames"], prefix)
    if isinstance(reference := schema.get("$ref"), str):
        # Draft-07 ignores the keywords beside a $ref.
        result["allOf"] = [{"$ref": f"#/definitions/{prefix}{reference.rpartition('/')[2]}"}]
    return _without_null(result)


def _without_null(schema: Schema) -> Schema:
    """Merge `anyOf: [X, null]`, the form of X | None, to one schema, whose faults editors report better."""
    alternatives = schema.get("anyOf")
    if not isinstance(alternatives, list) or {"type": "null"} not in alternatives or len(alternatives) != 2:
        return schema
    (other,) = [alternative for alternative in alternatives if alternative != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and not (key == "default" and value is None)}
    if isinstance(other.get("type"), str) and not {"enum", "const"} & other.keys():
        return {**other, **rest, "type": [other["type"], "null"]}
    if "enum" in other:
        return {**other, **rest, "type": [other.get("type", "string"), "null"], "enum": [*other["enum"], None]}
    return {**rest, "if": {"type": "null"}, "else": other}


# Keywords that allow every text, and so every expression.
_ANNOTATIONS: Final = frozenset(("description", "default", "examples", "deprecated", "deprecationMessage", "title"))


def _or_expression(schema: Any) -> Any:
    """Return a schema that also allows a text with an expression, whose value is known only when the node runs."""
    if not isinstance(schema, dict) or not schema.keys() - _ANNOTATIONS:
        return schema
    types = schema.get("type")
    if schema.keys() - _ANNOTATIONS == {"type"} and (
        types == "string" or (isinstance(types, list) and "string" in types)
    ):
        return schema
    annotations = {key: value for key, value in schema.items() if key in _ANNOTATIONS}
    rules = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    expression = {"type": "string", "pattern": _EXPRESSION}
    # Editors offer values from `anyOf`, and report faults inside a list or a map from `else`.
    if _is_scalar(rules):
        return {**annotations, "anyOf": [rules, expression]}
    return {**annotations, "if": expression, "else": rules}


def _is_scalar(rules: Schema) -> bool:
    types = rules.get("type")
    of_scalars = {types} if isinstance(types, str) else set(types or ())
    return bool({"enum", "const"} & rules.keys() or (of_scalars and not of_scalars & {"array", "object"}))
